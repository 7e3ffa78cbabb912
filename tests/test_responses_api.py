"""OpenAI's Responses API: the same calls, told by an argument. First byte-exact answers, with a look at what is sent; then
the simulator's own."""

from __future__ import annotations

import json

import pydantic
import pytest

from edgequake_llm import (
    ChatMessage,
    ConfigurationError,
    InvalidRequestError,
    OpenAIProvider,
    QuotaError,
    ServerError,
    Simulator,
    StreamInterrupted,
    ThinkingDelta,
    UnsupportedOption,
)

REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Hm."}],
    "encrypted_content": "enc",
}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_9", "name": "add", "arguments": '{"a": 1, "b": 2}'}
TEXT = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Three.", "annotations": []}],
}
USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 29,
}


def whole(*output, **more):
    return {
        "id": "resp_1",
        "model": "gpt-5-mini",
        "status": "completed",
        "output": list(output),
        "usage": USAGE,
        **more,
    }


def stream_of(*output):
    def event(kind, **fields):
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}).encode())

    yield event("response.created", response={**whole(), "status": "in_progress", "usage": None})
    for place, item in enumerate(output):
        yield event(
            "response.output_item.added",
            output_index=place,
            item={**item, "arguments": "", "content": [], "summary": []},
        )
        if item["type"] == "function_call":
            half = len(item["arguments"]) // 2
            for piece in (item["arguments"][:half], item["arguments"][half:]):
                yield event("response.function_call_arguments.delta", output_index=place, delta=piece)
        elif item["type"] == "reasoning":
            yield event("response.reasoning_summary_text.delta", output_index=place, summary_index=0, delta="Hm.")
        else:
            for piece in ("Thr", "ee."):
                yield event("response.output_text.delta", output_index=place, delta=piece)
        yield event("response.output_item.done", output_index=place, item=item)
    yield event("response.completed", response=whole(*output))


@pytest.fixture
def sim():
    with Simulator(record=True) as simulator:
        yield simulator


@pytest.fixture
def llm(sim):
    return OpenAIProvider("k", model="gpt-5-mini", base_url=sim.base_url("openai"), api="responses")


def answer(sim, *output, stream=False):
    if stream:
        body = b"".join(stream_of(*output))
        sim.push(path="/responses", status=200, body=body, headers={"content-type": "text/event-stream"})
    else:
        body = json.dumps(whole(*output)).encode()
        sim.push(path="/responses", status=200, body=body, headers={"content-type": "application/json"})


def sent(sim):
    request = sim.requests()[-1]
    assert request["path"].endswith("/responses")
    return json.loads(request["body"])


def check(response):
    assert (response.id, response.content, response.thinking) == ("resp_1", "Three.", "Hm.")
    assert [(call.id, call.parse()) for call in response.tool_calls] == [("call_9", {"a": 1, "b": 2})]
    usage = response.usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, usage.reasoning_tokens) == (20, 8, 9, 5)
    assert response.finish_reason == "tool_calls"


async def test_a_whole_answer_and_the_turn_after_it(sim, llm):
    answer(sim, REASONING, TEXT, CALL)
    response = await llm.complete("1 + 2?", max_tokens=50, reasoning="low")
    check(response)
    first = sent(sim)
    assert (first["max_output_tokens"], first["reasoning"]) == (50, {"effort": "low"})

    answer(sim, TEXT)
    await llm.chat(
        [ChatMessage.user("1 + 2?"), response.message, {"role": "tool", "tool_call_id": "call_9", "content": "3"}]
    )
    assert sent(sim)["input"] == [
        {"role": "user", "content": "1 + 2?"},
        {"type": "reasoning", "summary": REASONING["summary"], "encrypted_content": "enc"},
        {"role": "assistant", "content": "Three."},
        {"type": "function_call", "call_id": "call_9", "name": "add", "arguments": CALL["arguments"]},
        {"type": "function_call_output", "call_id": "call_9", "output": "3"},
    ]


async def test_a_stream_gives_the_same(sim, llm):
    answer(sim, REASONING, TEXT, CALL, stream=True)
    async with llm.stream("1 + 2?") as stream:
        assert [text async for text in stream] == ["Thr", "ee."]
        check(stream.response)
    assert sent(sim)["stream"] is True


async def test_going_on_from_a_stored_answer(sim, llm):
    answer(sim, TEXT)
    await llm.complete("And now?", extra={"previous_response_id": "resp_0"})
    body = sent(sim)
    assert body["previous_response_id"] == "resp_0"
    assert "include" not in body


async def test_a_tool_loop(sim, llm):
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    answer(sim, REASONING, CALL)
    answer(sim, TEXT)
    result = await llm.run("1 + 2?", tools=[add])
    assert result.response.content == "Three."
    assert sent(sim)["input"][-1] == {"type": "function_call_output", "call_id": "call_9", "output": "3"}


async def test_what_it_does_not_have(llm):
    with pytest.raises(UnsupportedOption, match='api="chat"'):
        await llm.complete("x", stop=["y"])
    with pytest.raises(ConfigurationError, match=r"chat.*responses"):
        OpenAIProvider("k", api="assistants")


# From here on the simulator answers by itself, as the API does.


@pytest.fixture
def live(sim):
    return sim.provider("openai", api="responses", model="gpt-5-mini")


