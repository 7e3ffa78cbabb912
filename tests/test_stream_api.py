"""Streams as Python sees them: text, typed events, the whole answer after the end, and metrics before, during and after."""

from __future__ import annotations

import asyncio
import threading

import pytest

from edgequake_llm import (
    AuthenticationError,
    ClosedError,
    EventStream,
    FinishEvent,
    FirstTokenTimeout,
    IdleTimeout,
    InferenceMetrics,
    InvalidRequestError,
    LLMResponse,
    OpenAIProvider,
    ServerError,
    Simulator,
    StreamInterrupted,
    SyncTextStream,
    TextDelta,
    TextStream,
    Timeouts,
    ToolCallDelta,
    ToolCallStart,
    UsageEvent,
)
from support.raw import HOLD, RawServer, answer, chunk, head, openai_delta, sse
from support.waiting import aeventually, eventually


async def test_text_comes_as_str(llm, sim):
    stream = llm.stream("hi", max_tokens=50)
    assert isinstance(stream, TextStream)
    texts = [text async for text in stream]
    assert all(type(text) is str and text for text in texts)
    assert len(texts) > 1
    assert "".join(texts) == stream.response.content
    assert str(stream.response) == stream.response.content
    assert [text async for text in stream] == []
    assert sim.stats().requests == 1


async def test_sync_streams_are_the_same(llm):
    stream = llm.sync.stream("hi")
    assert isinstance(stream, SyncTextStream)
    texts = list(stream)
    assert texts == [text async for text in llm.stream("hi")]
    assert "".join(texts) == stream.response.content
    assert list(stream) == []
    with llm.sync.stream("hi") as stream:
        assert next(stream) == texts[0]
    with pytest.raises(ClosedError, match="closed before its end"):
        _ = stream.response


async def test_whole_and_streamed_answers_agree(llm):
    whole = await llm.complete("hi")
    stream = llm.stream("hi")
    async for _ in stream:
        pass
    streamed = stream.response
    assert isinstance(streamed, LLMResponse)
    for name in ("content", "finish_reason", "model", "provider", "tool_calls", "attempts", "cached"):
        assert getattr(streamed, name) == getattr(whole, name), name
    # The simulator estimates the prompt's tokens from the request, in which `stream` differs.
    assert streamed.usage.completion_tokens == whole.usage.completion_tokens
    assert streamed.raw is None
    assert whole.raw


async def test_a_conversation_is_streamed_too(llm):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert [text async for text in llm.stream(messages)]


class TestEvents:
    async def test_typed_events_of_text(self, llm):
        stream = llm.stream("hi")
        events = stream.events()
        assert isinstance(events, EventStream)
        seen = [event async for event in events]
        text = "".join(event.text for event in seen if isinstance(event, TextDelta))
        assert text == stream.response.content
        (finish,) = [event for event in seen if isinstance(event, FinishEvent)]
        assert finish.finish_reason == stream.response.finish_reason == "stop"
        *_, last = [event for event in seen if isinstance(event, UsageEvent)]
        assert last.usage == stream.response.usage
        assert [type(event) for event in llm.sync.stream("hi").events()] == [type(event) for event in seen]

    async def test_typed_events_of_tool_calls(self, llm, sim):
        calls = [("add", '{"a":1,"b":2}'), ("now", "{}")]
        sim.push(tool_calls=calls)
        tools = [{"name": "add", "parameters": {"type": "object"}}, {"name": "now", "parameters": {"type": "object"}}]
        stream = llm.stream("hi", tools=tools)
        started, written = {}, {}
        async for event in stream.events():
            match event:
                case ToolCallStart(index, _, name):
                    started[index] = name
                    written[index] = ""
                case ToolCallDelta(index, arguments):
                    written[index] += arguments
                case _:
                    assert not isinstance(event, TextDelta)
        assert started == {0: "add", 1: "now"}
        assert [call.name for call in stream.response.tool_calls] == ["add", "now"]
        assert [call.parse() for call in stream.response.tool_calls] == [{"a": 1, "b": 2}, {}]
        assert [call.arguments for call in stream.response.tool_calls] == [written[0] or "{}", written[1] or "{}"]
        assert stream.response.finish_reason == "tool_calls"
        assert stream.response.content == ""

    async def test_text_and_events_take_from_the_same_stream(self, llm):
        stream = llm.stream("hi")
        texts, events = aiter(stream), aiter(stream.events())
        first = await anext(texts)
        while not isinstance(second := await anext(events), TextDelta):
            pass
        third = await anext(texts)
        rest = [event.text async for event in events if isinstance(event, TextDelta)]
        assert first + second.text + third + "".join(rest) == stream.response.content

    def test_events_have_a_repr_and_match(self, llm):
        *_, finish = [event for event in llm.sync.stream("hi").events() if isinstance(event, FinishEvent)]
        assert repr(finish) == "FinishEvent(finish_reason='stop')"
        with pytest.raises(AttributeError):
            finish.finish_reason = "x"


