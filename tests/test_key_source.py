"""A function as `api_key`: asked for each call, by whatever way the call is made, and never kept."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from edgequake_llm import (
    AuthenticationError,
    CachedProvider,
    ConfigurationError,
    GeminiProvider,
    HookedProvider,
    Hooks,
    OpenAIProvider,
    ProviderFactory,
    RateLimitedProvider,
    RateLimiterConfig,
)

HEADERS = {
    "openai": ("authorization", "Bearer "),
    "anthropic": ("x-api-key", ""),
    "gemini": ("x-goog-api-key", ""),
    "ollama": ("authorization", "Bearer "),
}


def numbered():
    """Keys that are another each time, and how many were given."""
    count = itertools.count(1)
    return lambda: f"key-{next(count)}"


def make(name, sim, source, **settings):
    return type(sim.provider(name))(source, base_url=sim.url, **settings)


async def test_every_call_has_the_key_of_its_time(sim, provider_name):
    header, prefix = HEADERS[provider_name]
    llm = make(provider_name, sim, numbered())
    await llm.complete("hi")
    async for _ in llm.stream("hi"):
        pass
    assert llm.sync.complete("hi").content
    assert "".join(llm.sync.stream("hi"))
    await llm.list_models()
    sent = [request["headers"][header] for request in sim.requests()]
    assert sent == [f"{prefix}key-{n}" for n in range(1, len(sent) + 1)]
    assert len(sent) == 5


async def test_a_function_may_wait(sim):
    keys = numbered()

    async def source():
        await asyncio.sleep(0)
        return keys()

    for given in (source, lambda: source()):  # noqa: PLW0108 - a function that only returns what must be awaited
        llm = make("openai", sim, given)
        assert (await llm.complete("hi")).content
        assert "".join([text async for text in llm.stream("hi")])
        with pytest.raises(ConfigurationError, match=r"not \.sync"):
            llm.sync.complete("hi")
    with pytest.raises(ConfigurationError, match="api_key is async"):
        make("openai", sim, source).sync.stream("hi")
    sent = [request["headers"]["authorization"] for request in sim.requests()]
    assert sent == [f"Bearer key-{n}" for n in range(1, 5)]


async def test_a_token_says_where_it_goes(sim):
    """Vertex AI and Entra ID want tokens in another header than keys."""
    gemini = make("gemini", sim, lambda: "Bearer token")
    await gemini.complete("hi")
    azure = OpenAIProvider.preset("azure", lambda: "Bearer token", base_url=sim.url, model="m")
    assert azure._core.key_header == ("api-key", "")
    path, _ = azure._core.encode("hi")
    assert path == "/chat/completions"
    for request in sim.requests():
        assert request["headers"]["authorization"] == "Bearer token"
        assert "x-goog-api-key" not in request["headers"]


async def test_with_everything_around_it(sim):
    seen = []
    llm = make("openai", sim, numbered())
    layered = HookedProvider(
        CachedProvider(RateLimitedProvider(llm, RateLimiterConfig(max_concurrent=1))),
        Hooks(on_request=lambda call: seen.append(call.fields)),
    )
    await layered.complete("hi", extra_headers={"x-a": "b"})
    assert (await layered.complete("hi")).cached, "the key is no part of what an answer is found by"
    assert [request["headers"]["authorization"] for request in sim.requests()] == ["Bearer key-1"]
    assert sim.requests()[0]["headers"]["x-a"] == "b"
    assert seen == [{"extra_headers": {"x-a": "b"}}, {}], "hooks do not see the key"
    await llm.complete("hi", extra_headers={"authorization": "mine"})
    assert sim.requests()[-1]["headers"]["authorization"] == "mine"


async def test_what_the_function_raises_or_returns_wrongly(sim):
    def broken():
        raise PermissionError("no token today")

    with pytest.raises(PermissionError, match="no token today"):
        await make("openai", sim, broken).complete("hi")
    for bad, what in ((None, "NoneType"), ("", "an empty text"), (7, "int")):
        with pytest.raises(ConfigurationError, match=f"must return a key, not {what}"):
            await make("openai", sim, lambda bad=bad: bad).complete("hi")
    assert sim.stats().requests == 0


async def test_the_key_is_never_shown(sim):
    llm = make("openai", sim, lambda: "tok_0123456789abcdef")
    assert "tok_" not in repr(llm)
    sim.push(status=401, body=b'{"error": {"message": "bad key tok_0123456789abcdef"}}')
    with pytest.raises(AuthenticationError) as caught:
        await llm.complete("hi")
    assert "tok_0123456789" not in str(caught.value)


def test_no_key_is_looked_for_elsewhere(monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "from the environment")
    asked = []
    GeminiProvider(lambda: asked.append(1) or "k")
    assert asked == []
    llm, _ = ProviderFactory.create("groq", api_key=lambda: "k", model="m")
    assert llm.name == "groq"
