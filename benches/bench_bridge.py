"""The bridge to asyncio: calls and streams against the simulator, which runs in this process on a thread of its own."""

from __future__ import annotations

import asyncio

import pytest

from edgequake_llm import Simulator

EVENTS = 1000


@pytest.fixture
def loop():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def llm():
    with Simulator(tokens=32) as simulator:
        yield simulator.provider()


@pytest.fixture
def streaming():
    with Simulator(tokens=EVENTS, chunk_events=16) as simulator:
        yield simulator.provider()


def bench_one_call(benchmark, loop, llm):
    async def calls():
        for _ in range(50):
            response = await llm.complete("hi")
        return response

    assert benchmark(lambda: loop.run(calls())).usage.completion_tokens == 32


def bench_64_calls_at_once(benchmark, loop, llm):
    async def calls():
        return await asyncio.gather(*(llm.complete("hi") for _ in range(64)))

    assert len(benchmark(lambda: loop.run(calls()))) == 64


def bench_sync_call(benchmark, llm):
    assert benchmark(llm.sync.complete, "hi").finish_reason == "stop"


def bench_stream(benchmark, loop, streaming):
    async def read():
        return sum([1 async for _ in streaming.stream("hi")])

    assert benchmark(lambda: loop.run(read())) == EVENTS


def bench_typed_events(benchmark, loop, streaming):
    async def read():
        return sum([1 async for _ in streaming.stream("hi").events()])

    assert benchmark(lambda: loop.run(read())) == EVENTS + 2
