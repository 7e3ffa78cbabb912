"""Gemini's stored prompts: create, use, extend, delete, and long contexts stored by themselves."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from edgequake_llm import (
    AnthropicProvider,
    ChatMessage,
    GeminiCache,
    GeminiProvider,
    InvalidRequestError,
    InvalidResponseError,
    PermissionDeniedError,
    UnsupportedOption,
)

LONG = "The quick brown fox jumps over the lazy dog. " * 200
TOOL = {"name": "f", "description": "does", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}


@pytest.fixture
def gemini(sim):
    return sim.provider("gemini")


def sent(sim):
    return [(request["method"], request["path"], json.loads(request["body"] or b"null")) for request in sim.requests()]


async def test_a_prompt_is_stored_used_extended_and_deleted(sim, gemini):
    cache = await gemini.caches.create(
        [ChatMessage.system("be kind"), ChatMessage.user(LONG)], ttl=300, title="fox", tools=[TOOL]
    )
    method, path, body = sent(sim)[-1]
    assert (method, path) == ("POST", "/v1beta/cachedContents")
    assert body == {
        "model": "models/gemini-2.5-flash",
        "displayName": "fox",
        "ttl": "300s",
        "systemInstruction": {"parts": [{"text": "be kind"}]},
        "contents": [{"role": "user", "parts": [{"text": LONG}]}],
        "tools": [{"functionDeclarations": [TOOL]}],
    }
    assert cache.name.startswith("cachedContents/")
    assert (cache.model, cache.title) == ("gemini-2.5-flash", "fox")
    assert cache.tokens > 1024
    assert cache.expires - cache.created == timedelta(seconds=300)

    response = await gemini.chat("and the dog?", cached_content=cache.name)
    assert sent(sim)[-1][2]["cachedContent"] == cache.name
    assert response.usage.cached_tokens == cache.tokens
    assert response.usage.prompt_tokens > cache.tokens
    async with gemini.stream("and the fox?", cached_content=cache.name) as stream:
        async for _ in stream:
            pass
    assert stream.response.usage.cached_tokens == cache.tokens

    longer = await gemini.caches.extend(cache, timedelta(hours=2))
    assert longer.expires - datetime.now(timezone.utc) > timedelta(hours=1)
    assert await gemini.caches.get(cache.name) == longer
    assert await gemini.caches.all() == [longer]
    await gemini.caches.delete(cache)
    assert await gemini.caches.all() == []
    with pytest.raises(PermissionDeniedError):
        await gemini.chat("gone?", cached_content=cache.name)
    with pytest.raises(PermissionDeniedError):
        await gemini.caches.delete(cache.name.removeprefix("cachedContents/"))


def test_the_same_without_an_event_loop(sim, gemini):
    caches = gemini.sync.caches
    cache = caches.create(ChatMessage.system(LONG))
    assert "contents" not in sent(sim)[-1][2], "system messages alone will do"
    assert caches.get(cache) == cache
    assert caches.all() == [cache]
    assert caches.extend(cache, 60).expires < cache.expires
    caches.delete(cache)
    assert caches.all() == []


async def test_bad_input_raises_before_anything_is_sent(sim, gemini):
    for ttl in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InvalidRequestError, match="ttl"):
            await gemini.caches.create(LONG, ttl=ttl)
    with pytest.raises(InvalidRequestError):
        await gemini.caches.create([])
    with pytest.raises(InvalidRequestError, match="system message"):
        await gemini.chat([ChatMessage.system("s"), ChatMessage.user("u")], cached_content="cachedContents/x")
    with pytest.raises(InvalidRequestError, match="tools"):
        await gemini.chat("u", tools=[TOOL], cached_content="cachedContents/x")
    assert sent(sim) == []
    with pytest.raises(InvalidRequestError, match="too small"):
        await gemini.caches.create("short")


def test_others_have_no_such_store():
    with pytest.raises(UnsupportedOption, match="prompt_cache=True"):
        AnthropicProvider("k")._core.encode_store("hi", 60.0)
    assert not hasattr(AnthropicProvider("k"), "caches")


async def test_an_answer_that_is_no_stored_prompt(sim, gemini):
    for body in (b"{}", b'{"name":"x","model":"m","createTime":"soon","expireTime":"late"}', b"[]"):
        sim.push(body=body)
        with pytest.raises(InvalidResponseError):
            await gemini.caches.get("x")


async def test_times_with_nanoseconds_and_without():
    value = {
        "name": "cachedContents/a",
        "model": "models/m",
        "createTime": "2026-08-18T07:43:24.214856Z",
        "expireTime": "2026-08-18T07:45:23.775887077Z",
    }
    cache = GeminiCache._of(value)
    assert cache.expires == datetime(2026, 8, 18, 7, 45, 23, 775887, tzinfo=timezone.utc)
    assert GeminiCache._of({**value, "createTime": "2020-01-01T00:00:00Z"}).created.year == 2020


async def test_long_contexts_are_stored_once_and_used_from_then_on(sim, gemini):
    document = ChatMessage.system(LONG * 20)
    talk = [document, ChatMessage.user("first?")]
    messages, fields = await gemini.caches.auto(talk)
    assert [message.content for message in messages] == ["first?"]
    first = await gemini.chat(messages, **fields)
    assert first.usage.cached_tokens > 32_768
    talk += [first.message, ChatMessage.user("second?")]
    messages, again = await gemini.caches.auto(talk)
    assert again == fields, "what is stored is used again"
    assert [message.role for message in messages] == ["user", "assistant", "user"]
    created = [path for method, path, _ in sent(sim) if (method, path) == ("POST", "/v1beta/cachedContents")]
    assert len(created) == 1
    assert gemini.sync.caches.auto(talk) == (messages, fields), "both kinds of calls know of it"
    # Another document, other tools, another model: another prompt.
    for other in ({"tools": [TOOL]}, {"model": "gemini-2.5-pro"}):
        _, different = await gemini.caches.auto(talk, **other)
        assert different["cached_content"] != fields["cached_content"]
    await gemini.caches.delete(fields["cached_content"])
    _, fresh = await gemini.caches.auto(talk)
    assert fresh["cached_content"] != fields["cached_content"], "what was deleted is not used"


async def test_turns_as_long_as_a_context_are_stored_anew(sim, gemini):
    talk = [ChatMessage.system(LONG * 20), ChatMessage.user("first?")]
    _, fields = await gemini.caches.auto(talk)
    talk += [ChatMessage.assistant(LONG * 20), ChatMessage.user("second?")]
    messages, other = await gemini.caches.auto(talk)
    assert [message.content for message in messages] == ["second?"]
    assert other != fields


@pytest.mark.parametrize(
    "talk",
    [
        "short",
        [ChatMessage.user(LONG * 20)],
        [ChatMessage.system(LONG), ChatMessage.user("x")],
        [ChatMessage.system("s"), ChatMessage.user(LONG * 20)],
    ],
    ids=["short", "one question", "short system", "long question"],
)
async def test_what_has_no_long_context_is_sent_as_it_is(sim, gemini, talk):
    messages, fields = await gemini.caches.auto(talk, tools=[TOOL] if talk == "short" else None)
    assert fields == ({"tools": [TOOL]} if talk == "short" else {})
    assert [message.content for message in messages] == [talk] if isinstance(talk, str) else [m.content for m in talk]
    assert not [path for _, path, _ in sent(sim) if path.endswith("cachedContents")]


async def test_a_split_never_parts_a_call_from_its_result(gemini):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    talk = [
        ChatMessage.system(LONG * 20),
        ChatMessage.user("call"),
        ChatMessage("assistant", tool_calls=[call]),
        ChatMessage.tool("c", "42"),
    ]
    messages, fields = await gemini.caches.auto(talk, tools=[TOOL])
    assert [message.role for message in messages] == ["user", "assistant", "tool"]
    response = await gemini.chat(messages, **fields)
    assert response.usage.cached_tokens > 0


async def test_what_is_about_to_expire_is_stored_anew(sim, gemini):
    talk = [ChatMessage.system(LONG * 20), ChatMessage.user("first?")]
    _, fields = await gemini.caches.auto(talk, ttl=30)
    _, again = await gemini.caches.auto(talk, ttl=30)
    assert again != fields


def test_a_provider_has_one_store(gemini):
    assert isinstance(gemini, GeminiProvider)
    assert gemini.caches is gemini.caches
    assert gemini.sync.caches is gemini.sync.caches
