"""Cached providers, short to write."""

from __future__ import annotations

from edgequake_llm import CacheConfig, CachedProvider, LLMCache, OpenAIProvider


def cached(llm, **settings):
    """Return the provider with a cache of its own around it."""
    return CachedProvider(llm, LLMCache(CacheConfig(**settings)))


def to(server, **settings):
    """Return a cached provider that talks to a scripted server and does not try again."""
    settings.setdefault("retry", 0)
    return cached(OpenAIProvider("key", model="m", base_url=server.url, **settings))
