"""The tool loop: rounds, concurrency, errors, cancelling, and the conversation that each provider is sent."""

from __future__ import annotations

import asyncio
import contextvars
import json
import pickle
import threading
from typing import Any

import pytest

from edgequake_llm import (
    ChatMessage,
    ClosedError,
    CompletionOptions,
    ConfigurationError,
    FinishEvent,
    InvalidRequestError,
    RateLimitError,
    Simulator,
    TextDelta,
    Tool,
    ToolCallStart,
    ToolLoopError,
    ToolResultEvent,
    tool,
)
from support.waiting import eventually

PROVIDERS = ["openai", "anthropic", "gemini", "ollama"]


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
async def slow_add(a: int, b: int) -> dict[str, int]:
    """Add, later."""
    await asyncio.sleep(0)
    return {"sum": a + b}


def bodies(sim: Simulator) -> list[Any]:
    return [json.loads(request["body"]) for request in sim.requests()]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("form", ["await", "sync", "stream", "sync stream"])
async def test_calls_and_results_go_back_and_forth(sim, provider, form):
    llm = sim.provider(provider)
    sim.push(tool_calls=[("add", '{"a": 1, "b": 2}'), ("add", '{"a": 3, "b": 4}')])
    sim.push(tool_calls=[("add", '{"a": 10, "b": 20}')])
    sim.push(text="It is 30.")
    if form == "await":
        result = await llm.run("Add.", tools=[add])
    elif form == "sync":
        result = await asyncio.to_thread(llm.sync.run, "Add.", tools=[add])
    elif form == "sync stream":
        with llm.sync.run_stream("Add.", tools=[add]) as stream:
            text = "".join(stream)
        assert text == "It is 30."
        result = stream.result
    else:
        async with llm.run_stream("Add.", tools=[add]) as stream:
            text = "".join([piece async for piece in stream])
        assert text == "It is 30."
        result = stream.result
    assert (result.content, str(result), result.rounds) == ("It is 30.", "It is 30.", 3)
    assert [message.role for message in result.messages] == [
        *("user", "assistant", "tool", "tool"),
        *("assistant", "tool", "assistant"),
    ]
    assert [message.content for message in result.messages if message.role == "tool"] == ["3", "7", "30"]
    calls = [call for message in result.messages for call in message.tool_calls]
    answered = [message.tool_call_id for message in result.messages if message.role == "tool"]
    assert [call.id for call in calls] == answered
    first, second, third = bodies(sim)
    key = "contents" if provider == "gemini" else "messages"
    # The conversation only grows: what was sent once is sent the same way again.
    assert first[key] == second[key][: len(first[key])] == third[key][: len(first[key])]
    assert second[key] == third[key][: len(second[key])]
    assert "30" in json.dumps(third[key])
    # The transcript goes on where the run ended.
    sim.push(text="Bye.")
    assert (await llm.chat([*result.messages, ChatMessage.user("Thanks.")], tools=[add])).content == "Bye."


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_usage_is_summed_over_the_rounds(sim, provider):
    llm = sim.provider(provider)
    sim.push(tool_calls=[("add", '{"a": 1, "b": 2}')])
    sim.push(text="3")
    usages = []
    chat = type(llm).chat

    class Watched(type(llm)):
        __slots__ = ()

        async def chat(self, *args, **kwargs):
            response = await chat(self, *args, **kwargs)
            usages.append(response.usage)
            return response

    watched = Watched("key", base_url=llm.base_url)
    result = await watched.run("Add.", tools=[add])
    assert len(usages) == 2
    assert result.usage == usages[0] + usages[1]
    assert result.usage.total_tokens == sum(usage.total_tokens for usage in usages) > 0


