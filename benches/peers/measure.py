"""What one client spends on one scenario. Prints a JSON line: wall and CPU microseconds an item, RSS in MiB.

    measure.py CLIENT SCENARIO BASE_URL

Scenarios: `import`; `seq` (500 calls one after another); `conc` (2,000 calls, 64 at once); `stream` (20 streams of
1,000 events, one after another); `streams` (64 streams of 200 events at once); `history` (20 calls with a conversation of
500 messages; also the CPU of the event loop's own thread).
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import resource
import sys
import time

EVENTS = {"seq": 32, "conc": 32, "stream": 1000, "streams": 200, "history": 32}
SEQUENTIAL, CONCURRENT, AT_ONCE, STREAMS, HISTORY_CALLS = 500, 2000, 64, 20, 20


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def history(length: int) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": f"message {n}: " + "some words " * 20} for n in range(length - 1)] + [
        {"role": "user", "content": "and now?"}
    ]


async def limited(work, count: int, at_once: int) -> None:
    gate = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with gate:
            await work()

    await asyncio.gather(*(one() for _ in range(count)))


async def run(name: str, scenario: str, base: str) -> dict[str, object]:
    from clients import CLIENTS

    client = CLIENTS[name](base)
    events = EVENTS[scenario]

    async def call() -> None:
        assert await client.call()

    async def stream() -> None:
        count = await client.stream()
        assert count == events, count

    await call()
    if scenario.startswith("stream"):
        await stream()
    messages = history(500)
    started, cpu_started, thread_started = time.perf_counter(), cpu(), time.thread_time()
    if scenario == "seq":
        items = SEQUENTIAL
        for _ in range(items):
            await call()
    elif scenario == "conc":
        items = CONCURRENT
        await limited(call, items, AT_ONCE)
    elif scenario == "stream":
        items = STREAMS * events
        for _ in range(STREAMS):
            await stream()
    elif scenario == "streams":
        items = AT_ONCE * events
        await limited(stream, AT_ONCE, AT_ONCE)
    else:
        items = HISTORY_CALLS
        for _ in range(items):
            assert await client.history(messages)
    wall, spent, thread = time.perf_counter() - started, cpu() - cpu_started, time.thread_time() - thread_started
    each = 1e6 / items
    return {"wall_us": wall * each, "cpu_us": spent * each, "thread_us": thread * each, "rss_mib": rss()}


def imported(name: str) -> dict[str, object]:
    before, started, cpu_started = rss(), time.perf_counter(), cpu()
    importlib.import_module(name)
    wall, spent = time.perf_counter() - started, cpu() - cpu_started
    return {
        "wall_us": wall * 1e6,
        "cpu_us": spent * 1e6,
        "thread_us": 0.0,
        "rss_mib": rss(),
        "added_mib": rss() - before,
    }


def main() -> None:
    name, scenario, base = sys.argv[1:4]
    figures = imported(name) if scenario == "import" else asyncio.run(run(name, scenario, base))
    print(json.dumps({"client": name, "scenario": scenario, **figures}))


if __name__ == "__main__":
    main()
