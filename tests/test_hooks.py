"""Hooks: what they see, change and answer, in which order, and that nothing of a provider is lost on the way."""

from __future__ import annotations

import asyncio

import pytest

from edgequake_llm import (
    CachedProvider,
    ClosedError,
    ConfigurationError,
    HookCall,
    HookedProvider,
    Hooks,
    InvalidRequestError,
    RateLimitedProvider,
    RateLimiterConfig,
    ServerError,
    Simulator,
    StreamInterrupted,
    TextDelta,
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
    assert [text async for text in stream] == [kept.content]
    assert stream.response is kept
    assert outer.seen[-1][1].response is kept
    with pytest.raises(InvalidRequestError, match="no events"):
        async for _ in hooked.stream("again").events():
            pass
    assert sim.stats().requests == 1


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
    for call in (hooked.sync.complete, hooked.sync.stream, lambda text: hooked.sync.embed([text])):
        with pytest.raises(ConfigurationError, match="on_response is async"):
            call("hi")
    assert sim.stats().requests == 0


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


async def test_hooks_are_outermost_and_checked(sim):
    llm = sim.provider("openai")
    recorder = Recorder()
    hooked = HookedProvider(llm, recorder.hooks)
    with pytest.raises(ConfigurationError, match="outermost"):
        CachedProvider(hooked)
    with pytest.raises(ConfigurationError, match="outermost"):
        RateLimitedProvider(hooked, RateLimiterConfig(max_concurrent=1))
    with pytest.raises(ConfigurationError, match="not function"):
        HookedProvider(llm, lambda call: None)
    with pytest.raises(ConfigurationError, match="on_error must be a function"):
        HookedProvider(llm, Hooks(on_error=1))
    cached = HookedProvider(CachedProvider(llm), recorder.hooks)
    await cached.complete("hi")
    assert (await cached.complete("hi")).cached
    assert recorder.names == ["request", "response"] * 2
    assert len(await cached.embed(["a", "b"])) == 2
    assert recorder.seen[-1][1].kind == "embed"
    assert recorder.seen[-1][1].texts == ["a", "b"]


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
