"""What `edgequake-llm compare` does: ask several models the same, in turn, and show what each took and cost."""

from __future__ import annotations

from statistics import median

from edgequake_llm._exceptions import ConfigurationError, LLMError
from edgequake_llm._table import NOTHING, dollars, lines
from edgequake_llm._value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from decimal import Decimal
    from typing import Any

    from edgequake_llm._core import LLMResponse
    from edgequake_llm.providers import Provider


class Run(Value):
    """One answer: times in milliseconds, output tokens a second, tokens, US dollars."""

    ttft_ms: float | None
    total_ms: float
    tokens_per_second: float
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: Decimal | None
    finish_reason: str | None


class Candidate:
    """A model that is compared, and what came of its runs. `priced`: whether its provider's prices hold for it."""

    def __init__(self, llm: Provider, *, priced: bool) -> None:
        self.llm = llm
        self.priced = priced
        self.runs: list[Run] = []
        self.error: LLMError | None = None
        self.answer = ""

    def ask(self, prompt: str, fields: Mapping[str, Any], cost: Callable[[LLMResponse], Decimal | None]) -> None:
        """Stream one answer and keep its figures, or the error."""
        try:
            with self.llm.sync.stream(prompt, **fields) as stream:
                for _ in stream:
                    pass
                response, metrics = stream.response, stream.metrics
        except LLMError as error:
            self.error = error
            return
        self.answer = response.content
        usage = response.usage
        run = Run(
            ttft_ms=metrics.ttft_ms,
            total_ms=metrics.total_ms,
            tokens_per_second=metrics.tokens_per_second,
            prompt_tokens=None if usage is None else usage.prompt_tokens,
            completion_tokens=None if usage is None else usage.completion_tokens,
            cost=cost(response) if self.priced else None,
            finish_reason=response.finish_reason,
        )
        self.runs.append(run)

    def middle(self, name: str) -> Any:
        """Return the median of a figure over the runs that have it; `None` if none has."""
        values = [value for run in self.runs if (value := getattr(run, name)) is not None]
        return median(values) if values else None

    def to_dict(self) -> dict[str, Any]:
        """Everything in JSON's types, the cost as exact text."""
        runs = [{name: _plain(getattr(run, name)) for name in run.__match_args__} for run in self.runs]
        error = None if self.error is None else str(self.error)
        return {"provider": self.llm.name, "model": self.llm.model, "runs": runs, "error": error, "answer": self.answer}


def _plain(figure: Any) -> Any:
    return figure if figure is None or isinstance(figure, (float, int, str)) else str(figure)


def in_turn(candidates: Sequence[Candidate], runs: int) -> Iterator[tuple[int, Candidate]]:
    """Yield whom to ask next: whatever else slows the machine or the network for a while hits all of them alike."""
    for run in range(1, runs + 1):
        for candidate in candidates:
            if candidate.error is None:
                yield run, candidate


def parse(spec: str) -> tuple[str, str | None]:
    """Take `provider/model` apart; the model may hold more slashes, or be missing."""
    provider, _, model = spec.partition("/")
    return provider.lower(), model or None


def costs() -> tuple[Callable[[LLMResponse], Decimal | None], str | None]:
    """Return a function that prices answers, and a note for the reader where there are no prices."""
    from edgequake_llm.catalog import ModelCatalog

    catalog = ModelCatalog()
    try:
        catalog.find("gpt-4o-mini", "openai")
    except ConfigurationError as error:
        return lambda _: None, error.message

    def cost(response: LLMResponse) -> Decimal | None:
        found = catalog.cost(response)
        return None if found is None else found.total

    return cost, None


COLUMNS = ("provider", "model", "TTFT ms", "total ms", "tokens/s", "tokens in + out", "cost")


def table(candidates: Sequence[Candidate]) -> list[str]:
    """Return the lines of the table: medians, with the least and the largest TTFT where there are several runs."""
    return lines([COLUMNS, *map(_row, candidates)], words=2)


def _row(candidate: Candidate) -> tuple[str, ...]:
    first = [run.ttft_ms for run in candidate.runs if run.ttft_ms is not None]
    ttft = f"{median(first):.0f}" if first else NOTHING
    if len(first) > 1:
        ttft += f" ({min(first):.0f}..{max(first):.0f})"
    total, rate = candidate.middle("total_ms"), candidate.middle("tokens_per_second")
    taken, given = candidate.middle("prompt_tokens"), candidate.middle("completion_tokens")
    cost = candidate.middle("cost")
    return (
        candidate.llm.name,
        candidate.llm.model or NOTHING,
        ttft,
        NOTHING if total is None else f"{total:.0f}",
        NOTHING if rate is None else f"{rate:.1f}",
        NOTHING if taken is None or given is None else f"{taken:.0f} + {given:.0f}",
        NOTHING if cost is None else dollars(cost),
    )