async def test_async_tools_of_a_round_run_at_once(sim):
    arrived = []
    everyone = asyncio.Event()

    @tool
    async def meet(name: str) -> str:
        arrived.append(name)
        if len(arrived) == 3:
            everyone.set()
        await everyone.wait()
        return f"met {name}"

    sim.push(tool_calls=[("meet", json.dumps({"name": name})) for name in "abc"])
    result = await sim.provider().run("Meet.", tools=[meet])
    # Nobody would have been met had they waited for one another; the results stand in the order of the calls.
    assert [message.content for message in result.messages if message.role == "tool"] == ["met a", "met b", "met c"]


@pytest.mark.parametrize("form", ["await", "sync"])
async def test_functions_of_a_round_run_at_once_in_threads(sim, form):
    barrier = threading.Barrier(3, timeout=30)
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    main = threading.get_ident()

    def meet(name: str) -> dict[str, Any]:
        barrier.wait()
        return {"name": name, "variable": variable.get(), "elsewhere": threading.get_ident() != main}

    sim.push(tool_calls=[("meet", json.dumps({"name": name})) for name in "abc"])
    llm = sim.provider()
    result = await llm.run("Meet.", tools=[meet]) if form == "await" else llm.sync.run("Meet.", tools=[meet])
    told = [json.loads(message.content) for message in result.messages if message.role == "tool"]
    assert told == [{"name": name, "variable": "set", "elsewhere": True} for name in "abc"]


@pytest.mark.parametrize("form", ["await", "sync", "stream", "sync stream"])
async def test_what_a_tool_raises_is_told_to_the_model(sim, form):
    def broken(a: int) -> int:
        raise ZeroDivisionError("by nothing")

    def odd(a: int) -> object:
        return object()

    calls = [
        ("broken", '{"a": 1}'),
        ("broken", '{"a": "x"}'),
        ("broken", "{"),
        ("nowhere", "{}"),
        ("odd", '{"a": 1}'),
    ]
    sim.push(tool_calls=calls)
    sim.push(text="Sorry.")
    llm, tools = sim.provider(), [broken, odd]
    if form == "await":
        result = await llm.run("Go.", tools=tools)
    elif form == "sync":
        result = await asyncio.to_thread(llm.sync.run, "Go.", tools=tools)
    elif form == "sync stream":
        stream = llm.sync.run_stream("Go.", tools=tools)
        assert "".join(stream) == "Sorry."
        result = stream.result
    else:
        stream = llm.run_stream("Go.", tools=tools)
        async for _ in stream:
            pass
        result = stream.result
    told = [message for message in result.messages if message.role == "tool"]
    assert all(message.is_error for message in told)
    assert told[0].content == "ZeroDivisionError: by nothing"
    assert "$.a: must be a whole number, not 'x'" in told[1].content
    assert "do not fit" in told[2].content
    assert told[3].content.endswith("there is no tool 'nowhere'; there are broken, odd")
    assert "cannot be sent as JSON" in told[4].content
    assert result.content == "Sorry."


@pytest.mark.parametrize("form", ["await", "sync", "stream", "sync stream"])
async def test_a_runaway_loop_ends_with_the_conversation(sim, form):
    for _ in range(3):
        sim.push(tool_calls=[("add", '{"a": 1, "b": 2}')])
    llm = sim.provider("anthropic")

    async def run() -> None:
        if form == "await":
            await llm.run("Add.", tools=[add], max_rounds=3)
        elif form == "sync":
            await asyncio.to_thread(llm.sync.run, "Add.", tools=[add], max_rounds=3)
        elif form == "sync stream":
            await asyncio.to_thread(list, llm.sync.run_stream("Add.", tools=[add], max_rounds=3))
        else:
            async for _ in llm.run_stream("Add.", tools=[add], max_rounds=3):
                pass

    with pytest.raises(ToolLoopError, match="after 3 rounds the model still asks for add; raise max_rounds") as caught:
        await run()
    error = caught.value
    assert (error.rounds, error.provider, len(error.messages)) == (3, "anthropic", 6)
    assert error.messages[-1].tool_calls == error.partial.tool_calls
    assert error.usage.total_tokens > 0
    assert sim.stats().requests == 3
    again = pickle.loads(pickle.dumps(error))
    assert [message.to_dict() for message in again.messages] == [message.to_dict() for message in error.messages]
    assert (again.rounds, str(again)) == (3, str(error))