async def test_a_simulated_answer_whole_and_streamed(sim, live):
    whole = await live.complete("hi", max_tokens=50)
    assert sim.requests()[-1]["path"] == "/v1/responses"
    async with live.stream("hi", max_tokens=50) as stream:
        pieces = [text async for text in stream]
    assert len(pieces) == 24
    assert "".join(pieces) == stream.response.content == whole.content
    assert stream.response.id.startswith("resp_")
    assert (whole.finish_reason, stream.response.finish_reason) == ("stop", "stop")
    assert whole.usage.completion_tokens == stream.response.usage.completion_tokens == 24
    assert stream.metrics.ttft_ms > 0
    cut = await live.complete("hi", max_tokens=3)
    assert (cut.content, cut.finish_reason) == ("This is a", "length")


async def test_thinking_is_counted_and_shown_when_asked_for(live):
    hidden = await live.complete("hi", reasoning="low")
    assert (hidden.thinking, hidden.usage.reasoning_tokens) == (None, 11)
    shown = {"reasoning": {"summary": "auto"}}
    whole = await live.complete("hi", reasoning="low", extra=shown)
    async with live.stream("hi", reasoning="low", extra=shown) as stream:
        events = [event async for event in stream.events()]
    thought = "".join(event.text for event in events if isinstance(event, ThinkingDelta))
    assert thought == whole.thinking == stream.response.thinking
    assert "real model" in thought
    assert stream.response.usage.reasoning_tokens == 11


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_loop_in_which_the_model_thinks(sim, live, streamed):
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    sim.push(thinking="I shall add.", tool_calls=[("add", '{"a": 1, "b": 2}'), ("add", '{"a": 3, "b": 4}')])
    sim.push(text="Three and seven.")
    if streamed:
        run = live.run_stream("1 + 2? 3 + 4?", tools=[add], reasoning="low")
        assert "".join([text async for text in run]) == "Three and seven."
    else:
        result = await live.run("1 + 2? 3 + 4?", tools=[add], reasoning="low")
        assert result.response.content == "Three and seven."
    _, thought, *calls, one, other = sent(sim)["input"]
    assert (thought["type"], thought["summary"][0]["text"]) == ("reasoning", "I shall add.")
    assert [one["output"], other["output"]] == ["3", "7"]
    assert [call["call_id"] for call in calls] == [one["call_id"], other["call_id"]]


async def test_thinking_that_was_changed_is_refused(sim, live):
    sim.push(thinking="I shall add.", tool_calls=[("add", "{}")])
    response = await live.complete("1 + 2?", reasoning="low")
    messages = [
        ChatMessage.user("1 + 2?"),
        response.message,
        {"role": "tool", "tool_call_id": response.tool_calls[0].id, "content": "3"},
    ]
    assert (await live.chat(messages)).content
    with pytest.raises(InvalidRequestError, match="No tool output found"):
        await live.chat(messages[:2])
    turn = response.message.to_dict()
    turn["content"][0]["thinking"] = "I shall not."
    with pytest.raises(InvalidRequestError, match="could not be verified"):
        await live.chat([messages[0], turn, messages[2]])


async def test_forms_and_forced_tools(live):
    class Point(pydantic.BaseModel):
        x: int
        name: str

    response = await live.complete("Where?", response_format=Point)
    assert response.parsed == Point(x=1, name="simulated")
    async with live.stream("Where?", response_format=Point) as stream:
        async for _ in stream:
            pass
    assert stream.response.parsed == response.parsed

    def look(x: int) -> str:
        """Look there."""
        return str(x)

    forced = await live.complete("Look!", tools=[look], tool_choice="look")
    assert [(call.name, call.parse()) for call in forced.tool_calls] == [("look", {"x": 1})]
    assert forced.finish_reason == "tool_calls"


async def test_a_conversation_goes_on_from_what_is_stored(live):
    first = await live.complete("hi")
    after = await live.complete("And now?", extra={"previous_response_id": first.id})
    assert after.usage.prompt_tokens > first.usage.total_tokens
    with pytest.raises(InvalidRequestError, match="not found") as caught:
        await live.complete("And now?", extra={"previous_response_id": "resp_0"})
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
    unstored = await live.complete("hi", extra={"store": False})
    with pytest.raises(InvalidRequestError, match="not found"):
        await live.complete("And now?", extra={"previous_response_id": unstored.id})


async def test_cached_tokens_are_counted(live):
    long = "word " * 2000
    cold = await live.complete(long, prompt_cache_key="k")
    warm = await live.complete(long, prompt_cache_key="k")
    assert cold.usage.cached_tokens == 0
    assert 1024 <= warm.usage.cached_tokens < warm.usage.prompt_tokens


async def test_embeddings_are_those_of_the_chat_api(sim, live):
    vectors = await live.embed(["a", "b"])
    assert len(vectors) == 2
    assert sim.requests()[-1]["path"] == "/v1/embeddings"
    assert [list(v) for v in vectors] == [list(v) for v in await sim.provider("openai").embed(["a", "b"])]


async def test_errors_before_and_inside_a_stream(sim):
    live = sim.provider("openai", api="responses", retry=0)
    sim.push(status=429, error="insufficient_quota")
    with pytest.raises(QuotaError):
        await live.complete("hi")
    sim.push(fault="error", after_events=6, error_status=500)
    with pytest.raises(ServerError) as caught:
        async for _ in live.stream("hi"):
            pass
    assert caught.value.partial.content == "This is"
    sim.push(fault="end", after_events=6)
    with pytest.raises(StreamInterrupted):
        async for _ in live.stream("hi"):
            pass
