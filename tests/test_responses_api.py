"""OpenAI's Responses API: the same calls, told by an argument. Byte-exact answers; what is sent is looked at."""

from __future__ import annotations

import json

import pytest

from edgequake_llm import ChatMessage, ConfigurationError, OpenAIProvider, Simulator, UnsupportedOption

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