async def test_a_run_that_needs_all_its_rounds_is_no_runaway(sim):
    sim.push(tool_calls=[("add", '{"a": 1, "b": 2}')])
    sim.push(text="3")
    assert (await sim.provider().run("Add.", tools=[add], max_rounds=2)).rounds == 2


async def test_a_forced_choice_holds_for_the_first_round_only(sim):
    for choice in ("required", "add", add, {"type": "function", "function": {"name": "add"}}):
        sim.push(tool_calls=[("add", '{"a": 1, "b": 2}')])
        sim.push(text="3")
        await sim.provider().run("Add.", CompletionOptions(tools=[add], tool_choice=choice, temperature=0.5))
        first, second = bodies(sim)[-2:]
        assert first["tool_choice"] in ("required", {"type": "function", "function": {"name": "add"}})
        assert second["tool_choice"] == "auto"
        assert first["tools"] == second["tools"]
        assert first["temperature"] == second["temperature"] == 0.5


async def test_calls_without_a_function_are_left_to_the_caller(sim):
    schema = {"name": "ask", "description": "Ask a person.", "parameters": {"type": "object", "properties": {}}}
    for form in (Tool("ask"), schema):
        sim.push(tool_calls=[("ask", "{}"), ("add", '{"a": 1, "b": 2}')])
        result = await sim.provider().run("Ask.", tools=[form, add])
        assert [call.name for call in result.response.tool_calls] == ["ask", "add"]
        assert (result.rounds, result.messages[-1].role) == (1, "assistant")


async def test_calls_of_an_answer_that_was_cut_are_not_made(sim):
    ran = []
    cut = {
        "id": "1",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "length",
                "message": {
                    "role": "assistant",
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": '}}],
                },
            }
        ],
    }

    def f(x: int) -> None:
        ran.append(x)

    sim.push(body=json.dumps(cut).encode())
    result = await sim.provider().run("Go.", tools=[f])
    assert (result.response.finish_reason, result.rounds, ran) == ("length", 1, [])


async def test_a_paused_turn_is_sent_back_to_go_on(sim):
    paused = {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}],
        "stop_reason": "pause_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    sim.push(body=json.dumps(paused).encode())
    sim.push(text="Done.")
    result = await sim.provider("anthropic").run("Search.", tools=[add])
    assert (result.content, result.rounds) == ("Done.", 2)
    assert bodies(sim)[1]["messages"][1] == {"role": "assistant", "content": paused["content"]}


async def test_events_of_all_rounds(sim):
    sim.push(tool_calls=[("slow_add", '{"a": 1, "b": 2}')])
    sim.push(text="It is 3.")
    stream = sim.provider("anthropic").run_stream("Add.", tools=[slow_add])
    with pytest.raises(ClosedError):
        _ = stream.result
    events = [event async for event in stream.events()]
    kinds = [
        type(event) for event in events if isinstance(event, ToolCallStart | ToolResultEvent | FinishEvent | TextDelta)
    ]
    assert kinds[:4] == [ToolCallStart, FinishEvent, ToolResultEvent, TextDelta]
    (answered,) = [event for event in events if isinstance(event, ToolResultEvent)]
    assert (answered.call.name, answered.message.content) == ("slow_add", '{"sum": 3}')
    assert (
        "".join(event.text for event in events if isinstance(event, TextDelta)) == stream.result.content == "It is 3."
    )
    with pytest.raises(RuntimeError, match="not both"):
        aiter(stream)


