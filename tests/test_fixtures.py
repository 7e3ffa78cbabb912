"""The decoders against one small exchange of each kind and wire, with what each says worked out by hand.

The plain readings in ``oracle`` are held to the same, so that what they find in recordings means something.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edgequake_llm
from edgequake_llm import _core
from oracle import reading_anthropic, reading_errors, reading_gemini, reading_ollama, reading_openai

FIXTURES = Path(__file__).parent / "fixtures"
READINGS = {
    "openai": reading_openai,
    "anthropic": reading_anthropic,
    "gemini": reading_gemini,
    "ollama": reading_ollama,
}


def usage(prompt, completion, *, cached=0, written=0, written_1h=0, reasoning=0):
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": cached,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": written_1h,
        "reasoning_tokens": reasoning,
    }


ANSWERS = {
    "openai_chat.json": {
        "id": "chatcmpl-fixture1",
        "model": "gpt-4o-mini-2024-07-18",
        "text": "Zürich: 21 °C. Shall I also look at Basel?",
        "thinking": "",
        "refusal": "",
        "tool_calls": [("weather", {"city": "Basel", "days": 2})],
        "usage": usage(1200, 90, cached=1024, reasoning=64),
        "finish_reason": "tool_calls",
    },
    "openai_chat.sse": {
        "id": "chatcmpl-fixture2",
        "model": "gpt-4o-mini-2024-07-18",
        "text": "Zürich 🏔\n",
        "thinking": "",
        "refusal": "",
        "tool_calls": [("weather", {"city": "Basel"}), ("clock", {})],
        "usage": usage(30, 12),
        "finish_reason": "tool_calls",
    },
    "anthropic_messages.json": {
        "id": "msg_fixture1",
        "model": "claude-haiku-4-5-20251001",
        "text": "I look it up.",
        "thinking": "The user wants a city.",
        "refusal": "",
        "tool_calls": [("weather", {"city": "Genève"})],
        "usage": usage(20 + 300 + 2048, 55, cached=2048, written=300, written_1h=200, reasoning=30),
        "finish_reason": "tool_calls",
    },
    "anthropic_messages.sse": {
        "id": "msg_fixture2",
        "model": "claude-haiku-4-5-20251001",
        "text": 'Voilà "deux"',
        "thinking": "Let me see.",
        "refusal": "",
        "tool_calls": [("weather", {"city": "Genève"}), ("clock", {})],
        # The last count of each kind holds: nothing is added up.
        "usage": usage(11 + 5, 70, cached=5),
        "finish_reason": "tool_calls",
    },
    "gemini_generate.json": {
        "id": "fixture1",
        "model": "gemini-2.5-flash",
        "text": "Two lakes: Léman and Zug.",
        "thinking": "Thinking of lakes.",
        "refusal": "",
        "tool_calls": [("depth", {"lake": "Zug"})],
        "usage": usage(40 + 3, 12 + 8, cached=16, reasoning=8),
        "finish_reason": "tool_calls",
    },
    "gemini_stream.sse": {
        "id": "fixture2",
        "model": "gemini-2.5-flash",
        "text": "Ein Café — gern.",
        "thinking": "Mulling.",
        "refusal": "",
        "tool_calls": [],
        "usage": usage(9, 5 + 4, reasoning=4),
        "finish_reason": "stop",
    },
    "ollama_chat.json": {
        "id": "",
        "model": "qwen3:8b",
        "text": "",
        "thinking": "A tool, then.",
        "refusal": "",
        "tool_calls": [("weather", {"city": "Lugano"})],
        "usage": usage(33, 21),
        "finish_reason": "tool_calls",
    },
    "ollama_chat.ndjson": {
        "id": "",
        "model": "qwen3:8b",
        "text": "Es ist schön. ☀",
        "thinking": "Hm.",
        "refusal": "",
        "tool_calls": [("weather", {"city": "Lugano"}), ("clock", {})],
        "usage": usage(0, 14),  # A prompt that was in the cache whole has no count.
        "finish_reason": "tool_calls",
    },
}

STREAMS = [name for name in ANSWERS if not name.endswith(".json")]

ERRORS = {
    # File: status, headers, then the exception's class, code, type, seconds to wait, and whether to try again.
    "openai_chat_error.json": (
        (429, {"retry-after": "2", "retry-after-ms": "1500"}),
        ("RateLimitError", "rate_limit_exceeded", "requests", 1.5, True),
    ),
    "openai_embeddings_error.json": (
        (404, {}),
        ("NotFoundError", "model_not_found", "invalid_request_error", None, False),
    ),
    "anthropic_messages_error.json": ((529, {}), ("OverloadedError", None, "overloaded_error", None, True)),
    "gemini_generate_error.json": ((429, {}), ("RateLimitError", None, "RESOURCE_EXHAUSTED", 48.5, True)),
    "ollama_chat_error.json": ((404, {}), ("NotFoundError", None, None, None, False)),
}

VECTORS = {
    "openai_embeddings.json": usage(7, 0),
    "gemini_embed.json": usage(5, 0),
    "ollama_embed.json": usage(6, 0),
}


def body_of(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def wire_of(name: str) -> str:
    return name.partition("_")[0]


def seen(response: edgequake_llm.LLMResponse):
    """What a caller sees of an answer."""
    return {
        "id": response.id,
        "model": response.model,
        "text": response.content,
        "thinking": response.thinking or "",
        "refusal": response.refusal or "",
        "tool_calls": [(call.name, call.parse()) for call in response.tool_calls],
        "usage": response.usage and {name: getattr(response.usage, name) for name in usage(0, 0)},
        "finish_reason": response.finish_reason,
    }


def test_each_fixture_is_named_here():
    assert {path.name for path in FIXTURES.iterdir()} == ANSWERS.keys() | ERRORS.keys() | VECTORS.keys()


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name):
    response = _core.decode_chat(wire_of(name), body_of(name), stream=name in STREAMS)
    assert seen(response) == ANSWERS[name]
    assert response.usage.total_tokens == response.usage.prompt_tokens + response.usage.completion_tokens


@pytest.mark.parametrize("name", ANSWERS)
def test_the_plain_readings_agree(name):
    reading = READINGS[wire_of(name)].read_chat(body_of(name).decode(), name in STREAMS)
    assert reading == ANSWERS[name]


@pytest.mark.parametrize("name", STREAMS)
def test_streams_cut_at_every_byte(name):
    wire, body = wire_of(name), body_of(name)
    whole = [repr(event) for event in _core.decode_events(wire, body)]
    for cut in range(len(body) + 1):
        assert [repr(event) for event in _core.decode_events(wire, body, cuts=[cut])] == whole, f"cut at {cut}"
    assert [repr(event) for event in _core.decode_events(wire, body, cuts=range(1, len(body)))] == whole


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_off_is_no_answer(name):
    wire, body = wire_of(name), body_of(name)
    text = ANSWERS[name]["text"]
    for length in range(len(body)):
        try:
            response = _core.decode_chat(wire, body[:length], stream=True)
        except edgequake_llm.StreamInterrupted as error:
            assert text.startswith(error.partial.content), length
            assert error.partial.finish_reason is None, length
        except edgequake_llm.InvalidResponseError as error:
            assert error.provider == wire, length  # Cut in the middle of a line.
        else:
            # Nothing is missing but what stands behind the reason for the end.
            assert (response.content, response.finish_reason) == (text, ANSWERS[name]["finish_reason"]), length


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    (status, headers), (exception, code, error_type, retry_after, retryable) = ERRORS[name]
    with pytest.raises(getattr(edgequake_llm, exception)) as raised:
        _core.decode_chat(wire_of(name), body_of(name), status=status, headers=headers)
    error = raised.value
    assert type(error).__name__ == exception
    assert (error.status, error.code, error.error_type) == (status, code, error_type)
    assert (error.retry_after, error.retryable) == (retry_after, retryable)
    said = json.loads(body_of(name))["error"]
    assert error.message.startswith(said if isinstance(said, str) else said["message"])
    reading = reading_errors.read_error(wire_of(name), status, headers, body_of(name).decode())
    assert reading == (exception, reading.message, code, error_type, retry_after)


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name):
    wire, body = wire_of(name), body_of(name)
    embeddings = _core.decode_embed(wire, body, 2)
    assert embeddings.tolist() == [[1.0, -2.0, 0.25], [0.5, -0.25, 0.125]]
    assert {field: getattr(embeddings.usage, field) for field in usage(0, 0)} == VECTORS[name]
    assert READINGS[wire].read_embeddings(body.decode()) == embeddings.tolist()
    for count in (1, 3):
        with pytest.raises(edgequake_llm.InvalidResponseError):
            _core.decode_embed(wire, body, count)
