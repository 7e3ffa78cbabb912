"""Reranking: documents in the order of their relevance to a query, and rankings of several searches made one.

reranker = Reranker("cohere")                          # the key comes from COHERE_API_KEY
best = await reranker.rerank("capital of France", documents, top_n=3)
best[0].index, best[0].score, best[0].document
"""

from __future__ import annotations

import math
import os

from edgequake_llm import _core
from edgequake_llm._config import HTTPConfig, RetryPolicy, Timeouts
from edgequake_llm._exceptions import ConfigurationError, InvalidRequestError, InvalidResponseError
from edgequake_llm._value import Value
from edgequake_llm.providers._base import first_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sys
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Any, TypeVar

    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self

    from edgequake_llm._config import Seconds

    Item = TypeVar("Item", bound=Hashable)


class _Service(Value):
    """A service that ranks: where it is, its key, its model."""

    base_url: str
    key_variables: tuple[str, ...]
    model: str | None
    base_url_variables: tuple[str, ...] = ()


SERVICES = {
    "cohere": _Service("https://api.cohere.com/v2", ("COHERE_API_KEY", "CO_API_KEY"), "rerank-v3.5", ("CO_API_URL",)),
    "jina": _Service("https://api.jina.ai/v1", ("JINA_API_KEY",), "jina-reranker-v2-base-multilingual"),
}
"""The services known by name; any other that speaks as they do works with `base_url`."""


class Ranked(Value):
    """A document in a ranking.

    `index`: its place in the list that was given, from 0. `score`: how relevant it is; more is better. `document`: its
    text. Scores of Cohere and Jina are from 0 to 1; those of one query can be compared, those of two cannot.
    """

    index: int
    score: float
    document: str


class Ranking(list[Ranked]):
    """The documents, the most relevant first; `model`, `tokens` and `search_units` (what is billed) where told."""

    model: str | None = None
    tokens: int | None = None
    search_units: int | None = None


