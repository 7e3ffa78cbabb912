"""`LLMResponse`, `Usage`, `RateLimits`: what a whole answer tells, alike for all providers."""

from __future__ import annotations

import json
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgequake_llm import (
    ChatMessage,
    FinishEvent,
    HTTPConfig,
    InferenceMetrics,
    InvalidRequestError,
    LLMResponse,
    OpenAIProvider,
    RefusalDelta,
    RetryPolicy,
    StructuredOutputError,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    Usage,
    UsageEvent,
    _core,
)
from support.raw import RawServer, answer, openai_answer


def decode(wire, body, **settings):
    return _core.decode_chat(wire, json.dumps(body).encode(), **settings)


async def test_everything_a_call_tells(llm, sim):
    response = await llm.complete("hi", max_tokens=100)
    assert response.content == str(response) != ""
    assert response.finish_reason == "stop"
    assert response.raw_finish_reason
    assert response.provider == llm.name
    assert response.model == llm.model
    assert response.attempts == 1
    assert response.cached is False
    assert response.usage.total_tokens == response.usage.prompt_tokens + response.usage.completion_tokens > 0
    assert response.tool_calls == []
    assert (response.thinking, response.refusal) == (None, None)
    assert response.http_version == "HTTP/1.1"
    assert response.headers["content-type"].startswith("application/json")
    assert isinstance(response.metrics, InferenceMetrics)
    assert isinstance(response.raw, dict)
    assert response.message == ChatMessage.assistant(response.content)
    assert weakref.ref(response)() is response
    with pytest.raises(AttributeError):
        response.content = "x"
    assert repr(response).startswith("LLMResponse(model=")


async def test_http2_is_told(sim, own_pool):
    llm = sim.provider("openai", http=own_pool("http2"))
    assert (await llm.complete("hi")).http_version == "HTTP/2"
    assert sim.stats().h2_requests == 1


async def test_attempts_count_the_failed_ones(llm, sim):
    quick = sim.provider(llm.name, retry=RetryPolicy(max_retries=3, base_delay=0))
    sim.push(status=500)
    sim.push(status=503)
    assert (await quick.complete("hi")).attempts == 3
    sim.push(status=500)
    stream = quick.stream("hi")
    async for _ in stream:
        pass
    assert stream.response.attempts == 2


async def test_ids_and_limits_come_from_the_headers():
    headers = {
        "x_request_id": "req_7",
        "x_ratelimit_limit_requests": "500",
        "x_ratelimit_remaining_requests": "499",
        "x_ratelimit_reset_requests": "120ms",
        "x_ratelimit_limit_tokens": "30000",
        "x_ratelimit_remaining_tokens": "29000",
        "x_ratelimit_reset_tokens": "1m30.5s",
        "retry_after": "9",
    }
    with RawServer([answer(openai_answer("fine"), **headers)]) as server:
        llm = OpenAIProvider("k", base_url=server.url, http=HTTPConfig(keep_alive=62))
        response = await llm.complete("hi")
        assert (response.request_id, response.id, response.attempts) == ("req_7", "chatcmpl-1", 1)
        limits = response.rate_limits
        assert (limits.limit_requests, limits.remaining_requests) == (500, 499)
        assert limits.reset_requests == pytest.approx(0.12)
        assert (limits.limit_tokens, limits.remaining_tokens) == (30000, 29000)
        assert limits.reset_tokens == pytest.approx(90.5)
        assert repr(limits) == "RateLimits(remaining_requests=499, remaining_tokens=29000)"


def test_no_limits_are_none():
    assert decode("openai", openai_answer("fine")).rate_limits is None
    assert decode("openai", openai_answer("fine", usage=None)).usage is None


