"""A slow reader slows the sender down: memory stays flat, and nobody else has to wait."""

from __future__ import annotations

import asyncio
import time

import pytest

from edgequake_llm import Simulator, Timeouts
from support.processes import finish, script
from support.waiting import aeventually, eventually

TOKENS = 300_000  # some 60 MB as events


@pytest.fixture
def torrent():
    """A simulator that sends much more than all buffers on the way hold, as fast as it is taken."""
    with Simulator(tokens=TOKENS, chunk_events=100, send_buffer=64 << 10) as simulator:
        yield simulator


def settled(read, polls=40):
    """Whether `read()` has not changed for a while: looked at, not slept for."""
    history = []

    def check():
        history.append(read())
        return len(history) > polls and len(set(history[-polls:])) == 1

    return check


@pytest.mark.parametrize("protocol", ["http1", "http2"])
async def test_a_reader_that_stops_stops_the_sender(torrent, protocol, own_pool):
    stream = torrent.provider(http=own_pool(protocol)).stream("hi")
    pieces = [await anext(stream)]
    await aeventually(settled(lambda: torrent.stats().events_sent))
    assert torrent.stats().events_sent < TOKENS / 2
    assert torrent.stats().in_flight == 1
    pieces += [text async for text in stream]
    assert len(pieces) == TOKENS
    assert stream.response.usage.completion_tokens == TOKENS
    assert stream.response.content == "".join(pieces)


def test_a_sync_reader_that_stops_stops_the_sender(torrent, own_pool):
    with torrent.provider(http=own_pool()).sync.stream("hi") as stream:
        next(stream)
        eventually(settled(lambda: torrent.stats().events_sent))
        assert torrent.stats().events_sent < TOKENS / 2
    eventually(lambda: torrent.stats().aborted == 1)


async def test_a_stopped_reader_holds_nobody_up_on_its_connection(torrent, own_pool):
    llm = torrent.provider(http=own_pool("http2"))
    stopped = [llm.stream("hi") for _ in range(5)]
    for stream in stopped:
        await anext(stream)
    await aeventually(settled(lambda: torrent.stats().events_sent))
    torrent.push(tokens=2000)
    assert len([text async for text in llm.stream("hi")]) == 2000
    assert torrent.stats().connections == 1
    for stream in stopped:
        await stream.aclose()
    await aeventually(lambda: torrent.stats().aborted == 5)


async def test_waiting_for_the_reader_is_no_idle_time(torrent, own_pool):
    llm = torrent.provider(http=own_pool(), timeout=Timeouts(idle=0.5))
    stream = llm.stream("hi")
    count = 1
    await anext(stream)
    await aeventually(settled(lambda: torrent.stats().events_sent))
    time.sleep(1)  # the reader's own dawdling, longer than the limit
    async for _ in stream:
        count += 1
    assert count == TOKENS


async def test_the_total_holds_for_a_reader_that_stops(torrent, own_pool):
    stream = torrent.provider(http=own_pool(), timeout=0.5).stream("hi")
    await anext(stream)
    await aeventually(lambda: torrent.stats().aborted == 1)
    with pytest.raises(TimeoutError):
        async for _ in stream:
            pass


async def test_whole_bodies_are_read_while_others_wait(torrent, own_pool):
    llm = torrent.provider(http=own_pool("http2"))
    first, second = await asyncio.gather(llm.complete("hi"), llm.complete("hi"))
    assert first.content == second.content


def test_memory_is_flat_while_the_reader_is_slow(torrent):
    process = script(
        """
        import os, sys
        from edgequake_llm import OpenAIProvider
        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        llm = OpenAIProvider("key", base_url=sys.argv[1])
        next(llm.sync.stream("warm up"))
        before = resident()
        streams = [llm.sync.stream("hi") for _ in range(10)]
        print(all([next(stream) for stream in streams]), flush=True)
        sys.stdin.readline()
        print(resident() - before)
        """,
        torrent.base_url("openai"),
    )
    assert process.stdout.readline() == "True\n"
    eventually(settled(lambda: torrent.stats().events_sent))
    # Ten streams of 60 MB each; a queue holds 256 KB of text at most, and what the events cost around it.
    assert int(finish(process)) < 50 << 20