class TestResponse:
    async def test_it_is_there_only_after_the_end(self, llm):
        stream = llm.stream("hi")
        with pytest.raises(ClosedError, match="read to its end"):
            _ = stream.response
        await anext(aiter(stream))
        with pytest.raises(ClosedError, match="read to its end"):
            _ = stream.response
        async for _ in stream:
            pass
        assert stream.response is stream.response

    async def test_a_closed_stream_has_none(self, llm):
        stream = llm.stream("hi")
        await anext(aiter(stream))
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(ClosedError, match="closed before its end"):
            _ = stream.response
        assert [text async for text in stream] == []

    async def test_closing_after_the_end_keeps_it(self, llm):
        async with llm.stream("hi") as stream:
            async for _ in stream:
                pass
        assert stream.response.content

    async def test_a_failed_stream_raises_its_error_again(self, llm, sim):
        sim.push(status=401)
        stream = llm.stream("hi")
        with pytest.raises(AuthenticationError):
            await anext(aiter(stream))
        with pytest.raises(AuthenticationError):
            _ = stream.response
        with pytest.raises(AuthenticationError):
            await anext(aiter(stream))


async def test_awaiting_a_stream_waits_for_its_first_event(llm, sim):
    stream = await llm.stream("hi")
    assert "".join([text async for text in stream]) == stream.response.content
    sim.push(status=401)
    with pytest.raises(AuthenticationError):
        await llm.stream("hi")


async def test_bad_input_raises_where_the_stream_is_made(llm, sim):
    with pytest.raises(InvalidRequestError):
        llm.stream("")
    assert sim.stats().requests == 0


async def test_the_text_is_handed_over_as_it_comes():
    """Each piece is seen before the server sends the next one."""
    gates = [threading.Event() for _ in range(3)]
    steps = [head()]
    for n, gate in enumerate(gates):
        steps += [gate, sse(openai_delta(f"piece {n} "))]
    end = threading.Event()
    steps += [end, sse(openai_delta(finish_reason="stop"), "[DONE]"), HOLD]
    with RawServer(steps) as server:
        stream = OpenAIProvider("k", base_url=server.url).stream("hi")
        reading = aiter(stream)
        for n, gate in enumerate(gates):
            gate.set()
            assert await anext(reading) == f"piece {n} "
        end.set()
        assert [text async for text in reading] == []
        assert stream.response.finish_reason == "stop"


async def test_a_character_split_between_packets_arrives_whole():
    body = sse(openai_delta("é€😀"), openai_delta(finish_reason="stop"), "[DONE]")
    body = body.replace(b"\\u00e9\\u20ac\\ud83d\\ude00", "é€😀".encode())
    assert "😀".encode() in body
    pieces = [chunk(body[n : n + 1]) for n in range(len(body))]
    with RawServer([head(transfer_encoding="chunked"), *pieces, chunk(b"")]) as server:
        stream = OpenAIProvider("k", base_url=server.url).stream("hi")
        assert [text async for text in stream] == ["é€😀"]


