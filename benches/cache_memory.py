"""What a cached entry takes, by the memory of the whole process: `python benches/cache_memory.py`.

10,000 answers of 1 KB of text, then 10,000 vectors of 1,536 dimensions, put in by real calls against the simulator in a
process of its own. Printed: bytes an entry, by resident memory and by the cache's own statistics.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import multiprocessing
import os
import pathlib
import sys

from edgequake_llm import CacheConfig, CachedProvider, LLMCache, Simulator

ENTRIES = 10_000
DIMENSIONS = 1536
TEXT = "An answer of some length, " * 40
AT_ONCE = 50


def resident() -> int:
    """Return the resident bytes of this process, after everything that can go back to the system has."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def serve(urls, done):
    """Run the simulator in a process of its own, so that its memory is not counted."""
    with Simulator(text=TEXT[:1024], embedding_dims=DIMENSIONS) as simulator:
        urls.put(simulator.url)
        done.wait()


async def fill_answers(llm, count, start):
    for n in range(start, start + count, AT_ONCE):
        await asyncio.gather(*(llm.complete(f"prompt {n + i}") for i in range(AT_ONCE)))


async def fill_vectors(llm, count, start):
    for n in range(start, start + count, 100):
        await llm.embed([f"text {n + i}" for i in range(100)])


def measure(name, url, fill):
    """Warm everything up with a cache that is thrown away, then fill one and compare."""
    from edgequake_llm import OpenAIProvider

    provider = OpenAIProvider("simulated", base_url=f"{url}/v1")
    warm = CachedProvider(provider, CacheConfig(max_entries=ENTRIES))
    asyncio.run(fill(warm, 1000, 10**6))
    warm.cache.clear()
    before = resident()
    llm = CachedProvider(provider, LLMCache(CacheConfig(max_entries=ENTRIES)))
    asyncio.run(fill(llm, ENTRIES, 0))
    after, stats = resident(), llm.cache.stats()
    assert stats.entries == ENTRIES
    print(f"{name}: {(after - before) / ENTRIES:,.0f} bytes resident, {stats.bytes / ENTRIES:,.0f} by its own count")


def main() -> None:
    """Measure each kind in a fresh process."""
    if not sys.platform.startswith("linux"):
        raise SystemExit("resident memory is read from /proc: Linux only")
    fresh = multiprocessing.get_context("spawn")
    urls, done = fresh.Queue(), fresh.Event()
    server = fresh.Process(target=serve, args=(urls, done))
    server.start()
    url = urls.get()
    for name, fill in (("an answer of 1 KB", fill_answers), (f"a vector of {DIMENSIONS}", fill_vectors)):
        process = fresh.Process(target=measure, args=(name, url, fill))
        process.start()
        process.join()
    done.set()
    server.join()


if __name__ == "__main__":
    main()
