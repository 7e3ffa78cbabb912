"""The cache: `CacheConfig`, and `CachedProvider`, a provider that asks only for what it does not know yet.

    cached = CachedProvider(llm, LLMCache(CacheConfig(max_entries=1000, ttl=3600)))

The cache itself, `LLMCache`, is native.
"""

from __future__ import annotations

from edgequake_llm import _core
from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm._value import Value
from edgequake_llm.providers._wrapped import Wrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sys
    from collections.abc import Sequence

    from edgequake_llm._config import Seconds
    from edgequake_llm._options import CompletionOptions, EmbedFields, OptionFields
    from edgequake_llm.providers import Provider
    from edgequake_llm.providers._base import Message

    if sys.version_info >= (3, 12):
        from typing import Unpack
    else:
        from typing_extensions import Unpack


class CacheConfig(Value):
    """The settings of an `LLMCache`.

    `max_entries`: at most this many; the least recently used one makes room. `ttl`: seconds, or a `timedelta`, for
    which an entry is fresh; `None` is for ever. `max_bytes`: at most about this much memory. `cache_completions`,
    `cache_embeddings`: what `CachedProvider` keeps. `refresh_on_read`: reading an entry starts its lifetime anew.
    `stale`: seconds after its lifetime for which an entry is still served, while one call fetches it anew.
    `cache_nonzero_temperature`: keep answers that were asked for with a temperature above 0, too. A call that sets no
    temperature is kept either way.
    """

    max_entries: int = 1000
    ttl: Seconds | None = 3600.0
    max_bytes: int | None = None
    cache_completions: bool = True
    cache_embeddings: bool = True
    refresh_on_read: bool = False
    stale: Seconds = 0
    cache_nonzero_temperature: bool = False


class CachedProvider(Wrapped):
    """A provider that asks only for what its cache does not know: `CachedProvider(llm, LLMCache(CacheConfig(...)))`.

    It is itself a provider, with everything that `provider` has. What is known is answered on the spot, with
    `response.cached` true and `response.attempts` 0; a stream is replayed. Of an `embed`'s texts only the unknown ones
    are asked for, each once. Equal calls at once make one request (`complete`, `chat` and `embed`; each stream makes
    its own): a failure reaches all of them and is not kept, a cancelled one does not cancel the rest, and the request
    is taken back when the last one has left.

    Answers are kept if they came whole. A temperature above 0 asks for a new answer each time, so those calls pass the
    cache by unless `cache_nonzero_temperature` says otherwise. What an answer is found by is everything that can change
    it (provider, base URL, model, messages, tools, every option) and no secret: not the key and no header.

    One `LLMCache` may serve several providers. A `CacheConfig` makes one for this provider alone.
    """

    __slots__ = {"cache": "The `LLMCache` that its answers are kept in."}

    def __init__(self, provider: Provider, cache: _core.LLMCache | CacheConfig | None = None) -> None:
        inner = self._inner(provider)
        if cache is None or isinstance(cache, CacheConfig):
            cache = _core.LLMCache(cache)
        elif not isinstance(cache, _core.LLMCache):
            raise ConfigurationError(f"the cache is an LLMCache or a CacheConfig, not {type(cache).__name__}")
        self.cache = cache
        super().__init__(inner, inner._core.cached(cache))  # noqa: SLF001 - the package's own

    def chat_key(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        **fields: Unpack[OptionFields],
    ) -> _core.CacheKey:
        """Return what the answer to this call is found by, as in `cache.delete(cached.chat_key("..."))`.

        It is the same for `complete`, `chat` and `stream`. Arguments and errors are those of `chat`.
        """
        return self._core.chat_key(messages, options, fields)

    def embed_key(self, text: str, **fields: Unpack[EmbedFields]) -> _core.CacheKey:
        """Return what the vector of this text is found by. Options and errors are those of `embed`."""
        return self._core.embed_key(text, fields)