class TestMetrics:
    async def test_before_during_and_after(self):
        first, second, end = threading.Event(), threading.Event(), threading.Event()
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        last = openai_delta(finish_reason="stop") | {"usage": usage}
        script = [head(), first, sse(openai_delta("a")), second, sse(openai_delta("b")), end, sse(last, "[DONE]")]
        with RawServer([*script, HOLD]) as server:
            stream = OpenAIProvider("k", base_url=server.url).stream("hi")
            before = stream.metrics
            assert isinstance(before, InferenceMetrics)
            assert (before.ttft_ms, before.output_tokens, before.tokens_per_second) == (None, 0, 0.0)
            assert before.total_ms >= 0
            reading = aiter(stream)
            first.set()
            await anext(reading)
            during = stream.metrics
            assert 0 < during.ttft_ms <= during.total_ms
            assert during.output_tokens == 1
            assert during.itl_p50_ms is None
            second.set()
            await anext(reading)
            assert stream.metrics.output_tokens == 2
            assert stream.metrics.itl_p50_ms > 0
            assert stream.metrics.ttft_ms == during.ttft_ms
            end.set()
            async for _ in reading:
                pass
            after = stream.metrics
            assert (after.input_tokens, after.output_tokens) == (11, 7)
            assert after.ttft_ms == during.ttft_ms
            assert after.tokens_per_second > 0

    async def test_they_stand_still_after_the_end(self, llm):
        stream = llm.stream("hi")
        async for _ in stream:
            pass
        first = stream.metrics.to_dict()
        assert (await llm.complete("hi")).content  # time passes
        assert stream.metrics.to_dict() == first
        assert stream.response.metrics.to_dict() == first
        assert first["output_tokens"] == stream.response.usage.completion_tokens
        assert first["input_tokens"] == stream.response.usage.prompt_tokens

    async def test_gaps_are_the_servers(self):
        """Percentiles agree with what the simulator was told, at the scale of its timer."""
        with Simulator(ttft=0.1, gap=0.02, tokens=12) as sim:
            stream = sim.provider("openai").stream("hi")
            async for _ in stream:
                pass
            metrics = stream.metrics
            assert metrics.ttft_ms >= 95
            assert metrics.itl_p50_ms >= 10
            assert metrics.itl_p50_ms <= metrics.itl_p95_ms <= metrics.itl_p99_ms
            assert metrics.total_ms >= metrics.ttft_ms + 11 * 15

    async def test_unary_calls_have_them_too(self, llm):
        metrics = (await llm.complete("hi")).metrics
        assert 0 < metrics.ttft_ms <= metrics.total_ms
        assert metrics.output_tokens > 0
        assert metrics.tokens_per_second > 0

    async def test_a_broken_stream_keeps_what_it_had(self, llm, sim):
        sim.push(fault="cut", after_events=6, chunk_events=1)
        stream = llm.stream("hi")
        with pytest.raises(StreamInterrupted):
            async for _ in stream:
                pass
        assert stream.metrics.ttft_ms > 0
        assert stream.metrics.output_tokens > 0


