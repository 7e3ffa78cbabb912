"""Many calls: over few connections, and nothing left behind afterwards."""

from __future__ import annotations

import asyncio
import gc
import os
import threading

import pytest

from edgequake_llm import Simulator
from support.processes import run
from support.waiting import aeventually

HAS_PROC = os.path.isdir("/proc/self/fd")
needs_proc = pytest.mark.skipif(not HAS_PROC, reason="reads /proc")


async def test_200_in_a_row_and_100_at_once_over_one_http2_connection(provider_name):
    with Simulator(tls=True) as sim:
        llm = sim.provider(provider_name, tls=True)
        for _ in range(200):
            await llm.complete("hi")
        await asyncio.gather(*(llm.complete("hi") for _ in range(100)))
        stats = sim.stats()
        assert (stats.requests, stats.h2_requests, stats.completed) == (300, 300, 300)
        assert (stats.connections, stats.tls_handshakes) == (1, 1)


async def test_the_first_100_at_once_over_one_http2_connection():
    with Simulator(tls=True, ttft=1.0) as sim:  # long enough for all to be there before the first is answered
        llm = sim.provider(tls=True)
        await asyncio.gather(*(llm.complete("hi") for _ in range(100)))
        assert (sim.stats().connections, sim.stats().max_in_flight) == (1, 100)


async def test_200_in_a_row_over_one_http1_connection(llm, sim):
    for _ in range(200):
        await llm.complete("hi")
    assert (sim.stats().requests, sim.stats().connections, sim.stats().h2_requests) == (200, 1, 0)


async def test_64_at_once_over_http1_keep_their_connections(sim, own_pool):
    llm = sim.provider(http=own_pool())
    for _ in range(10):
        await asyncio.gather(*(llm.complete("hi") for _ in range(64)))
    assert sim.stats().requests == 640
    assert sim.stats().connections <= 64


async def test_cancelled_streams_do_not_run_the_pool_dry(own_pool):
    with Simulator(tokens=10_000, gap=0.01) as sim:
        llm = sim.provider(http=own_pool())
        for n in range(150):
            async with llm.stream("hi") as stream:
                await anext(stream)
            if n % 50 == 49:
                await aeventually(lambda: sim.stats().connections_open == 0)
        assert sim.stats().aborted == 150


MEASURE = """
    import asyncio, gc, os, sys, threading
    from edgequake_llm import HTTPConfig, OpenAIProvider

    def state():
        gc.collect()
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return resident, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    def compare(before, after, mebibytes):
        print(after[0] - before[0] < mebibytes << 20 or (before, after), after[1] <= before[1] + 2 or (before, after),
              after[2] <= before[2] or (before, after))

    llm = OpenAIProvider("key", base_url=sys.argv[1], http=HTTPConfig(protocol=sys.argv[2]))
"""


@needs_proc
def test_2000_streams_open_at_once_and_then_nothing_left():
    with Simulator(tokens=20, ttft=0.01, max_concurrent_streams=3000) as sim:
        out = run(
            MEASURE
            + """
    async def many(count, ttft_ms):
        streams = [llm.stream("hi", extra_headers={"x-simulator": f"ttft_ms={ttft_ms}"}) for _ in range(count)]
        async def read(stream):
            return sum([1 async for _ in stream])
        threads = len(os.listdir("/proc/self/task"))
        assert threads <= 3, threads  # the main thread, the I/O thread, one that looked the name up
        return await asyncio.gather(*map(read, streams))

    # Once before, because the first time grows what is kept for good: buffers, the allocator's arenas. It waits until all
    # are there, on a slow machine too.
    assert asyncio.run(many(2000, 5000)) == [20] * 2000
    before = state()
    for _ in range(3):
        assert asyncio.run(many(2000, 300)) == [20] * 2000
    compare(before, state(), 16)
    """,
            sim.base_url("openai"),
            "http2",
        )
        assert out == "True True True\n"
        assert sim.stats().completed == 8000
        assert sim.stats().max_in_flight == 2000
        assert sim.stats().connections <= 20


@needs_proc
@pytest.mark.parametrize("protocol", ["http1", "http2"])
@pytest.mark.parametrize("count", [5_000, pytest.param(200_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_many_calls_in_a_row_leave_nothing_behind(protocol, count):
    if count > 5_000 and not os.environ.get("EDGEQUAKE_SLOW"):
        pytest.skip("takes minutes: set EDGEQUAKE_SLOW=1")
    with Simulator(tokens=5) as sim:
        out = run(
            MEASURE
            + """
    async def calls(count):
        for _ in range(count // 16):
            await asyncio.gather(*(llm.complete("hi") for _ in range(16)))
    count = int(sys.argv[3])
    asyncio.run(calls(1000))
    before = state()
    asyncio.run(calls(count))
    compare(before, state(), 4)
    """,
            sim.base_url("openai"),
            protocol,
            count,
            patience=1700,
        )
        assert out == "True True True\n"
        assert sim.stats().connections <= 16


@needs_proc
def test_streams_errors_and_cancelled_calls_leave_nothing_behind():
    with Simulator(tokens=5, max_concurrent_streams=1000) as sim:
        out = run(
            MEASURE
            + """
    llm = OpenAIProvider("key", base_url=sys.argv[1], http=HTTPConfig(protocol=sys.argv[2]), retry=0)
    def header(text):
        return {"extra_headers": {"x-simulator": text}}
    async def whole():
        return [text async for text in llm.stream("hi")]
    async def broken_off():
        async with llm.stream("hi") as stream:
            await anext(stream)
    async def dropped():
        async for _ in llm.stream("hi"):
            break
    async def failed(text):
        try:
            async for _ in llm.stream("hi", **header(text)):
                pass
        except Exception as error:
            return str(error)
        raise AssertionError
    async def cancelled():
        try:
            await asyncio.wait_for(llm.complete("hi", **header("delay_ms=60000")), 0.01)
        except asyncio.TimeoutError:
            pass
    async def round():
        await asyncio.gather(whole(), broken_off(), dropped(), failed("status=500"), failed("cut_after=3"), cancelled())
    async def rounds(count):
        for _ in range(count):
            await asyncio.gather(round(), round(), round())
    asyncio.run(rounds(50))
    before = state()
    for _ in range(5):
        asyncio.run(rounds(50))
    compare(before, state(), 6)
    """,
            sim.base_url("openai"),
            "http2",
        )
        assert out == "True True True\n"
        assert sim.stats().connections <= 4


@needs_proc
def test_a_new_provider_for_each_call_leaves_nothing_behind(sim):
    def state():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    sim.provider().sync.complete("hi")
    before = state()
    for n in range(200):
        sim.provider(api_key=f"key{n}").sync.complete("hi")
    assert state() <= (before[0] + 1, before[1])
    assert sim.stats().connections == 1
