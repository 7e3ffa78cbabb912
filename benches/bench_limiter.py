"""The limiter: an acquire that need not wait, beside aiolimiter's and a semaphore's; and a queue that drains.

aiolimiter is in `benches/requirements.txt`; without it its bench is skipped.
"""

from __future__ import annotations

import asyncio

import pytest

from edgequake_llm import RateLimitedProvider, RateLimiter, RateLimiterConfig, Simulator

ACQUIRES = 1000
PLENTY = RateLimiterConfig(max_concurrent=10, requests_per_minute=2**32 - 1, tokens_per_minute=2**32 - 1)


@pytest.fixture
def loop():
    with asyncio.Runner() as runner:
        yield runner


def bench_acquire_and_release(benchmark, loop):
    limiter = RateLimiter(PLENTY)

    async def acquires():
        for _ in range(ACQUIRES):
            async with limiter.acquire(tokens=100):
                pass

    benchmark(lambda: loop.run(acquires()))
    assert limiter.status.running == 0


def bench_acquire_and_settle(benchmark, loop):
    limiter = RateLimiter(PLENTY)

    async def acquires():
        for _ in range(ACQUIRES):
            async with limiter.acquire(tokens=100) as permit:
                permit.settle(60)

    benchmark(lambda: loop.run(acquires()))


def bench_sync_acquire(benchmark):
    limiter = RateLimiter(PLENTY)

    def acquires():
        for _ in range(ACQUIRES):
            with limiter.sync.acquire(tokens=100):
                pass

    benchmark(acquires)


def bench_aiolimiter(benchmark, loop):
    aiolimiter = pytest.importorskip("aiolimiter")

    async def acquires(limiter):
        for _ in range(ACQUIRES):
            async with limiter:
                pass

    async def main():
        await acquires(aiolimiter.AsyncLimiter(1e12, 60))

    benchmark(lambda: loop.run(main()))


def bench_asyncio_semaphore(benchmark, loop):
    """Calls at once and nothing else: what asyncio itself has."""

    async def acquires():
        semaphore = asyncio.Semaphore(10)
        for _ in range(ACQUIRES):
            async with semaphore:
                pass

    benchmark(lambda: loop.run(acquires()))


@pytest.mark.parametrize("waiting", [10, 100, 1000, 10_000])
def bench_queue_drains(benchmark, loop, waiting):
    """10,000 calls go through one slot, so many of them waiting at once."""
    limiter = RateLimiter(RateLimiterConfig(max_concurrent=1))

    async def call():
        async with limiter.acquire(tokens=1):
            pass

    async def drain():
        for _ in range(10_000 // waiting):
            holder = await limiter.acquire()
            tasks = [asyncio.ensure_future(call()) for _ in range(waiting)]
            while limiter.status.waiting < waiting:
                await asyncio.sleep(0)
            holder.release()
            await asyncio.gather(*tasks)

    benchmark.pedantic(lambda: loop.run(drain()), rounds=3, warmup_rounds=1)


def bench_limited_call(benchmark, loop):
    """50 calls through the limiter; compare with `bench_one_call`."""
    with Simulator(tokens=32) as simulator:
        llm = RateLimitedProvider(simulator.provider(), PLENTY)

        async def calls():
            for _ in range(50):
                await llm.complete("hi")

        benchmark(lambda: loop.run(calls()))