class TestInterruptions:
    @pytest.mark.parametrize("fault", ["cut", "close", "end"])
    async def test_the_text_so_far_is_kept_and_nothing_sent_again(self, sim, llm, fault):
        patient = sim.provider(llm.name, retry=5)
        sim.push(fault=fault, after_events=6, gap=0.01)
        seen = []
        with pytest.raises(StreamInterrupted) as caught:
            async for text in patient.stream("hi"):
                seen.append(text)
        error = caught.value
        assert seen
        assert isinstance(error, ConnectionError)
        assert error.partial.content == "".join(seen)
        assert error.partial.provider == llm.name
        assert f"{len(error.partial.content)} characters" in str(error)
        assert error.provider == llm.name
        assert not error.retryable
        assert sim.stats().requests == 1

    def test_in_sync_streams_as_well(self, sim, llm):
        sim.push(fault="cut", after_events=6, gap=0.01)
        seen = []
        with pytest.raises(StreamInterrupted) as caught:
            for text in llm.sync.stream("hi"):
                seen.append(text)
        assert caught.value.partial.content == "".join(seen)

    async def test_an_error_event_after_text_is_that_error(self, sim, llm):
        sim.push(fault="error", after_events=6, error_status=529, gap=0.01)
        seen = []
        with pytest.raises(ServerError) as caught:
            async for text in sim.provider(llm.name, retry=5).stream("hi"):
                seen.append(text)
        assert caught.value.partial.content == "".join(seen) != ""
        assert sim.stats().requests == 1

    async def test_an_error_event_before_anything_is_tried_again(self, sim, llm):
        sim.push(fault="error", after_events=0, error_status=529)
        stream = sim.provider(llm.name).stream("hi")
        assert [text async for text in stream]
        assert stream.response.attempts == 2
        assert sim.stats().requests == 2

    async def test_signs_of_life_do_not_hold_off_the_idle_limit(self, sim, llm):
        sim.push(fault="stall", after_events=6, keep_alive=0.02)
        limited = sim.provider(llm.name, timeout=Timeouts(idle=0.3))
        seen = []
        with pytest.raises(IdleTimeout) as caught:
            async for text in limited.stream("hi"):
                seen.append(text)
        assert caught.value.partial.content == "".join(seen) != ""
        assert caught.value.elapsed >= 0.3

    async def test_nor_the_limit_on_the_first_token(self, sim, llm):
        sim.push(fault="stall", keep_alive=0.02)
        with pytest.raises(FirstTokenTimeout):
            async for _ in sim.provider(llm.name, timeout=Timeouts(first_token=0.3)).stream("hi"):
                pass


class TestLeaving:
    async def test_leaving_async_with_takes_the_request_back(self, llm, sim):
        sim.push(ttft=0, gap=0.02, tokens=5000)
        async with llm.stream("hi") as stream:
            async for _ in stream:
                break
        await aeventually(lambda: sim.stats().aborted == 1)
        assert (await llm.complete("hi")).content

    async def test_dropping_it_does_too(self, llm, sim):
        sim.push(gap=0.02, tokens=5000)
        stream = llm.stream("hi")
        async for _ in stream:
            break
        del stream
        await aeventually(lambda: sim.stats().aborted == 1)

    def test_and_leaving_with(self, llm, sim):
        sim.push(gap=0.02, tokens=5000)
        with llm.sync.stream("hi") as stream:
            next(stream)
        eventually(lambda: sim.stats().aborted == 1)

    async def test_and_an_exception_inside(self, llm, sim):
        sim.push(gap=0.02, tokens=5000)
        with pytest.raises(LookupError):
            async with llm.stream("hi") as stream:
                async for _ in stream:
                    raise LookupError
        await aeventually(lambda: sim.stats().aborted == 1)

    async def test_one_reader_at_a_time(self, sim):
        sim.push(ttft=30)
        stream = sim.provider("openai").stream("hi")
        first = asyncio.ensure_future(stream.__anext__())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(aiter(stream))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_usage_in_every_chunk_is_not_added_up():
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    chunks = [openai_delta(text) | {"usage": usage} for text in "ab"]
    chunks.append(openai_delta(finish_reason="length") | {"usage": usage})
    late = {"choices": [], "usage": usage | {"completion_tokens": 3, "total_tokens": 8}}
    with RawServer([answer(sse(*chunks, late, "[DONE]"), content_type="text/event-stream")]) as server:
        stream = OpenAIProvider("k", base_url=server.url).stream("hi")
        assert [text async for text in stream] == ["a", "b"]
        response = stream.response
        assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (5, 3)
        assert response.finish_reason == "length"


async def test_a_second_finish_does_not_overwrite_the_first():
    chunks = [openai_delta("a", "length"), openai_delta(None, "stop")]
    with RawServer([answer(sse(*chunks, "[DONE]"), content_type="text/event-stream")]) as server:
        stream = OpenAIProvider("k", base_url=server.url).stream("hi")
        finishes = [event async for event in stream.events() if isinstance(event, FinishEvent)]
        assert len(finishes) == 1
        assert stream.response.finish_reason == "length"