async def test_results_are_told_as_they_come(sim):
    """A tool that waits for the other's result to have been seen: told one after the other, it would wait for ever."""
    seen = asyncio.Event()

    @tool
    async def first() -> str:
        return "1"

    @tool
    async def second() -> str:
        await seen.wait()
        return "2"

    sim.push(tool_calls=[("second", "{}"), ("first", "{}")])
    stream = sim.provider().run_stream("Go.", tools=[first, second])
    told = []
    async for event in stream.events():
        if isinstance(event, ToolResultEvent):
            told.append(event.call.name)
            seen.set()
    assert told == ["first", "second"]
    assert [m.content for m in stream.result.messages if m.role == "tool"] == ["2", "1"]


def test_results_are_told_as_they_come_without_an_event_loop(sim):
    seen = threading.Event()

    def first() -> str:
        """Be first."""
        return "1"

    def second() -> str:
        """Wait for the other's result to have been seen."""
        return "2" if seen.wait(30) else "nobody told"

    sim.push(tool_calls=[("second", "{}"), ("first", "{}")])
    stream = sim.provider().sync.run_stream("Go.", tools=[first, second])
    with pytest.raises(ClosedError):
        _ = stream.result
    told = []
    for event in stream.events():
        if isinstance(event, ToolResultEvent):
            told.append(event.call.name)
            seen.set()
    assert told == ["first", "second"]
    assert [m.content for m in stream.result.messages if m.role == "tool"] == ["2", "1"]
    with pytest.raises(RuntimeError, match="not both"):
        iter(stream)


def test_leaving_a_streamed_run_without_an_event_loop_takes_the_request_back(sim):
    sim.push(tokens=10_000, gap=0.05)
    with sim.provider().sync.run_stream("Go.", tools=[add]) as stream:
        next(iter(stream))
    eventually(lambda: sim.stats().aborted == 1)
    with pytest.raises(ClosedError):
        _ = stream.result


@pytest.mark.parametrize("form", ["await", "stream"])
async def test_cancelling_a_run_cancels_its_tools(sim, form):
    started, cancelled = asyncio.Event(), asyncio.Event()

    @tool
    async def forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def read() -> None:
        async for _ in sim.provider().run_stream("Go.", tools=[forever]).events():
            pass

    sim.push(tool_calls=[("forever", "{}")])
    run = sim.provider().run("Go.", tools=[forever]) if form == "await" else read()
    task = asyncio.ensure_future(run)
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()


async def test_leaving_a_streamed_run_takes_the_request_back(sim):
    sim.push(tokens=10_000, gap=0.05)
    async with sim.provider().run_stream("Go.", tools=[add]) as stream:
        async for _ in stream:
            break
    while sim.stats().in_flight:
        await asyncio.sleep(0.01)
    assert sim.stats().aborted == 1


async def test_errors_of_the_provider_pass_through(sim):
    sim.push(tool_calls=[("add", '{"a": 1, "b": 2}')])
    sim.push(status=429)
    llm = sim.provider(retry=0)
    with pytest.raises(RateLimitError):
        await llm.run("Add.", tools=[add])


async def test_bad_input_is_refused_before_anything_is_sent(sim):
    llm = sim.provider()
    for options, says in (
        ({}, "run needs tools"),
        ({"tools": []}, "run needs tools"),
        ({"tools": "add"}, "list of tools"),
        ({"tools": [add], "max_rounds": 0}, "max_rounds"),
        ({"tools": [add], "max_rounds": True}, "max_rounds"),
        ({"tools": [add, Tool("add")]}, "same name"),
        ({"tools": [add], "temprature": 1}, "did you mean temperature"),
    ):
        with pytest.raises(InvalidRequestError, match=says):
            await llm.run("hi", **options)
    with pytest.raises(ConfigurationError, match="'slow_add' is async"):
        llm.sync.run("hi", tools=[slow_add])
    with pytest.raises(ConfigurationError, match="'slow_add' is async"):
        llm.sync.run_stream("hi", tools=[slow_add])
    with pytest.raises(InvalidRequestError):
        llm.run_stream("hi")
    assert sim.stats().requests == 0
