"""Equal streams at once: one request, read by each from its beginning at its own pace."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading

import pytest

from edgequake_llm import (
    CachedProvider,
    LLMCache,
    LLMError,
    RateLimitedProvider,
    RateLimiterConfig,
    ServerError,
    Simulator,
    StreamInterrupted,
    TextDelta,
    Timeouts,
    TotalTimeout,
)
from support.caching import cached, to
from support.processes import run
from support.raw import CLOSE, HOLD, RawServer, answer, head, openai_answer, openai_delta, sse
from support.waiting import aeventually, eventually

END = sse(openai_delta(finish_reason="stop"), "[DONE]")
TORRENT = 150_000  # events: much more than all buffers on the way hold


def pieces(text):
    return sse(*(openai_delta(letter) for letter in text))


async def read(stream):
    return "".join([text async for text in stream])


async def all_aboard(provider):
    """Wait until calls made and left so far have come and gone: they pass the I/O thread in order, as this one does."""
    async with provider.stream("hi") as behind:
        assert await anext(behind) == "a"


def settled(look, polls=40):
    """Whether `look()` has not changed for a while: looked at, not slept for."""
    history = []

    def check():
        history.append(look())
        return len(history) > polls and len(set(history[-polls:])) == 1

    return check


# ---- One request ----


async def test_a_thousand_equal_streams_make_one_request(llm, sim):
    provider = cached(llm)
    streams = [provider.stream("hi") for _ in range(1000)]
    texts = await asyncio.gather(*(read(stream) for stream in streams))
    assert sim.stats().requests == 1
    assert len(set(texts)) == 1
    assert texts[0]
    responses = [stream.response for stream in streams]
    assert sum(not response.cached for response in responses) == 1
    assert {response.content for response in responses} == set(texts)
    usage = responses[0].usage
    assert all(response.usage == usage for response in responses)
    stats = provider.cache.stats()
    assert stats.hits + stats.misses == 1000
    assert stats.tokens_saved == 999 * usage.total_tokens
    assert (await provider.complete("hi")).cached


async def test_every_event_reaches_everyone_in_order(llm, sim):
    sim.push(tool_calls=[("weather", '{"city": "Bern"}'), ("time", "{}")], ttft=0.5)  # all are there before it begins
    provider = cached(llm)
    streams = [provider.stream("hi") for _ in range(5)]

    async def events(stream):
        return [repr(event) async for event in stream.events()]

    first, *others = await asyncio.gather(*(events(stream) for stream in streams))
    assert sim.stats().requests == 1
    assert any("FinishEvent" in event for event in first)
    assert len(first) > 3
    assert all(other == first for other in others)
    assert len({repr(stream.response.tool_calls) for stream in streams}) == 1


async def test_who_comes_later_reads_what_came_and_follows():
    release = threading.Event()
    with RawServer([head(), pieces("ab"), release, pieces("c"), END]) as server:
        provider = to(server)
        early = provider.stream("hi")
        assert [await anext(early) for _ in range(2)] == ["a", "b"]
        late = provider.stream("hi")
        assert [await anext(late) for _ in range(2)] == ["a", "b"], "before the server sent more"
        assert not release.is_set()
        release.set()
        assert (await read(early), await read(late)) == ("c", "c")
        assert len(server.requests) == 1
        assert (early.response.cached, early.response.attempts) == (False, 1)
        assert (late.response.cached, late.response.attempts, late.response.content) == (True, 0, "abc")
        assert late.metrics.ttft_ms < early.metrics.ttft_ms + early.metrics.total_ms
        assert late.metrics.total_ms < early.metrics.total_ms
        assert provider.cache.stats().shared == 1
        assert (await provider.complete("hi")).cached


def test_loops_and_threads_share_one_stream():
    release = threading.Event()
    with RawServer([head(), pieces("ab"), release, pieces("c"), END]) as server:
        provider = to(server)
        texts = []

        def loop():
            async def call():
                return await read(provider.stream("hi"))

            texts.append(asyncio.run(call()))

        def sync():
            texts.append("".join(provider.sync.stream("hi")))

        threads = [threading.Thread(target=target) for target in (loop, sync, loop, sync)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(server.requests) == 1 and provider.cache.stats().misses == 4)
        release.set()
        for thread in threads:
            thread.join()
        assert texts == ["abc"] * 4
        assert len(server.requests) == 1


async def test_streams_of_other_patience_with_the_provider_do_not_share():
    with RawServer([head(), pieces("a"), HOLD], [head(), pieces("b"), END]) as server:
        provider = to(server)
        async with provider.stream("hi") as first:
            assert await anext(first) == "a"
            assert await read(provider.stream("hi", timeout=Timeouts(idle=60))) == "b"


@pytest.mark.parametrize("cache_outside", [True, False])
async def test_a_shared_stream_takes_one_slot(sim, cache_outside):
    limits = RateLimiterConfig(max_concurrent=1, requests_per_minute=2, burst=2, max_wait=0.01)
    provider = sim.provider()
    for wrap in (0, 1) if cache_outside else (1, 0):
        provider = CachedProvider(provider, LLMCache()) if wrap else RateLimitedProvider(provider, limits)
    texts = await asyncio.gather(*(read(provider.stream("hi")) for _ in range(50)))
    assert len(set(texts)) == 1
    assert sim.stats().requests == 1
    assert await read(provider.stream("ho")), "the slot is free again and one request is left"


# ---- Failures ----


async def test_a_failure_before_the_first_event_reaches_all_and_is_not_kept():
    release = threading.Event()
    down = answer({"error": {"message": "down"}}, 500)
    with RawServer([release, down], [head(), pieces("up"), END]) as server:
        provider = to(server)
        streams = [provider.stream("hi") for _ in range(20)]
        reads = [asyncio.ensure_future(read(stream)) for stream in streams]
        await aeventually(lambda: len(server.requests) == 1 and provider.cache.stats().misses == 20)
        release.set()
        outcomes = await asyncio.gather(*reads, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ServerError}
        assert len(server.requests) == 1
        assert await read(provider.stream("hi")) == "up"


async def test_a_failure_before_the_first_event_is_tried_again_for_all():
    down = answer({"error": {"message": "down"}}, 500)
    with RawServer([down], [head(), pieces("up"), END]) as server:
        provider = to(server, retry=2)
        streams = [provider.stream("hi") for _ in range(20)]
        assert {await read(stream) for stream in streams} == {"up"}
        assert len(server.requests) == 2
        assert sorted({stream.response.attempts for stream in streams}) == [0, 2]


ERROR_EVENT = sse({"error": {"message": "overloaded", "type": "server_error"}})


@pytest.mark.parametrize(("end", "error"), [(CLOSE, StreamInterrupted), (ERROR_EVENT, LLMError)])
async def test_a_break_in_the_middle_reaches_all_with_what_came_and_is_not_kept(end, error):
    release = threading.Event()
    with RawServer([head(), pieces("ab"), release, end], [head(), pieces("up"), END]) as server:
        provider = to(server, retry=3)
        early = provider.stream("hi")
        assert await anext(early) == "a"
        late = [provider.stream("hi") for _ in range(10)]
        for stream in late[:5]:
            assert await anext(stream) == "a"
        await all_aboard(provider)
        release.set()
        rest = []
        for stream in (early, *late):
            with pytest.raises(error) as broken:
                async for text in stream:
                    rest.append(text)
            assert broken.value.partial.content == "ab"
            assert broken.value.provider == "openai"
        assert rest == ["b"] * 6 + ["a", "b"] * 5
        assert len(server.requests) == 1, "a stream is never sent again"
        assert provider.cache.stats().entries == 0
        assert await read(provider.stream("hi")) == "up"


# ---- Leaving ----


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize("leaver", [0, 1])
@pytest.mark.parametrize("way", ["cancel", "close", "drop"])
async def test_one_who_leaves_anywhere_does_not_stop_the_other(position, leaver, way):
    release = threading.Event()
    with RawServer([head(), pieces("abcde"), release, pieces("f"), END]) as server:
        provider = to(server)
        streams = [provider.stream("hi") for _ in range(2)]
        await aeventually(lambda: len(server.requests) == 1)
        leaving, staying = streams.pop(leaver), streams.pop()
        for letter in "abcde"[:position]:
            assert await anext(leaving) == letter
        if way == "cancel":
            reading = asyncio.ensure_future(read(leaving))
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])
            assert reading.cancelled()
        elif way == "close":
            await leaving.aclose()
        del leaving
        gc.collect()
        await all_aboard(provider)
        release.set()
        assert await read(staying) == "abcdef"
        assert staying.response.cached is False, "now it is the one who pays"
        assert len(server.requests) == 1
        assert provider.cache.stats().entries == 1


@pytest.mark.parametrize("way", ["cancel", "close", "drop"])
async def test_the_last_one_leaving_takes_the_request_back(way):
    with RawServer([head(), pieces("ab"), HOLD], [head(), pieces("two"), END]) as server:
        provider = to(server)
        streams = [provider.stream("hi") for _ in range(5)]
        for stream in streams:
            assert await anext(stream) == "a"
        while streams:
            assert server.closed_by_client == 0
            stream = streams.pop(0)
            if way == "cancel":
                reading = asyncio.ensure_future(read(stream))
                await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait([reading])
                del reading
            elif way == "close":
                await stream.aclose()
            del stream
            gc.collect()
        await aeventually(lambda: server.closed_by_client == 1)
        assert provider.cache.stats().entries == 0
        assert await read(provider.stream("hi")) == "two"


# ---- Each one's time ----


async def test_each_reader_keeps_its_own_total_time_and_has_what_it_read():
    release = threading.Event()
    with RawServer([head(), pieces("ab"), release, pieces("c"), END]) as server:
        provider = to(server)
        patient = provider.stream("hi")
        assert await anext(patient) == "a"
        hasty = provider.stream("hi", timeout=0.05)
        with pytest.raises(TotalTimeout) as over:
            await read(hasty)
        assert over.value.partial.content == "ab"
        release.set()
        assert await read(patient) == "bc"
        assert len(server.requests) == 1


async def test_the_haste_of_the_first_one_ends_only_its_own_reading():
    release = threading.Event()
    with RawServer([head(), pieces("ab"), release, pieces("c"), END]) as server:
        provider = to(server)
        hasty = provider.stream("hi", timeout=0.5)
        assert await anext(hasty) == "a"
        patient = provider.stream("hi", timeout=60)
        with pytest.raises(TotalTimeout) as over:
            await read(hasty)
        assert over.value.partial.content == "ab"
        release.set()
        assert await read(patient) == "abc"
        assert len(server.requests) == 1


async def test_the_haste_of_the_first_one_before_any_event_has_the_others_ask_again():
    with RawServer([HOLD], [head(), pieces("two"), END]) as server:
        provider = to(server)
        hasty = provider.stream("hi", timeout=0.5)
        await aeventually(lambda: len(server.requests) == 1)
        patient = [provider.stream("hi", timeout=60) for _ in range(5)]
        with pytest.raises(TotalTimeout) as over:
            await read(hasty)
        assert over.value.partial is None
        assert {await read(stream) for stream in patient} == {"two"}
        assert len(server.requests) == 2


# ---- Slow readers ----


@pytest.fixture
def torrent():
    """A simulator that sends much more than all buffers on the way hold, as fast as it is taken."""
    with Simulator(tokens=TORRENT, chunk_events=100, send_buffer=64 << 10) as simulator:
        yield simulator


async def test_a_slow_reader_holds_nobody_up(torrent, own_pool):
    provider = cached(torrent.provider(http=own_pool()))
    slow = provider.stream("hi")
    text = await anext(slow)
    fast = provider.stream("hi")
    whole = await read(fast)
    assert fast.response.usage.completion_tokens == TORRENT
    assert fast.response.cached, "the slow one was first and pays"
    assert text + await read(slow) == whole
    assert slow.response.cached is False
    assert torrent.stats().requests == 1


async def test_when_all_are_slow_the_sender_stops(torrent, own_pool):
    provider = cached(torrent.provider(http=own_pool()))
    streams = [provider.stream("hi") for _ in range(3)]
    started = [await anext(stream) for stream in streams]
    await aeventually(settled(lambda: torrent.stats().events_sent))
    assert torrent.stats().events_sent < TORRENT / 2
    await streams.pop(0).aclose()
    late = provider.stream("hi")
    whole = await read(late)
    assert late.response.usage.completion_tokens == TORRENT
    assert [start + await read(stream) for start, stream in zip(started[1:], streams, strict=True)] == [whole] * 2
    assert torrent.stats().requests == 1


async def test_a_lone_reader_that_stops_stops_the_sender(torrent, own_pool):
    provider = cached(torrent.provider(http=own_pool()))
    stream = provider.stream("hi")
    text = await anext(stream)
    await aeventually(settled(lambda: torrent.stats().events_sent))
    assert torrent.stats().events_sent < TORRENT / 2
    text += await read(stream)
    assert stream.response.content == text
    assert stream.response.usage.completion_tokens == TORRENT


async def test_a_whole_call_reads_a_stopped_stream_to_its_end(torrent, own_pool):
    provider = cached(torrent.provider(http=own_pool()))
    stream = provider.stream("hi")
    text = await anext(stream)
    await aeventually(settled(lambda: torrent.stats().events_sent))
    response = await provider.complete("hi")
    assert response.cached
    assert response.usage.completion_tokens == TORRENT
    assert text + await read(stream) == response.content
    assert torrent.stats().requests == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_read_takes_no_more_than_its_text(torrent):
    out = run(
        """
        import os, sys
        from edgequake_llm import CachedProvider, LLMCache, OpenAIProvider
        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        llm = CachedProvider(OpenAIProvider("key", base_url=sys.argv[1]), LLMCache())
        next(llm.sync.stream("warm up"))
        before, length = resident(), 0
        stream = llm.sync.stream("hi")
        for n, text in enumerate(stream):
            length += len(text)
            if n == 149_000:
                break
        print(resident() - before, length)
        """,
        torrent.base_url("openai"),
    )
    grown, length = map(int, out.split())
    # The text is built up by the call and kept by the tape, each with room to grow; pieces would take 60 bytes each.
    assert grown < 6 * length + (2 << 20)
    assert 6 * length + (2 << 20) < 149_000 * 60


# ---- Streams and whole calls ----


async def test_a_whole_call_shares_the_stream_under_way():
    release = threading.Event()
    with RawServer([head(), pieces("ab"), release, END]) as server:
        provider = to(server)
        stream = provider.stream("hi")
        assert await anext(stream) == "a"
        calls = [asyncio.ensure_future(provider.complete("hi")) for _ in range(5)]
        await aeventually(lambda: provider.cache.stats().misses == 6)
        calls.pop().cancel()
        await asyncio.sleep(0)
        await all_aboard(provider)
        release.set()
        responses = await asyncio.gather(*calls)
        assert {(response.content, response.cached) for response in responses} == {("ab", True)}
        assert await read(stream) == "b"
        assert len(server.requests) == 1
        assert provider.cache.stats().shared == 4


async def test_a_whole_call_outlives_the_stream_that_it_shares():
    release = threading.Event()
    with RawServer([head(), pieces("ab"), release, END]) as server:
        provider = to(server)
        stream = provider.stream("hi")
        assert await anext(stream) == "a"
        call = asyncio.ensure_future(provider.complete("hi"))
        await aeventually(lambda: provider.cache.stats().misses == 2)
        await all_aboard(provider)
        await stream.aclose()
        await all_aboard(provider)
        release.set()
        response = await call
        assert (response.content, response.cached) == ("ab", False)
        assert len(server.requests) == 1


async def test_a_whole_call_asks_again_where_the_stream_broke():
    release = threading.Event()
    with RawServer([head(), pieces("a"), release, CLOSE], [answer(openai_answer("whole"))]) as server:
        provider = to(server)
        stream = provider.stream("hi")
        assert await anext(stream) == "a"
        calls = [asyncio.ensure_future(provider.complete("hi")) for _ in range(5)]
        await aeventually(lambda: provider.cache.stats().misses == 6)
        await all_aboard(provider)
        release.set()
        responses = await asyncio.gather(*calls)
        assert {response.content for response in responses} == {"whole"}
        assert [response.cached for response in responses].count(False) == 1
        with pytest.raises(StreamInterrupted):
            await read(stream)
        assert len(server.requests) == 2


async def test_a_whole_call_keeps_its_total_time_while_it_shares():
    with RawServer([head(), pieces("a"), HOLD]) as server:
        provider = to(server)
        async with provider.stream("hi") as stream:
            assert await anext(stream) == "a"
            with pytest.raises(TotalTimeout):
                await provider.complete("hi", timeout=0.05)
            assert len(server.requests) == 1
            assert server.closed_by_client == 0


async def test_a_stream_does_not_wait_for_a_whole_call():
    release = threading.Event()
    with RawServer([release, answer(openai_answer("whole"))], [head(), pieces("ab"), END]) as server:
        provider = to(server)
        call = asyncio.ensure_future(provider.complete("hi"))
        await aeventually(lambda: len(server.requests) == 1)
        assert await read(provider.stream("hi")) == "ab"
        release.set()
        assert (await call).content == "whole"
        assert len(server.requests) == 2


async def test_outer_caches_of_those_who_share_learn_it(sim):
    sim.push(gap=0.001)
    llm = sim.provider()
    inner, near, other = LLMCache(), LLMCache(), LLMCache()
    streams = [CachedProvider(CachedProvider(llm, inner), outer).stream("hi") for outer in (near, other)]
    texts = await asyncio.gather(*(read(stream) for stream in streams))
    assert len(set(texts)) == 1
    assert (len(inner), len(near), len(other), sim.stats().requests) == (1, 1, 1, 1)


async def test_a_stream_is_text_and_events_at_once():
    with RawServer([head(), pieces("ab"), END]) as server:
        provider = to(server)
        texts, events = provider.stream("hi"), provider.stream("hi").events()
        typed = [event async for event in events]
        assert [event.text for event in typed if isinstance(event, TextDelta)] == ["a", "b"]
        assert await read(texts) == "ab"
        assert len(server.requests) == 1
