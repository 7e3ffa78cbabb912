"""Compares clients in turn on the same machine and prints tables of ratios, for README.

    benches/peers/run [--rounds 5] [--clients a,b] [--scenarios x,y] [--upstream http://127.0.0.1:9100/n{events}/v1]

Without `--upstream` it starts this package's simulator in a process of its own. Every round runs each client once, in a
process of its own, so that a change of the machine's speed meets all of them; the tables quote medians over the rounds
and ratios to edgequake_llm's median.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import re
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from clients import CLIENTS
from measure import EVENTS

HERE = Path(__file__).parent
US = "edgequake_llm"


@contextlib.contextmanager
def upstream(events: int):
    """Run a simulator that answers at once with that many text deltas."""
    command = [sys.executable, "-m", "edgequake_llm", "simulate", "--port=0", "--ttft-ms=0", "--gap-ms=0", "--jitter=0"]
    with subprocess.Popen([*command, f"--tokens={events}"], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield re.search(r"http://\S+", process.stdout.readline()).group() + "/v1"
        finally:
            process.terminate()


def measure(client: str, scenario: str, base: str) -> dict[str, float] | None:
    command = [sys.executable, str(HERE / "measure.py"), client, scenario, base]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if not done.stdout.strip():
        print(f"  {client} {scenario}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def median(rows: list[dict[str, float]], key: str) -> float:
    return statistics.median(row[key] for row in rows)


def table(scenario: str, results: dict[str, list[dict[str, float]]]) -> None:
    key = "thread_us" if scenario == "history" else "cpu_us"
    named = "CPU us on the loop's thread" if scenario == "history" else "CPU us"
    print(f"\n### {scenario}\n\n| client | wall us | x ours | {named} | x ours | RSS MiB |\n|---|--:|--:|--:|--:|--:|")
    ours = results[US]
    for client, rows in results.items():
        if rows:
            wall, spent = median(rows, "wall_us"), median(rows, key)
            ratios = wall / median(ours, "wall_us"), spent / median(ours, key)
            shown = f"{wall:,.1f} | {ratios[0]:.2f} | {spent:,.1f} | {ratios[1]:.2f} | {median(rows, 'rss_mib'):.0f}"
            print(f"| {client} | {shown} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--scenarios", default=",".join(["import", *EVENTS]))
    parser.add_argument("--upstream", help="a base URL with {events} in it")
    options = parser.parse_args()
    clients = [US, *(name for name in options.clients.split(",") if name != US)]
    versions = ", ".join(f"{name} {metadata.version(name.replace('_', '-'))}" for name in clients)
    print(
        f"CPython {platform.python_version()}, {platform.system()} {platform.machine()}; {options.rounds} rounds; {versions}"
    )
    for scenario in options.scenarios.split(","):
        events = EVENTS.get(scenario, 1)
        given = contextlib.nullcontext((options.upstream or "").format(events=events))
        with given if options.upstream else upstream(events) as base:
            results: dict[str, list[dict[str, float]]] = {client: [] for client in clients}
            for _ in range(options.rounds):
                for client in clients:
                    row = measure(client, scenario, base)
                    if row is not None:
                        results[client].append(row)
        table(scenario, results)


if __name__ == "__main__":
    main()
