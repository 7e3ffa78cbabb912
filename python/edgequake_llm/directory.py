"""`ModelDirectory`: the models of several providers, listed once in a while, filtered and searched."""

from __future__ import annotations

import asyncio
import time

from edgequake_llm._exceptions import LLMError
from edgequake_llm._value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal
    from typing import Any

    from edgequake_llm._core import ModelInfo
    from edgequake_llm.catalog import ModelCatalog, TokenPrices
    from edgequake_llm.providers import Provider


class ListedModel(Value):
    """A model that a provider has: what the provider tells, completed by the catalog where it tells nothing.

    `id` is its name in calls, `provider` who has it, `name` the one for people. `context_window` and
    `max_output_tokens` are in tokens. `capabilities` are as far as the provider tells them. `deprecated` and `prices`
    are the catalog's. `info` is the provider's own entry, a `ModelInfo`.
    """

    id: str
    provider: str
    name: str | None
    context_window: int | None
    max_output_tokens: int | None
    capabilities: tuple[str, ...]
    deprecated: bool
    prices: TokenPrices | None
    info: ModelInfo


class ModelDirectory:
    """The models that some providers have.

    Each provider is asked at most once in `ttl` seconds, all at once; calls that come meanwhile wait for the same
    answer. A provider that fails is asked again next time, and does not hide the others: `errors` has what went wrong,
    by name. `catalog` adds prices and context windows. `clock` is for tests.
    """

    __slots__ = {
        **dict.fromkeys(("_asking", "_catalog", "_clock", "_found", "_providers", "_ttl")),
        "errors": "What went wrong when a provider was asked last, by its name.",
    }

    def __init__(
        self,
        providers: Iterable[Provider],
        *,
        ttl: float = 3600.0,
        catalog: ModelCatalog | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._providers = list(providers)
        self._ttl = ttl
        self._catalog = catalog
        self._clock = clock
        self._found: dict[int, tuple[float, list[ListedModel]]] = {}
        self._asking: dict[tuple[int, Any], asyncio.Task[list[ListedModel]]] = {}
        self.errors: dict[str, LLMError] = {}

    async def models(
        self,
        *,
        provider: str | None = None,
        capability: str | Sequence[str] | None = None,
        min_context: int | None = None,
        max_input_price: Decimal | float | str | None = None,
        deprecated: bool = True,
        refresh: bool = False,
    ) -> list[ListedModel]:
        """Return the models that pass every filter given.

        `capability`: one or several of `chat`, `embeddings`, `tools`, `vision`, `audio`, `reasoning`, `json`, as far as
        providers tell. `min_context`: at least so many tokens. `max_input_price`: at most so many dollars for a million
        input tokens. A model of which the filtered thing is not known does not pass. `deprecated=False` leaves those
        out. `refresh` asks again now.
        """
        wanted = {capability} if isinstance(capability, str) else set(capability or ())
        limit = None if max_input_price is None else _decimal(max_input_price)
        return [
            model
            for model in await self._all(refresh=refresh)
            if (provider is None or model.provider == provider)
            and wanted <= set(model.capabilities)
            and (min_context is None or (model.context_window or 0) >= min_context)
            and (limit is None or (model.prices is not None and model.prices.input <= limit))
            and (deprecated or not model.deprecated)
        ]

    async def search(self, text: str, *, limit: int = 10, **filters: Any) -> list[ListedModel]:
        """Return the models whose names come nearest to `text`, the nearest first: `search("sonet 4")`.

        Misspelt words and left-out parts are forgiven; what has nothing in common is left out.
        """
        scored = [(_likeness(text, model), n, model) for n, model in enumerate(await self.models(**filters))]
        best = sorted((-score, n, model) for score, n, model in scored if score >= 0.5)  # noqa: PLR2004 - half alike
        return [model for _, _, model in best[:limit]]

    async def _all(self, *, refresh: bool) -> list[ListedModel]:
        answers = await asyncio.gather(
            *(self._models(n, provider, refresh=refresh) for n, provider in enumerate(self._providers)),
            return_exceptions=True,
        )
        models: list[ListedModel] = []
        for provider, answer in zip(self._providers, answers, strict=True):
            if isinstance(answer, LLMError):
                self.errors[provider.name] = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                self.errors.pop(provider.name, None)
                models += answer
        return models

    async def _models(self, n: int, provider: Provider, *, refresh: bool) -> list[ListedModel]:
        known = self._found.get(n)
        if known is not None and not refresh and self._clock() - known[0] < self._ttl:
            return known[1]
        key = (n, asyncio.get_running_loop())
        task = self._asking.get(key)
        if task is None:
            task = asyncio.ensure_future(self._ask(n, provider))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        # One caller's cancelling is not the others'.
        return await asyncio.shield(task)

    async def _ask(self, n: int, provider: Provider) -> list[ListedModel]:
        models = [self._listed(info) for info in await provider.list_models()]
        self._found[n] = (self._clock(), models)
        return models

    def _listed(self, info: ModelInfo) -> ListedModel:
        entry = None if self._catalog is None else self._catalog.find(info.id, info.provider)
        return ListedModel(
            id=info.id,
            provider=info.provider,
            name=info.name or (entry.name if entry else None),
            context_window=info.context_window or (entry.context_window if entry else None),
            max_output_tokens=info.max_output_tokens or (entry.max_output_tokens if entry else None),
            capabilities=tuple(info.capabilities),
            deprecated=entry.deprecated if entry else False,
            prices=entry.prices if entry else None,
            info=info,
        )


def _decimal(value: Decimal | float | str) -> Decimal:
    from decimal import Decimal

    return value if isinstance(value, Decimal) else Decimal(str(value))


def _words(text: str) -> list[str]:
    return "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()


def _likeness(text: str, model: ListedModel) -> float:
    """How well a model's name answers to `text`, 0 to 1: each word by the one most like it, shorter names first."""
    from difflib import SequenceMatcher

    wanted = _words(text)
    if not wanted:
        return 0.0
    there = {*_words(model.id), *_words(model.name or "")}
    joined = "".join(_words(model.id))

    def best(word: str) -> float:
        if word in there:
            return 1.0
        if word in joined:
            return 0.9
        return max((SequenceMatcher(None, word, other).ratio() for other in there), default=0.0)

    scores = [best(word) for word in wanted]
    if min(scores) < 0.6:  # noqa: PLR2004 - a word that is nowhere
        return 0.0
    return sum(scores) / len(scores) - min(len(joined), 100) / 1000
