"""Answers that are not what the protocol says: one clear error that names the provider, and the provider works on."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from edgequake_llm import (
    APIConnectionError,
    APIStatusError,
    InvalidResponseError,
    LLMError,
    ProviderFactory,
    ServerError,
    StreamInterrupted,
    _core,
)
from support.raw import CLOSE, RawServer, answer, chunk, head

KEY = "canary-0123456789abcdef"

GOOD = {
    "openai": {"choices": [{"message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}]},
    "anthropic": {"type": "message", "content": [{"type": "text", "text": "fine"}], "stop_reason": "end_turn"},
    "gemini": {"candidates": [{"content": {"parts": [{"text": "fine"}]}, "finishReason": "STOP"}]},
    "ollama": {"message": {"role": "assistant", "content": "fine"}, "done": True, "done_reason": "stop"},
}

# The beginnings of streams, before anything that ends them.
OPENED = {
    "openai": ['data: {"choices":[{"index":0,"delta":{"content":"fi"}}]}\n\n'],
    "anthropic": [
        'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":1}}}\n\n',
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"fi"}}\n\n',
    ],
    "gemini": ['data: {"candidates":[{"content":{"parts":[{"text":"fi"}]}}]}\r\n\r\n'],
    "ollama": ['{"message":{"role":"assistant","content":"fi"},"done":false}\n'],
}

STREAM_TYPE = dict.fromkeys(["openai", "anthropic", "gemini"], "text/event-stream") | {"ollama": "application/x-ndjson"}

PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Proxy error</title></head>\n<body><h1>The corporate proxy says no</h1>"
    + b"<p>filler</p>" * 500
    + b"</body></html>"
)

# Bodies of status 200 that are no answer of any of the four formats.
NO_ANSWER = {
    "not JSON": b"Service is starting, please wait.",
    "empty": b"",
    "white space": b" \r\n\t",
    "a page": PAGE,
    "null": b"null",
    "a number": b"42",
    "a text": b'"fine"',
    "a list": b"[1, 2]",
    "an empty object": b"{}",
    "of another shape": b'{"status": "ok", "result": "fine"}',
    "not UTF-8": b"\xff\xfe\x00{",
    "zero bytes": b"\0" * 64,
    "two documents": b'{"a": 1}{"b": 2}',
    "too deep": b"[" * 100_000,
    "a byte order mark alone": b"\xef\xbb\xbf",
}

# Right names, wrong types: (wire, body).
WRONG_SHAPE = {
    "openai": [
        {"choices": "fine"},
        {"choices": [5]},
        {"choices": []},
        {"choices": [{"message": "fine"}]},
        {"choices": [{}]},
        {"choices": {"0": {}}},
    ],
    "anthropic": [{"content": "fine"}, {"content": [5]}, {"content": {"text": "fine"}}, {"content": None}],
    "gemini": [
        {"candidates": "fine"},
        {"candidates": [5]},
        {"candidates": [{"content": "fine"}]},
        {"candidates": [{"content": {"parts": "fine"}}]},
    ],
    "ollama": [{"message": "fine"}, {"message": 5}, {"message": None}, {"message": [], "done": True}],
}


def provider(name, server, **settings):
    return ProviderFactory.create(name, api_key=KEY, base_url=server.url, **{"retry": 0, **settings})[0]


def good(name, **settings):
    return answer(GOOD[name], **settings)


def good_embeddings(name):
    vectors = {"openai": {"data": [{"index": 0, "embedding": [1.0]}]}, "gemini": {"embeddings": [{"values": [1.0]}]}}
    return answer(vectors.get(name, {"embeddings": [[1.0]]}))


def is_clear(error, name, *words):
    """It names the provider, says what is wrong, shows little, and no secret."""
    text = str(error)
    assert error.provider == name
    assert text.startswith(f"{name}: ")
    assert len(text) < 500, text
    assert "\n" not in text
    assert KEY not in text
    assert "0x" not in text
    assert not error.retryable
    for word in words:
        assert word in text, text


async def collect(stream):
    return [text async for text in stream]


async def fails(name, script, kinds=InvalidResponseError, words=()):
    """Every kind of call fails clearly on this answer, and the same provider works right after each."""
    calls = {
        "complete": lambda llm: llm.complete("hi"),
        "stream": lambda llm: collect(llm.stream("hi")),
        "embed": lambda llm: llm.embed(["a"]),
    }
    if name == "anthropic":
        del calls["embed"]
    for kind, call in calls.items():
        with RawServer([script], [good(name)]) as server:
            llm = provider(name, server)
            with pytest.raises(kinds) as caught:
                await call(llm)
            is_clear(caught.value, name, *words)
            assert caught.value.attempts == 1, kind
            assert (await llm.complete("hi")).content == "fine"
            assert await collect(llm.stream("hi")) == ["fine"]
            assert len(server.requests) == 3


@pytest.mark.parametrize("body", NO_ANSWER.values(), ids=NO_ANSWER)
@pytest.mark.parametrize("content_type", ["application/json", "text/html", "text/plain", ""])
async def test_no_answer_at_all(provider_name, body, content_type):
    await fails(provider_name, answer(body, content_type=content_type))


@pytest.mark.parametrize("body", NO_ANSWER.values(), ids=NO_ANSWER)
async def test_no_stream_at_all(provider_name, body):
    with RawServer([answer(body, content_type=STREAM_TYPE[provider_name])], [good(provider_name)]) as server:
        llm = provider(provider_name, server)
        with pytest.raises((InvalidResponseError, APIConnectionError, StreamInterrupted)) as caught:
            await collect(llm.stream("hi"))
        assert caught.value.provider == provider_name
        assert KEY not in str(caught.value)
        assert len(str(caught.value)) < 500
        assert await collect(llm.stream("hi")) == ["fine"]


async def test_a_page_of_a_proxy_shows_its_beginning(provider_name):
    await fails(provider_name, answer(PAGE, content_type="text/html"), words=["<!DOCTYPE html>", "Proxy error"])
    script = answer(PAGE, 502, content_type="text/html")
    with RawServer([script], [good(provider_name)]) as server:
        llm = provider(provider_name, server)
        with pytest.raises(ServerError) as caught:
            await llm.complete("hi")
        assert "Proxy error" in str(caught.value)
        assert len(str(caught.value)) < 500
        assert (await llm.complete("hi")).content == "fine"


async def test_an_empty_body_is_said_to_be_empty(provider_name):
    await fails(provider_name, answer(b""), words=["empty"])


async def test_wrong_shapes(provider_name):
    for body in WRONG_SHAPE[provider_name]:
        with RawServer([answer(body)], [good(provider_name)]) as server:
            llm = provider(provider_name, server)
            with pytest.raises(InvalidResponseError) as caught:
                await llm.complete("hi")
            is_clear(caught.value, provider_name)
            assert (await llm.complete("hi")).content == "fine"


async def test_a_truncated_body_whose_length_is_right(provider_name):
    whole = json.dumps(GOOD[provider_name]).encode()
    for length in (1, len(whole) // 2, len(whole) - 1):
        with RawServer([answer(whole[:length])], [good(provider_name)]) as server:
            llm = provider(provider_name, server)
            with pytest.raises(InvalidResponseError) as caught:
                await llm.complete("hi")
            is_clear(caught.value, provider_name)
            assert (await llm.complete("hi")).content == "fine"


async def test_every_cut_of_a_good_answer_is_an_error_or_the_answer(provider_name):
    whole = json.dumps(GOOD[provider_name]).encode()
    for length in range(len(whole)):
        with pytest.raises(InvalidResponseError):
            _core.decode_chat(provider_name, whole[:length])
    assert _core.decode_chat(provider_name, whole).content == "fine"


async def test_a_body_shorter_than_announced(provider_name):
    whole = json.dumps(GOOD[provider_name]).encode()
    cut = head(200, "application/json", content_length=len(whole)) + whole[:-10]
    with RawServer([cut, CLOSE], [good(provider_name)]) as server:
        llm = provider(provider_name, server)
        with pytest.raises(APIConnectionError) as caught:
            await llm.complete("hi")
        assert caught.value.provider == provider_name
        assert (await llm.complete("hi")).content == "fine"


async def test_broken_compression(provider_name):
    packed = gzip.compress(json.dumps(GOOD[provider_name]).encode())
    scripts = {
        "garbage": answer(b"no gzip at all", content_encoding="gzip"),
        "cut": answer(packed[:-12], content_encoding="gzip"),
        "unknown": answer(packed, content_encoding="rot13"),
    }
    for script in scripts.values():
        with RawServer([script], [good(provider_name)]) as server:
            llm = provider(provider_name, server)
            with pytest.raises(LLMError) as caught:
                await llm.complete("hi")
            assert caught.value.provider == provider_name
            assert (await llm.complete("hi")).content == "fine"


ERRORS_IN_200 = {
    "openai": [{"error": {"message": "the engine fell over", "type": "server_error"}}],
    "anthropic": [{"type": "error", "error": {"type": "api_error", "message": "the engine fell over"}}],
    "gemini": [
        {"error": {"code": 500, "status": "INTERNAL", "message": "the engine fell over"}},
        [{"error": {"code": 500, "status": "INTERNAL", "message": "the engine fell over"}}],
    ],
    "ollama": [{"error": "the engine fell over"}],
}


async def test_a_200_that_carries_an_error(provider_name):
    for body in ERRORS_IN_200[provider_name]:
        for script in (answer(body), answer(body, content_type=STREAM_TYPE[provider_name])):
            with RawServer([script], [script], [good(provider_name)]) as server:
                llm = provider(provider_name, server)
                with pytest.raises(LLMError, match="the engine fell over") as caught:
                    await llm.complete("hi")
                assert caught.value.provider == provider_name
                with pytest.raises(LLMError) as caught:
                    await collect(llm.stream("hi"))
                assert caught.value.provider == provider_name
                assert (await llm.complete("hi")).content == "fine"


async def test_an_error_event_in_a_stream_of_200(provider_name):
    for body in ERRORS_IN_200[provider_name]:
        if isinstance(body, list):
            continue
        framed = {"ollama": "{}\n"}.get(provider_name, "data: {}\n\n").replace("{}", json.dumps(body)).encode()
        if provider_name == "anthropic":
            framed = b"event: error\n" + framed
        for opening in ([], OPENED[provider_name]):
            script = answer("".join(opening).encode() + framed, content_type=STREAM_TYPE[provider_name])
            with RawServer([script], [good(provider_name)]) as server:
                llm = provider(provider_name, server)
                with pytest.raises(LLMError, match="the engine fell over") as caught:
                    await collect(llm.stream("hi"))
                assert caught.value.provider == provider_name
                assert (caught.value.partial.content if opening else "fi") == "fi"
                assert (await llm.complete("hi")).content == "fine"


GARBAGE_FRAMES = {
    "not JSON": "surprise",
    "cut JSON": '{"choices":[{"ind',
    "a number": "42",
    "a text": '"data"',
    "a list": "[1]",
    "a list of events": '[{"type":"message_start"}]',
    "true": "true",
    "null": "null",
}


@pytest.mark.parametrize("garbage", GARBAGE_FRAMES.values(), ids=GARBAGE_FRAMES)
async def test_garbage_in_a_stream(provider_name, garbage):
    """Before anything was delivered and after; what had come is in `partial`."""
    if garbage == "null" and provider_name == "openai":
        # In OpenAI's format null is the same as missing, everywhere: an empty chunk.
        body = "data: null\n\n" + "".join(OPENED["openai"]) + "data: null\n\ndata: [DONE]\n\n"
        with RawServer([answer(body.encode(), content_type="text/event-stream")]) as server:
            assert "".join(await collect(provider("openai", server).stream("hi"))) == "fi"
        return
    frame = f"{garbage}\n" if provider_name == "ollama" else f"data: {garbage}\n\n"
    for opening in ([], OPENED[provider_name]):
        body = ("".join(opening) + frame + "".join(OPENED[provider_name])).encode()
        with RawServer([answer(body, content_type=STREAM_TYPE[provider_name])], [good(provider_name)]) as server:
            llm = provider(provider_name, server)
            seen = []
            with pytest.raises(InvalidResponseError) as caught:
                async for text in llm.stream("hi"):
                    seen.append(text)
            is_clear(caught.value, provider_name, garbage[:10])
            assert seen == (["fi"] if opening else [])
            if opening:
                assert caught.value.partial.content == "fi"
            assert (await llm.complete("hi")).content == "fine"


async def test_a_stream_that_just_ends_is_interrupted(provider_name):
    """Without the format's own sign of an end, however clean the end of HTTP's body is."""
    opening = "".join(OPENED[provider_name]).encode()
    with RawServer([answer(opening, content_type=STREAM_TYPE[provider_name])], [good(provider_name)]) as server:
        llm = provider(provider_name, server, retry=3)
        with pytest.raises(StreamInterrupted) as caught:
            await collect(llm.stream("hi"))
        assert caught.value.partial.content == "fi"
        assert caught.value.partial.finish_reason is None
        assert caught.value.provider == provider_name
        assert len(server.requests) == 1
        assert (await llm.complete("hi")).content == "fine"


async def test_a_whole_answer_to_a_streams_request(provider_name):
    """A server that ignores `stream` is no fault: the answer comes in one piece."""
    with RawServer([good(provider_name)]) as server:
        stream = provider(provider_name, server).stream("hi")
        assert await collect(stream) == ["fine"]
        assert stream.response.content == "fine"


async def test_a_stream_under_a_wrong_content_type(provider_name):
    endings = {
        "openai": 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
        "anthropic": 'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\ndata: {"type":"message_stop"}\n\n',
        "gemini": 'data: {"candidates":[{"content":{"parts":[{"text":"ne"}]},"finishReason":"STOP"}]}\r\n\r\n',
        "ollama": '{"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}\n',
    }
    body = ("".join(OPENED[provider_name]) + endings[provider_name]).encode()
    for content_type in ("text/plain", "application/octet-stream", ""):
        with RawServer([answer(body, content_type=content_type)]) as server:
            stream = provider(provider_name, server).stream("hi")
            assert "".join(await collect(stream)).startswith("fi")
            assert stream.response.finish_reason == "stop"


async def test_unknown_fields_and_events_are_ignored(provider_name):
    body = json.loads(json.dumps(GOOD[provider_name]))
    body["of_tomorrow"] = {"deep": [1, {"x": None}]}
    for value in body.values():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value[0]["of_tomorrow"] = [[]]
    with RawServer([answer(body)]) as server:
        assert (await provider(provider_name, server).complete("hi")).content == "fine"


async def test_an_endless_line_is_bounded(provider_name):
    """A server that sends a line without end does not take the memory with it."""
    piece = chunk(b"x" * 65536)
    opening = head(200, STREAM_TYPE[provider_name], transfer_encoding="chunked") + chunk(b"data: {")
    with RawServer([opening, *[piece] * 2000], [good(provider_name)]) as server:
        llm = provider(provider_name, server)
        with pytest.raises(InvalidResponseError) as caught:
            await asyncio.wait_for(collect(llm.stream("hi")), 60)
        is_clear(caught.value, provider_name)
        assert (await llm.complete("hi")).content == "fine"


@pytest.mark.parametrize("status", [204, 206])
async def test_other_successes_are_no_answers(provider_name, status):
    with RawServer([head(status, "application/json", content_length=0)], [good(provider_name)]) as server:
        llm = provider(provider_name, server)
        with pytest.raises(InvalidResponseError):
            await llm.complete("hi")
        assert (await llm.complete("hi")).content == "fine"


async def test_an_error_status_with_any_body(provider_name):
    for name, body in NO_ANSWER.items():
        with RawServer([answer(body, 418, "text/plain")], [good(provider_name)]) as server:
            llm = provider(provider_name, server)
            with pytest.raises(APIStatusError) as caught:
                await llm.complete("hi")
            assert type(caught.value) is APIStatusError, name
            assert caught.value.status == 418
            is_clear(caught.value, provider_name)
            assert (await llm.complete("hi")).content == "fine"


async def test_the_simulators_faults_too(llm, sim):
    """The same over HTTP as the simulator speaks it; nothing hangs, and the provider goes on."""
    for reply in (
        {"body": b"not JSON"},
        {"body": b""},
        {"body": b"{}", "headers": {"content-type": "text/html"}},
        {"pieces": [b"data: ", b"nonsense\n", b"\n"]},
    ):
        for call in (lambda: llm.complete("hi"), lambda: collect(llm.stream("hi"))):
            sim.push(**reply)
            with pytest.raises(LLMError):
                await call()
            assert (await llm.complete("hi")).content
