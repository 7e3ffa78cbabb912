"""Hooks: what they see, change and answer, in which order, and that nothing of a provider is lost on the way."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap

import pytest

from edgequake_llm import (
    CachedProvider,
    ClosedError,
    CompletionOptions,
    ConfigurationError,
    FinishEvent,
    HookCall,
    HookedProvider,
    Hooks,
    InvalidRequestError,
    RateLimitedProvider,
    RateLimiterConfig,
    ServerError,
    Simulator,
    StreamInterrupted,
    SyncTextStream,
    TextDelta,
    TextStream,
    ToolCall,
    Usage,
    UsageEvent,
    traceparent_header,
)
from support.waiting import aeventually


class Recorder:
    """Hooks that keep what they see."""

    def __init__(self):
        self.seen = []
        self.hooks = Hooks(
            on_request=lambda call: self.seen.append(("request", call)),
            on_response=lambda call: self.seen.append(("response", call)),
            on_error=lambda call: self.seen.append(("error", call)),
            on_stream_end=lambda call: self.seen.append(("end", call)),
        )

    @property
    def names(self):
        return [name for name, _ in self.seen]


async def test_a_chat_is_seen_before_and_after(llm):
    recorder = Recorder()
    hooked = HookedProvider(llm, recorder.hooks)
    response = await hooked.complete("hi", max_tokens=5)
    assert recorder.names == ["request", "response"]
    before, after = (call for _, call in recorder.seen)
    assert (before.kind, before.provider, before.model) == ("chat", llm.name, llm.model)
    assert (before.messages, before.fields) == ("hi", {"max_tokens": 5})
    assert before.response is before.error is before.elapsed is None
    assert after.response is response
    assert after.elapsed > 0
    assert "hi" not in repr(after).replace("chat", "")


async def test_a_request_may_be_changed_async_or_not(sim):
    async def louder(call):
        await asyncio.sleep(0)
        return call.replace(messages=call.messages.upper(), model="other")

    hooked = HookedProvider(sim.provider("openai"), Hooks(on_request=louder))
    hooked = HookedProvider(hooked, Hooks(on_request=lambda call: call.replace(messages=call.messages + "!")))
    await hooked.complete("hi")
    async for _ in hooked.stream("hi"):
        pass
    for request in sim.requests():
        assert b'"HI!"' in request["body"].replace(b": ", b":")
        assert b'"other"' in request["body"]


async def test_the_first_hooks_are_outermost_and_an_answer_stops_the_call(sim):
    llm = sim.provider("openai")
    kept = await llm.complete("hi")
    outer, inner = Recorder(), Recorder()
    hooked = HookedProvider(llm, outer.hooks, Hooks(on_request=lambda _: kept), inner.hooks)
    assert await hooked.chat("again") is kept
    assert hooked.sync.chat("again") is kept
    assert outer.names == ["request", "response"] * 2
    assert inner.names == []
    stream = hooked.stream("again")
    assert "".join([text async for text in stream]) == kept.content
    assert (stream.response.id, stream.response.usage) == (kept.id, kept.usage)
    assert outer.seen[-1][1].response is stream.response
    events = [event async for event in hooked.stream("again").events()]
    assert [type(event) for event in events] == [TextDelta, UsageEvent, FinishEvent]
    assert [type(event) for event in hooked.sync.stream("again").events()] == [type(event) for event in events]
    assert sim.stats().requests == 1
    assert inner.names == []


async def test_an_error_may_be_seen_answered_or_replaced(sim):
    llm = sim.provider("openai", retry=0)
    kept = await llm.complete("hi")
    recorder = Recorder()

    def replace(call):
        raise LookupError(type(call.error).__name__)

    sim.push(status=500)
    with pytest.raises(ServerError):
        await HookedProvider(llm, recorder.hooks).complete("hi")
    assert recorder.names == ["request", "error"]
    assert isinstance(recorder.seen[-1][1].error, ServerError)
    sim.push(status=500)
    assert await HookedProvider(llm, Hooks(on_error=lambda _: kept)).complete("hi") is kept
    sim.push(status=500)
    with pytest.raises(LookupError, match="ServerError"):
        await HookedProvider(llm, Hooks(on_error=replace)).complete("hi")


async def test_a_response_may_be_replaced_by_one_of_its_kind(sim):
    llm = sim.provider("openai")
    kept = await llm.complete("hi")
    assert await HookedProvider(llm, Hooks(on_response=lambda _: kept)).complete("x") is kept
    with pytest.raises(ConfigurationError, match="on_response must return None, a LLMResponse, not str"):
        await HookedProvider(llm, Hooks(on_response=lambda _: "no")).complete("x")
    with pytest.raises(ConfigurationError, match="Embeddings"):
        await HookedProvider(llm, Hooks(on_request=lambda _: kept)).embed(["x"])


async def test_a_stream_keeps_its_api(llm):
    recorder = Recorder()
    hooked = HookedProvider(llm, recorder.hooks)
    stream = hooked.stream("hi")
    assert recorder.names == []
    assert await stream is stream
    text = "".join([text async for text in stream])
    assert text == stream.response.content == recorder.seen[-1][1].response.content
    assert stream.metrics.ttft_ms is not None
    assert [text async for text in stream] == []
    assert recorder.names == ["request", "end"]
    async with hooked.stream("hi") as stream:
        events = [event async for event in stream.events()]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == text
    assert "".join(hooked.sync.stream("hi")) == text
    with hooked.sync.stream("hi") as stream:
        assert list(stream.events())
    assert recorder.names == ["request", "end"] * 4


async def test_a_stream_that_is_left_or_breaks_ends_once():
    recorder = Recorder()
    with Simulator(tokens=1000, gap=0.05) as sim:
        hooked = HookedProvider(sim.provider("openai"), recorder.hooks)
        async with hooked.stream("hi") as stream:
            await anext(stream)
        await stream.aclose()
        await aeventually(lambda: sim.stats().aborted == 1)
        with pytest.raises(ClosedError):
            _ = stream.response
        assert recorder.names == ["request", "end"]
        assert recorder.seen[-1][1].response is recorder.seen[-1][1].error is None
        sim.push(fault="cut", after_events=3)
        with pytest.raises(StreamInterrupted):
            async for _ in hooked.stream("hi"):
                pass
        assert isinstance(recorder.seen[-1][1].error, StreamInterrupted)


async def test_a_stream_that_fails_tells_on_error_and_may_be_answered(sim):
    llm = sim.provider("openai", retry=0)
    recorder = Recorder()
    sim.push(status=500)
    with pytest.raises(ServerError) as caught:
        async for _ in HookedProvider(llm, recorder.hooks).stream("hi"):
            pass
    assert recorder.names == ["request", "error", "end"]
    assert recorder.seen[1][1].error is recorder.seen[2][1].error is caught.value
    assert recorder.seen[2][1].ended == "error"

    instead = Hooks(on_error=lambda call: call.answer("instead"))
    for read in (reading, entering, awaiting):
        recorder.seen.clear()
        sim.push(status=500)
        stream = HookedProvider(llm, recorder.hooks, instead).stream("hi")
        assert await read(stream) == "instead"
        assert stream.response.content == "instead"
        assert recorder.names == ["request", "end"]
        assert recorder.seen[-1][1].ended == "whole"
    sim.push(status=500)
    assert "".join(HookedProvider(llm, instead).sync.stream("hi")) == "instead"

    def replace(call):
        raise LookupError("another") from call.error

    sim.push(status=500)
    recorder.seen.clear()
    with pytest.raises(LookupError, match="another"):
        async for _ in HookedProvider(llm, recorder.hooks, Hooks(on_error=replace)).stream("hi"):
            pass
    assert isinstance(recorder.seen[1][1].error, LookupError)
    # A half-read answer cannot become another one.
    sim.push(fault="cut", after_events=3)
    with pytest.raises(ConfigurationError, match="read already") as caught:
        async for _ in HookedProvider(llm, instead).stream("hi"):
            pass
    assert isinstance(caught.value.__context__, StreamInterrupted)


async def reading(stream):
    return "".join([text async for text in stream])


async def entering(stream):
    async with stream:
        return "".join([event.text async for event in stream.events() if isinstance(event, TextDelta)])


async def awaiting(stream):
    return await reading(await stream)


async def test_how_a_stream_ended_is_said():
    recorder = Recorder()
    with Simulator(tokens=1000, gap=0.02) as sim:
        hooked = HookedProvider(sim.provider("openai"), recorder.hooks)

        def ended():
            assert recorder.names == ["request", "end"]
            how = recorder.seen[-1][1].ended
            recorder.seen.clear()
            return how

        stream = hooked.stream("hi")
        await anext(stream)
        await stream.aclose()
        assert ended() == "closed"
        assert [text async for text in stream] == []

        stream = hooked.stream("hi")
        await anext(stream)
        del stream
        assert ended() == "dropped"

        for events in (False, True):
            task = asyncio.create_task(drain(hooked.stream("hi"), events=events))
            await aeventually(lambda: sim.stats().requests == 3 + events)  # noqa: B023 - awaited here
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ended() == "cancelled"

        async def busy_elsewhere():
            async with hooked.stream("hi") as stream:
                await anext(stream)
                reached.set()
                await asyncio.Event().wait()

        reached = asyncio.Event()
        task = asyncio.create_task(busy_elsewhere())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended() == "cancelled"

        with pytest.raises(LookupError):
            async with hooked.stream("hi") as stream:
                await anext(stream)
                raise LookupError
        assert ended() == "closed"

        with hooked.sync.stream("hi") as stream:
            next(stream)
        assert ended() == "closed"
        stream = hooked.sync.stream("hi")
        next(stream)
        del stream
        assert ended() == "dropped"
        await aeventually(lambda: sim.stats().aborted == 8)
        # Never begun: nothing was sent, and there is nothing to tell.
        hooked.stream("hi")
        assert recorder.seen == []
        assert sim.stats().requests == 8


async def drain(stream, *, events):
    async for _ in stream.events() if events else stream:
        pass


async def test_a_reader_whose_stream_is_closed_by_another_task_ends():
    recorder = Recorder()
    with Simulator(ttft=60) as sim:
        stream = HookedProvider(sim.provider("openai"), recorder.hooks).stream("hi")
        task = asyncio.create_task(drain(stream, events=False))
        await aeventually(lambda: sim.stats().in_flight == 1)
        await stream.aclose()
        await asyncio.wait_for(task, 30)
    assert recorder.names == ["request", "end"]
    assert recorder.seen[-1][1].ended == "closed"


async def test_a_hook_cannot_hide_that_a_reader_was_cancelled():
    def fail(call):
        raise LookupError(call.ended)

    with Simulator(ttft=60) as sim:
        hooked = HookedProvider(sim.provider("openai"), Hooks(on_stream_end=fail))
        task = asyncio.create_task(drain(hooked.stream("hi"), events=False))
        await aeventually(lambda: sim.stats().in_flight == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert isinstance(caught.value.__cause__, LookupError)


async def test_every_hook_hears_of_the_end_though_one_fails(sim):
    recorder = Recorder()

    async def fail(call):
        await asyncio.sleep(0)
        raise LookupError(call.ended)

    hooked = HookedProvider(sim.provider("openai"), recorder.hooks, Hooks(on_stream_end=fail))
    with pytest.raises(LookupError, match="whole"):
        await drain(hooked.stream("hi"), events=True)
    assert recorder.seen[-1][1].ended == "error"
    assert isinstance(recorder.seen[-1][1].error, LookupError)


async def test_an_async_hook_of_a_dropped_stream_runs_as_a_task():
    seen = []

    async def end(call):
        await asyncio.sleep(0)
        seen.append(call.ended)

    with Simulator(tokens=1000, gap=0.02) as sim:
        hooked = HookedProvider(sim.provider("openai"), Hooks(on_stream_end=end))
        stream = hooked.stream("hi")
        await anext(stream)
        del stream
        await aeventually(lambda: seen == ["dropped"])
        await aeventually(lambda: sim.stats().aborted == 1)
        streams = [hooked.stream("hi")]
        await anext(streams[0])
        with pytest.warns(ResourceWarning, match="no event loop"):
            await asyncio.to_thread(streams.clear)


@pytest.mark.parametrize("form", ["async", "sync"])
def test_a_stream_that_is_open_at_the_end_of_the_program_says_nothing(form):
    program = """
        import asyncio, sys
        from edgequake_llm import HookedProvider, Hooks, OpenAIProvider
        llm = HookedProvider(OpenAIProvider("k", base_url=sys.argv[1]), Hooks(on_stream_end=print))
        async def begin():
            stream = llm.stream("hi")
            print(await anext(stream), end="")
            return stream
        if sys.argv[2] == "async":
            kept = asyncio.run(begin())
        else:
            kept = llm.sync.stream("hi")
            print(next(kept), end="")
        """
    with Simulator(text="one two three", gap=0.2) as sim:
        ran = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), sim.provider("openai").base_url, form],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.strip() == "one"


async def test_every_other_call_passes(sim):
    llm = sim.provider("anthropic")
    recorder = Recorder()
    hooked = HookedProvider(llm, recorder.hooks)

    def seen():
        (before, first), (after, last) = recorder.seen
        recorder.seen.clear()
        assert (before, after) == ("request", "response")
        return first, last

    models = await hooked.list_models(extra_headers={"x-a": "b"})
    first, last = seen()
    assert (first.kind, first.model, first.fields) == ("list_models", None, {"extra_headers": {"x-a": "b"}})
    assert last.response is models
    assert sim.requests()[-1]["headers"]["x-a"] == "b"
    count = await hooked.count_tokens("hi there", system="be brief")
    first, last = seen()
    assert (first.kind, first.messages, first.model) == ("count_tokens", "hi there", llm.model)
    assert last.response == count > 0
    answer = await hooked.request("GET", "/v1/models", timeout=5)
    first, last = seen()
    assert (first.kind, first.method, first.path, first.body) == ("request", "GET", "/v1/models", None)
    assert last.response is answer
    for call in (
        hooked.sync.list_models,
        lambda: hooked.sync.count_tokens("hi"),
        lambda: hooked.sync.request("GET", "/v1/models"),
    ):
        call()
        seen()


async def test_every_other_call_may_be_answered_and_changed(sim):
    answers = {"list_models": [], "count_tokens": 7, "request": {"a": 1}}
    hooked = HookedProvider(sim.provider("anthropic"), Hooks(on_request=lambda call: answers[call.kind]))
    assert await hooked.list_models() == []
    assert await hooked.count_tokens("hi") == 7
    assert await hooked.request("POST", "/x", {}) == {"a": 1}
    assert sim.stats().requests == 0
    with pytest.raises(ConfigurationError, match="must return None, a int or a changed HookCall, not str"):
        await HookedProvider(sim.provider("anthropic"), Hooks(on_request=lambda _: "7")).count_tokens("hi")
    moved = Hooks(on_request=lambda call: call.replace(path="/v1/models"))
    assert "data" in await HookedProvider(sim.provider("anthropic"), moved).request("GET", "/elsewhere")


async def test_a_hook_makes_an_answer(llm, sim):
    hooked = HookedProvider(llm, Hooks(on_request=lambda call: call.answer("four", usage=Usage(prompt_tokens=3))))
    response = await hooked.complete("two and two?", model="m")
    assert (response.content, response.model, response.provider) == ("four", "m", llm.name)
    assert (response.usage.prompt_tokens, response.attempts, response.finish_reason) == (3, 0, "stop")
    stream = hooked.stream("two and two?")
    assert [text async for text in stream] == ["four"]
    assert stream.response.usage == response.usage
    listed = HookedProvider(llm, Hooks(on_request=lambda call: call.answer('{"value": [1, 2]}')))
    assert (await listed.complete("?", response_format=list[int])).parsed == [1, 2]
    assert (await listed.complete("?", CompletionOptions(response_format=list[int]))).parsed == [1, 2]
    stream = listed.stream("?", response_format=list[int])
    async for _ in stream:
        assert stream.partial() == [1, 2]
    assert stream.response.parsed == [1, 2]
    assert sim.stats().requests == 0


async def test_a_hook_answers_a_round_of_a_run(sim):
    def ask(call):
        calls = [ToolCall("1", "add", {"a": 1, "b": 2})]
        return call.answer(tool_calls=calls) if len(call.messages) == 1 else None

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    hooked = HookedProvider(sim.provider("openai"), Hooks(on_request=ask))
    result = await hooked.run("hi", tools=[add])
    assert (result.rounds, result.messages[2].content) == (2, "3")
    async with hooked.run_stream("hi", tools=[add]) as stream:
        async for _ in stream:
            pass
    assert stream.result.rounds == 2


async def test_cancelling_takes_the_request_back():
    recorder = Recorder()
    with Simulator(ttft=60) as sim:
        hooked = HookedProvider(sim.provider("openai"), recorder.hooks)
        task = asyncio.create_task(hooked.complete("hi"))
        await aeventually(lambda: sim.stats().in_flight == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await aeventually(lambda: sim.stats().aborted == 1)
    assert recorder.names == ["request"]


async def test_sync_takes_no_async_hooks(sim):
    async def hook(call):
        pass

    hooked = HookedProvider(sim.provider("openai"), Hooks(on_response=hook))
    for call in (hooked.sync.complete, lambda text: hooked.sync.embed([text]), lambda _: hooked.sync.list_models()):
        with pytest.raises(ConfigurationError, match="on_response is async"):
            call("hi")
    with pytest.raises(ConfigurationError, match="on_stream_end is async"):
        HookedProvider(sim.provider("openai"), Hooks(on_stream_end=hook)).sync.stream("hi")
    assert sim.stats().requests == 0
    assert "".join(hooked.sync.stream("hi"))  # which calls no on_response


async def test_every_round_of_a_run_passes(sim):
    recorder = Recorder()
    hooked = HookedProvider(sim.provider("openai"), recorder.hooks)

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    sim.push(tool_calls=[("add", '{"a": 1, "b": 2}')])
    assert (await hooked.run("hi", tools=[add])).rounds == 2
    assert recorder.names == ["request", "response"] * 2
    sim.push(tool_calls=[("add", '{"a": 1, "b": 2}')])
    async for _ in hooked.run_stream("hi", tools=[add]):
        pass
    assert recorder.names[4:] == ["request", "end"] * 2
    sim.push(tool_calls=[("add", '{"a": 1, "b": 2}')])
    assert "".join(hooked.sync.run_stream("hi", tools=[add]))
    assert recorder.names[8:] == ["request", "end"] * 2


async def test_hooks_are_checked(sim):
    llm = sim.provider("openai")
    with pytest.raises(ConfigurationError, match="not function"):
        HookedProvider(llm, lambda call: None)
    with pytest.raises(ConfigurationError, match="on_error must be a function"):
        HookedProvider(llm, Hooks(on_error=1))


@pytest.mark.parametrize("outside", [True, False])
async def test_a_cache_may_be_inside_or_around_and_hooks_see_what_it_answers(sim, outside):
    recorder = Recorder()
    louder = Hooks(on_request=lambda call: call.replace(messages=call.messages.upper()) if call.messages else None)

    def hooked(llm):
        return HookedProvider(llm, recorder.hooks, louder)

    llm = sim.provider("openai")
    cached = hooked(CachedProvider(llm)) if outside else CachedProvider(hooked(llm))
    first = await cached.complete("hi")
    assert not first.cached
    # What hooks put into a call is part of what the answer is found by.
    assert (await cached.complete("HI")).cached
    assert cached.sync.complete("Hi").cached
    assert recorder.names == ["request", "response"] * 3
    assert [call.response.cached for name, call in recorder.seen if name == "response"] == [False, True, True]
    assert "".join([text async for text in cached.stream("hi")]) == first.content
    assert recorder.seen[-1][1].response.cached
    assert len(await cached.embed(["a", "b"])) == 2
    assert (await cached.embed(["b"])).cached
    assert recorder.seen[-1][1].kind == "embed"
    assert recorder.seen[-1][1].texts == ["b"]
    assert sim.stats().requests == 2
    assert "HI" in str(sim.requests()[0]["body"])


@pytest.mark.parametrize("outside", [True, False])
async def test_a_limiter_may_be_inside_or_around(sim, outside):
    recorder = Recorder()
    llm = sim.provider("openai")
    config = RateLimiterConfig(requests_per_minute=60, burst=2)
    if outside:
        limited = RateLimitedProvider(HookedProvider(llm, recorder.hooks), config)
        limiter = limited.limiter
    else:
        limited = HookedProvider(RateLimitedProvider(llm, config), recorder.hooks)
        limiter = limited.inner.limiter
    await limited.complete("hi")
    assert recorder.names == ["request", "response"]
    async for _ in limited.stream("hi"):
        pass
    assert recorder.names[2:] == ["request", "end"]
    assert limiter.status.requests_left == 0


async def test_without_hooks_for_a_call_it_is_the_providers_own(sim):
    llm = sim.provider("openai")
    for hooked in (HookedProvider(llm), HookedProvider(llm, Hooks(), Hooks(on_response=print))):
        assert type(hooked.stream("hi")) is TextStream
        assert type(hooked.sync.stream("hi")) is SyncTextStream
    for hooked in (HookedProvider(llm), HookedProvider(llm, Hooks(on_stream_end=print))):
        assert type(hooked._core.chat("hi")) is type(llm._core.chat("hi"))
        assert (await hooked.complete("hi")).content


async def test_what_a_provider_offers_besides_is_there(sim):
    hooked = HookedProvider(sim.provider("gemini"), Recorder().hooks)
    assert hooked.caches is hooked.inner.caches
    assert hooked.sync.caches is hooked.inner.sync.caches
    assert [model.id for model in await hooked.list_models()] == [model.id for model in hooked.sync.list_models()]


def test_traceparent():
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    assert traceparent_header(trace, span) == {"traceparent": f"00-{trace}-{span}-01"}
    assert traceparent_header(trace, span, sampled=False)["traceparent"].endswith("-00")
    for bad in ((trace.upper(), span), ("0" * 32, span), (trace, "0" * 16), (trace[1:], span), (trace, None)):
        with pytest.raises(InvalidRequestError, match="hex digits"):
            traceparent_header(*bad)


def test_a_call_is_frozen():
    call = HookCall(kind="chat", provider="openai", model=None)
    with pytest.raises(AttributeError, match="frozen"):
        call.model = "x"
