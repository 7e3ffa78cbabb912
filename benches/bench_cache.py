"""The cache: a get and a set beside cachebox's and cachetools', and calls that hit, key included.

The rivals are in `benches/requirements.txt`; a bench whose rival is missing is skipped. What entries take in memory is
measured by `python benches/cache_memory.py`.
"""

from __future__ import annotations

import asyncio

import pytest

from edgequake_llm import CacheConfig, CachedProvider, LLMCache, Simulator

ROUNDS = 1000
TTL = 3600


def ours(entries):
    return LLMCache(CacheConfig(max_entries=entries, ttl=TTL))


def cachebox(entries):
    return pytest.importorskip("cachebox").TTLCache(entries, global_ttl=TTL)


def cachetools(entries):
    return pytest.importorskip("cachetools").TTLCache(entries, TTL)


MAKERS = pytest.mark.parametrize("make", [ours, cachebox, cachetools])


def keys(entries):
    """Return the keys to use, spread over the cache, so that a large one is not read out of the processor's caches."""
    return [f"key {n * 7919 % entries}" for n in range(ROUNDS)]


def fill(cache, entries):
    put = cache.set if isinstance(cache, LLMCache) else cache.__setitem__
    for n in range(entries):
        put(f"key {n}", n)
    return put


@MAKERS
@pytest.mark.parametrize("entries", [1_000, 1_000_000])
def bench_get(benchmark, make, entries):
    cache = make(entries)
    if make is cachetools and entries > 1000:
        pytest.skip("takes too long to fill")
    fill(cache, entries)
    get, wanted = cache.get, keys(entries)

    def gets():
        for key in wanted:
            get(key)

    benchmark(gets)
    assert get(wanted[1]) is not None


@MAKERS
def bench_set(benchmark, make):
    cache = make(1000)
    put, wanted = fill(cache, 1000), keys(1000)

    def sets():
        for key in wanted:
            put(key, key)

    benchmark(sets)
    assert cache.get(wanted[1]) == wanted[1]


@MAKERS
def bench_set_that_evicts(benchmark, make):
    cache = make(1000)
    put = fill(cache, 1000)
    number = iter(range(1000, 10**12))

    def sets():
        for _ in range(ROUNDS):
            put(f"key {next(number)}", None)

    benchmark(sets)
    assert len(cache) == 1000


@pytest.fixture
def loop():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def llm():
    with Simulator(tokens=32) as simulator:
        yield CachedProvider(simulator.provider(), LLMCache())


@pytest.mark.parametrize("length", [40, 1_000, 16_000])
def bench_hit(benchmark, loop, llm, length):
    prompt = "x" * length

    async def hits():
        for _ in range(100):
            response = await llm.complete(prompt, max_tokens=100)
        return response

    assert benchmark(lambda: loop.run(hits())).content


def bench_hit_sync(benchmark, llm):
    llm.sync.complete("hi")
    assert benchmark(llm.sync.complete, "hi").cached


def bench_hit_stream(benchmark, loop, llm):
    async def hits():
        for _ in range(100):
            texts = [text async for text in llm.stream("hi")]
        return texts

    assert benchmark(lambda: loop.run(hits()))


def bench_hit_embed_100(benchmark, loop, llm):
    texts = [f"text {n}" for n in range(100)]

    async def hit():
        return await llm.embed(texts)

    loop.run(hit())
    assert benchmark(lambda: loop.run(hit())).cached