class Reranker:
    """Ranks documents through Cohere, Jina, or any server with their `/rerank` (vLLM, llama.cpp and others).

    `service` is `"cohere"` or `"jina"`; with `base_url` it is another server, and needs no key. The other settings are
    those of a provider. Raises `ConfigurationError` if the key is missing.
    """

    __slots__ = {"_core": None, "_model": None, "service": "The name of the service, or its address."}

    def __init__(
        self,
        service: str = "cohere",
        api_key: str | None = None,
        *,
        model: str | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Seconds | Timeouts | None = None,
        retry: RetryPolicy | int | None = None,
        http: HTTPConfig | None = None,
    ) -> None:
        known = SERVICES.get(service)
        if known is None:
            names = ", ".join(SERVICES)
            raise ConfigurationError(f"there is no reranking service {service!r}; there are {names}, and base_url=")
        api_key = api_key or first_set(known.key_variables, os.environ)
        if not api_key and base_url is None:
            variables = " or ".join(known.key_variables)
            raise ConfigurationError(f"no API key: pass api_key=... or set {variables}", provider=service)
        if not isinstance(timeout, Timeouts):
            timeout = Timeouts() if timeout is None else Timeouts(total=timeout)
        if not isinstance(retry, RetryPolicy):
            retry = RetryPolicy() if retry is None else RetryPolicy(max_retries=retry)
        self.service = service
        self._model = model or known.model
        self._core = _core.Provider(
            service,
            base_url=base_url or first_set(known.base_url_variables, os.environ) or known.base_url,
            api_key=api_key or None,
            headers=dict(headers or {}),
            model=self._model,
            embedding_model=None,
            timeouts=timeout,
            retry=retry,
            http=http or HTTPConfig(),
        )

    async def rerank(
        self,
        query: str,
        documents: Sequence[str],
        top_n: int | None = None,
        *,
        model: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Ranking:
        """Return the documents in the order of their relevance to `query`; the best `top_n`, or all.

        `extra` are fields that go into the request's body as they are. Raises `InvalidRequestError` for bad input
        before anything is sent, and any other `LLMError` for what goes wrong later.
        """
        texts = list(documents)
        body = self._body(query, texts, top_n, model, extra)
        return self._read(await self._core.ask("POST", "/rerank", body), texts) if texts else Ranking()

    def rerank_sync(
        self,
        query: str,
        documents: Sequence[str],
        top_n: int | None = None,
        *,
        model: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Ranking:
        """As `rerank`, for code without an event loop."""
        texts = list(documents)
        body = self._body(query, texts, top_n, model, extra)
        return self._read(self._core.ask_sync("POST", "/rerank", body), texts) if texts else Ranking()

    def _body(
        self, query: str, texts: list[str], top_n: int | None, model: str | None, extra: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        if isinstance(query, str) and not query.strip():
            raise InvalidRequestError("the query is empty", provider=self.service, param="query")
        for n, text in enumerate(texts):
            if not isinstance(text, str):
                message = f"document {n} must be text, not {type(text).__name__}"
                raise InvalidRequestError(message, provider=self.service, param="documents")
        if top_n is not None and (isinstance(top_n, bool) or top_n < 1):
            raise InvalidRequestError(f"top_n must be at least 1, not {top_n}", provider=self.service, param="top_n")
        body = {"model": model or self._model, "query": query, "documents": texts, "top_n": top_n}
        return {**{name: value for name, value in body.items() if value is not None}, **(extra or {})}

    def _read(self, answer: Any, texts: list[str]) -> Ranking:
        try:
            ranking = Ranking(
                Ranked(place["index"], float(place["relevance_score"]), texts[place["index"]])
                for place in answer["results"]
                if place["index"] >= 0
            )
            if len({place.index for place in ranking}) != len(answer["results"]):
                raise ValueError  # noqa: TRY301 - handled with its like below
            units = (answer.get("meta") or {}).get("billed_units") or {}
            ranking.model = answer.get("model")
            ranking.tokens = (answer.get("usage") or {}).get("total_tokens")
            ranking.search_units = units.get("search_units")
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            message = f"the answer is no ranking of the {len(texts)} documents"
            raise InvalidResponseError(message, provider=self.service) from error
        # Most services sort; some give the documents' order.
        ranking.sort(key=lambda place: -place.score)
        return ranking

    async def aclose(self) -> None:
        """Refuse further calls."""
        self._core.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"Reranker({self.service!r}, model={self._model!r}, base_url={self._core.base_url!r})"


def reciprocal_rank_fusion(
    rankings: Iterable[Iterable[Item]],
    *,
    k: float = 60,
    weights: Sequence[float] | None = None,
    key: Callable[[Item], Hashable] | None = None,
) -> list[tuple[Item, float]]:
    """Make one ranking of several, as of a text search and a vector search: (item, score), the best first.

    An item's score is the sum of weight / (k + rank) over the rankings that have it, ranks counted from 1 (Cormack,
    Clarke and Büttcher, SIGIR 2009, with k = 60). Only ranks count, so the searches' own scores need not be comparable.
    `weights` has one number for each ranking, 1 unless given. `key` tells which items are the same; the first one seen
    stands for all. Within a ranking the first place of an item counts. Equal scores keep the order of appearance.

    Raises `InvalidRequestError` for a `k` below 0 or weights that do not fit.
    """
    lists = [list(ranking) for ranking in rankings]
    if weights is None:
        weights = [1.0] * len(lists)
    if len(weights) != len(lists) or not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise InvalidRequestError(f"there must be {len(lists)} weights of at least 0", param="weights")
    if not (math.isfinite(k) and k >= 0):
        raise InvalidRequestError(f"k must be at least 0, not {k}", param="k")
    first: dict[Hashable, Item] = {}
    scores: dict[Hashable, float] = {}
    for ranking, weight in zip(lists, weights, strict=True):
        seen: set[Hashable] = set()
        for rank, item in enumerate(ranking, start=1):
            mark = item if key is None else key(item)
            if mark in seen:
                continue
            seen.add(mark)
            first.setdefault(mark, item)
            scores[mark] = scores.get(mark, 0.0) + weight / (k + rank)
    ordered = sorted(scores, key=lambda mark: -scores[mark])
    return [(first[mark], scores[mark]) for mark in ordered]
