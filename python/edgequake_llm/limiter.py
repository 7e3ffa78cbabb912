"""Rate limits: `RateLimiterConfig`, and `RateLimitedProvider`, a provider that keeps to them.

    limited = RateLimitedProvider(llm, RateLimiterConfig(max_concurrent=10, requests_per_minute=500))

The limiter itself, `RateLimiter`, is native.
"""

from __future__ import annotations

from edgequake_llm import _core
from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm._value import Value
from edgequake_llm.providers._wrapped import Wrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgequake_llm._config import Seconds
    from edgequake_llm.providers import Provider


class RateLimiterConfig(Value):
    """The limits of a `RateLimiter`. What is `None` is not limited.

    `max_concurrent`: calls at once. `requests_per_minute`, `tokens_per_minute` (prompt and answer together): the
    allowances, which flow in evenly. `burst`: how many requests may be let in at once after a rest; by default what
    flows in during ten seconds, at least 1, because providers enforce a minute's allowance over shorter times too.
    `token_burst`: the same for tokens, and so the largest single request; by default a minute's allowance, which is
    what providers' own buckets hold. `max_wait`: seconds, or a `timedelta`, after which a call that was not let in
    raises `RateLimitTimeout`; it raises at once if it would have to wait longer anyway.

    Over every minute, wherever it begins, at most allowance + burst are let in.
    """

    max_concurrent: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    burst: int | None = None
    token_burst: int | None = None
    max_wait: Seconds | None = None

    @classmethod
    def preset(cls, provider: str, tier: str) -> RateLimiterConfig:
        """Return the limits of a provider's usage tier, as `RateLimiterConfig.preset("openai", "tier-1")`.

        They are starting points: providers set limits for each model and account and change them without notice. The
        account's own page has the real ones, and the limiter learns from the headers of every answer where they are
        lower. Raises `ConfigurationError` with the known names for any other.
        """
        limits = _core.rate_limit_preset(provider, tier)
        if limits is None:
            known: dict[str, list[str]] = {}
            for name, tiers in _core.rate_limit_presets():
                known.setdefault(name, []).append(tiers)
            names = "; ".join(f"{name}: {', '.join(tiers)}" for name, tiers in known.items())
            raise ConfigurationError(f"there is no preset for {provider!r} and {tier!r}; there are {names}")
        requests, tokens = limits
        return cls(requests_per_minute=requests or None, tokens_per_minute=tokens or None)


class RateLimitedProvider(Wrapped):
    """A provider whose requests keep to rate limits: `RateLimitedProvider(llm, RateLimiterConfig(...))`.

    It is itself a provider, with everything that `provider` has. Every request that is sent passes the limiter: each
    try of a call and each batch of an `embed`; a call that waits for its next try holds no slot. A stream holds its
    slot until its answer has come whole. Tokens are reserved for the prompt (counted where the model's tokenizer is
    known, else at four bytes a token) and `max_tokens`, and settled by the real usage. Failed and cancelled calls give
    back what they did not use. The headers of every answer (`x-ratelimit-*`, `anthropic-ratelimit-*`) hold the limiter
    back where they say that less is left, and a 429 pauses everybody once, for the time that it names.

    Give a `RateLimiter` instead of a config to share one among several providers. Calls raise `InvalidRequestError` at
    once where they need more tokens than the limiter ever lets in, and `RateLimitTimeout` after `max_wait`.
    """

    __slots__ = {"limiter": "The `RateLimiter` that its requests pass."}

    def __init__(self, provider: Provider, limiter: RateLimiterConfig | _core.RateLimiter) -> None:
        inner = self._inner(provider)
        if isinstance(limiter, RateLimiterConfig):
            limiter = _core.RateLimiter(limiter)
        elif not isinstance(limiter, _core.RateLimiter):
            kind = type(limiter).__name__
            raise ConfigurationError(f"the limiter is a RateLimiterConfig or a RateLimiter, not {kind}")
        self.limiter = limiter
        super().__init__(inner, inner._core.limited(limiter))  # noqa: SLF001 - the package's own