OPENAI = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("wire", "body", "normal"),
    [
        *(
            ("openai", {"choices": [{"message": {"content": "x"}, "finish_reason": given}]}, normal)
            for given, normal in [
                ("stop", "stop"),
                ("length", "length"),
                ("tool_calls", "tool_calls"),
                ("function_call", "tool_calls"),
                ("content_filter", "content_filter"),
                ("Of_Tomorrow", "of_tomorrow"),
            ]
        ),
        *(
            ("anthropic", {"content": [{"type": "text", "text": "x"}], "stop_reason": given}, normal)
            for given, normal in [
                ("end_turn", "stop"),
                ("stop_sequence", "stop"),
                ("max_tokens", "length"),
                ("model_context_window_exceeded", "length"),
                ("refusal", "refusal"),
                ("pause_turn", "pause"),
            ]
        ),
        (
            "anthropic",
            {"content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}], "stop_reason": "tool_use"},
            "tool_calls",
        ),
        *(
            ("gemini", {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": given}]}, normal)
            for given, normal in [
                ("STOP", "stop"),
                ("MAX_TOKENS", "length"),
                ("SAFETY", "content_filter"),
                ("RECITATION", "content_filter"),
                ("PROHIBITED_CONTENT", "content_filter"),
            ]
        ),
        *(
            ("ollama", {"message": {"content": "x"}, "done": True, "done_reason": given}, normal)
            for given, normal in [("stop", "stop"), ("length", "length")]
        ),
    ],
)
def test_finish_reasons_have_one_spelling(wire, body, normal):
    response = decode(wire, body)
    assert response.finish_reason == normal
    given = json.dumps(body)
    assert f'"{response.raw_finish_reason}"' in given


@pytest.mark.parametrize(
    ("wire", "body", "usage"),
    [
        (
            "openai",
            OPENAI
            | {
                "usage": {
                    "prompt_tokens": 100,
                    "completion_tokens": 50,
                    "total_tokens": 150,
                    "prompt_tokens_details": {"cached_tokens": 80},
                    "completion_tokens_details": {"reasoning_tokens": 30},
                }
            },
            (100, 50, 80, 0, 30),
        ),
        (
            "anthropic",
            {
                "content": [{"type": "text", "text": "x"}],
                "stop_reason": "end_turn",
                "usage": {
                    "input_tokens": 10,
                    "cache_read_input_tokens": 80,
                    "cache_creation_input_tokens": 10,
                    "output_tokens": 50,
                },
            },
            (100, 50, 80, 10, 0),
        ),
        (
            "gemini",
            {
                "candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}],
                "usageMetadata": {
                    "promptTokenCount": 100,
                    "cachedContentTokenCount": 80,
                    "candidatesTokenCount": 20,
                    "thoughtsTokenCount": 30,
                    "totalTokenCount": 150,
                },
            },
            (100, 50, 80, 0, 30),
        ),
        (
            "ollama",
            {"message": {"content": "x"}, "done": True, "prompt_eval_count": 100, "eval_count": 50},
            (100, 50, 0, 0, 0),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_usage_is_inclusive_for_every_provider(wire, body, usage):
    """Anthropic's input excludes cached tokens, OpenAI's includes them; Gemini's candidates exclude thoughts."""
    given = decode(wire, body).usage
    assert (
        given.prompt_tokens,
        given.completion_tokens,
        given.cached_tokens,
        given.cache_write_tokens,
        given.reasoning_tokens,
    ) == usage
    assert given.total_tokens == usage[0] + usage[1]


@given(
    prompt=st.integers(0, 2**40),
    completion=st.integers(0, 2**40),
    cached=st.integers(0, 2**40),
    written=st.integers(0, 2**40),
    reasoning=st.integers(0, 2**40),
)
def test_usage_by_hand(prompt, completion, cached, written, reasoning):
    usage = Usage(
        prompt_tokens=prompt + cached + written,
        completion_tokens=completion + reasoning,
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )
    assert usage.prompt_tokens == prompt + cached + written
    assert usage.completion_tokens == completion + reasoning
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert (usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens) == (cached, written, reasoning)
    assert usage == Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )


def test_usage_shows_what_there_is():
    assert repr(Usage(prompt_tokens=3, completion_tokens=2)) == "Usage(prompt_tokens=3, completion_tokens=2)"
    assert "cached_tokens=1" in repr(Usage(prompt_tokens=3, completion_tokens=2, cached_tokens=1))
    with pytest.raises(TypeError):
        Usage(3, 2)
    with pytest.raises((OverflowError, ValueError)):
        Usage(prompt_tokens=-1)


def test_tool_calls_and_the_next_turn():
    calls = [{"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}]
    response = decode(
        "openai", {"choices": [{"message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}]}
    )
    assert response.content == ""
    (call,) = response.tool_calls
    assert (call.id, call.name, call.parse()) == ("call_1", "add", {"a": 1})
    llm = OpenAIProvider("k", base_url="http://127.0.0.1:9")
    history = [ChatMessage.user("1?"), response.message, ChatMessage.tool(call.id, "1")]
    sent = json.loads(llm._core.encode(history)[1])["messages"]
    assert sent[1]["tool_calls"] == calls
    assert sent[2] == {"role": "tool", "tool_call_id": "call_1", "content": "1"}


def test_a_refusal_and_thinking():
    body = {"choices": [{"message": {"content": None, "refusal": "I cannot."}, "finish_reason": "stop"}]}
    assert decode("openai", body).refusal == "I cannot."
    body = {"message": {"content": "x", "thinking": "hm"}, "done": True}
    response = decode("ollama", body)
    assert (response.thinking, response.content) == ("hm", "x")


def test_raw_has_what_has_no_place_elsewhere():
    with RawServer([answer(openai_answer("fine", of_tomorrow={"a": [1]}))]) as server:
        llm = OpenAIProvider("k", base_url=server.url, http=HTTPConfig(keep_alive=63))
        assert llm.sync.complete("hi").raw["of_tomorrow"] == {"a": [1]}


def test_one_made_by_hand_has_defaults():
    response = LLMResponse("four")
    assert (response.content, response.finish_reason, response.raw_finish_reason) == ("four", "stop", "stop")
    assert (response.model, response.provider, response.id, response.attempts) == ("", "unknown", "", 0)
    assert (response.usage, response.thinking, response.refusal, response.tool_calls) == (None, None, None, [])
    assert (response.parsed, response.raw, response.cached, response.rate_limits) == (None, None, False, None)
    assert response.message == ChatMessage.assistant("four")
    assert LLMResponse().content == ""


def test_one_made_by_hand_has_what_it_is_given():
    usage = Usage(prompt_tokens=5, completion_tokens=2)
    calls = [ToolCall("1", "add", {"a": 1}), {"id": "2", "function": {"name": "sub", "arguments": "{}"}}]
    response = LLMResponse(
        "text", model="m", provider="acme", usage=usage, tool_calls=calls, thinking="hm", refusal="no", id="r"
    )
    assert (response.model, response.provider, response.id, response.usage) == ("m", "acme", "r", usage)
    assert (response.thinking, response.refusal, response.finish_reason) == ("hm", "no", "tool_calls")
    assert [(call.id, call.name, call.parse()) for call in response.tool_calls] == [
        ("1", "add", {"a": 1}),
        ("2", "sub", {}),
    ]
    assert (response.metrics.input_tokens, response.metrics.output_tokens) == (5, 2)
    assert response.message.tool_calls == response.tool_calls
    assert LLMResponse("x", finish_reason="max_tokens").finish_reason == "length"
    assert LLMResponse('{"value": 3}', response_format=int).parsed == 3
    assert LLMResponse('{"a": 3}', response_format="json").parsed == {"a": 3}
    with pytest.raises(StructuredOutputError):
        _ = LLMResponse("three", response_format=int).parsed


async def test_one_made_by_hand_reads_as_a_stream():
    response = LLMResponse(
        "text", thinking="hm", refusal="no", tool_calls=[ToolCall("1", "f", "{}")], usage=Usage(prompt_tokens=1)
    )
    events = [event async for event in response.replay().events()]
    assert list(map(repr, events)) == list(map(repr, response.replay_sync().events()))
    kinds = [ThinkingDelta, TextDelta, RefusalDelta, ToolCallStart, ToolCallDelta, UsageEvent, FinishEvent]
    assert [type(event) for event in events] == kinds
    stream = response.replay()
    assert [text async for text in stream] == ["text"]
    assert stream.response.message == response.message
    assert stream.response.provider == "unknown"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"content": 7}, "content must be text, not int"),
        ({"model": b"m"}, "model must be text, not bytes"),
        ({"usage": {"prompt_tokens": 1}}, "usage must be a Usage, not dict"),
        ({"tool_calls": 7}, "tool_calls must be a list of tool calls, not int"),
    ],
)
def test_one_made_by_hand_is_checked(fields, message):
    with pytest.raises(InvalidRequestError, match=message):
        LLMResponse(**fields)


def test_events_can_be_made_by_hand():
    assert TextDelta("x").text == "x"
    assert ToolCallStart(index=0, id="1", name="f").name == "f"
    assert UsageEvent(Usage(prompt_tokens=1)).usage.prompt_tokens == 1
    for bad in (lambda: TextDelta(7), lambda: UsageEvent("x"), lambda: ToolCallDelta("0", "{}"), TextDelta):
        with pytest.raises(TypeError):
            bad()
