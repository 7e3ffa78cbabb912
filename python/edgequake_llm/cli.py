"""The command line: `edgequake-llm chat` and `edgequake-llm simulate`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading

from edgequake_llm import __version__, _core
from edgequake_llm._exceptions import ConfigurationError, LLMError
from edgequake_llm.factory import ProviderFactory, ProviderType, any_set_up
from edgequake_llm.simulator import Simulator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from edgequake_llm._core import LLMResponse, SyncTextStream
    from edgequake_llm.providers import Provider

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse gives it no other name

INTERRUPTED = 130
"""The exit status that shells give a program ended by Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="edgequake-llm", description="Talk to language models, or simulate them.")
    parser.add_argument("--version", action="version", version=f"edgequake-llm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_chat(commands)
    _add_simulate(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except LLMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has gone: not an error of ours. What is still buffered would fail again
        # at the interpreter's end, so it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _add_chat(commands: Subparsers) -> None:
    chat = commands.add_parser("chat", help="stream one answer, with its metrics")
    chat.add_argument("prompt", help="what to ask; - reads it from standard input")
    chat.add_argument(
        "--provider",
        choices=[*ProviderType, *_core.preset_names()],
        metavar="NAME",
        help="default: the one the environment is set up for",
    )
    chat.add_argument("--model")
    chat.add_argument("--system", help="instructions put in front")
    chat.add_argument("--base-url", help="where the provider's API is")
    chat.add_argument("--max-tokens", type=int)
    chat.add_argument("--temperature", type=float)
    chat.set_defaults(run=_chat)


def _add_simulate(commands: Subparsers) -> None:
    simulate = commands.add_parser("simulate", help="run a simulated provider on this machine")
    simulate.add_argument("--port", type=int, default=8080, help="0 takes a free one (default: 8080)")
    simulate.add_argument("--ttft-ms", type=float, default=200, help="time to first token (default: 200)")
    simulate.add_argument("--gap-ms", type=float, default=20, help="time between tokens (default: 20)")
    simulate.add_argument("--jitter", type=float, default=0.2, help="share by which they vary, 0 to 1 (default: 0.2)")
    simulate.add_argument("--seed", type=int, default=0)
    simulate.add_argument("--tokens", type=int, help="tokens an answer")
    simulate.add_argument("--failure-rate", type=float, default=0.0, help="share of requests that fail, 0 to 1")
    simulate.add_argument("--requests-per-minute", type=int, help="more are answered 429")
    simulate.add_argument("--tokens-per-minute", type=int, help="more are answered 429")
    simulate.add_argument("--max-concurrent", type=int, help="more at once are answered 429")
    simulate.add_argument("--tls-port", type=int, help="listen for TLS too, with a throw-away certificate")
    simulate.add_argument("--cert-file", help="write that certificate here")
    simulate.set_defaults(run=_simulate)


@contextlib.contextmanager
def _provider(options: argparse.Namespace) -> Iterator[tuple[Provider, bool]]:
    """Give the provider that was asked for, or the simulator where nothing is set up, and whether its prices hold.

    A server at an address of one's own may call its models as it likes, and the simulator costs nothing.
    """
    settings: dict[str, Any] = {"model": options.model}
    if options.base_url:
        settings["base_url"] = options.base_url
    if options.provider or options.base_url:
        llm = ProviderFactory.create(options.provider or ProviderType.OPENAI, **settings)[0]
        yield llm, _is_at_home(llm)
    elif any_set_up():
        llm = ProviderFactory.from_env(**settings)[0]
        yield llm, _is_at_home(llm)
    else:
        try:
            ProviderFactory.from_env()
        except ConfigurationError as error:
            print(f"note: {error}.", file=sys.stderr)
        print("note: this answer comes from the embedded simulator, not from a model.", file=sys.stderr)
        with Simulator(ttft=0.15, gap=0.03, jitter=0.5) as simulator:
            yield simulator.provider(ProviderType.OPENAI, model=options.model), False


def _is_at_home(llm: Provider) -> bool:
    """Whether the provider is asked at its own address."""
    return llm.base_url == (_core.preset(llm.name) or type(llm)).default_base_url


def _chat(options: argparse.Namespace) -> int:
    prompt = sys.stdin.read() if options.prompt == "-" else options.prompt
    with _provider(options) as (llm, priced):
        fields: Any = {"max_tokens": options.max_tokens, "temperature": options.temperature, "system": options.system}
        with llm.sync.stream(prompt, **fields) as stream:
            for text in stream:
                print(text, end="", flush=True)
            print()
            _print_metrics(stream, priced=priced)
    return 0


def _print_metrics(stream: SyncTextStream, *, priced: bool) -> None:
    response, metrics = stream.response, stream.metrics
    parts = [f"{response.provider} {response.model}".strip()]
    if metrics.ttft_ms is not None:
        parts.append(f"TTFT {metrics.ttft_ms:.0f} ms")
    parts.append(f"total {metrics.total_ms:.0f} ms")
    parts.append(f"{metrics.tokens_per_second:.1f} tokens/s")
    if response.usage is not None:
        parts.append(f"{response.usage.prompt_tokens} + {response.usage.completion_tokens} tokens")
    cost = _cost(response) if priced else None
    if cost is not None:
        parts.append(cost)
    if response.finish_reason not in {None, "stop"}:
        parts.append(f"finish: {response.finish_reason}")
    print(f"[{' | '.join(parts)}]", file=sys.stderr)


def _cost(response: LLMResponse) -> str | None:
    """Tell what an answer cost, where that is known; the data is an optional package."""
    from edgequake_llm.catalog import ModelCatalog

    try:
        cost = ModelCatalog().cost(response)
    except ConfigurationError:
        return None
    return None if cost is None else f"${cost.total:.6f}".rstrip("0").rstrip(".")


def _simulate(options: argparse.Namespace) -> int:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    simulator = Simulator(
        port=options.port,
        ttft=options.ttft_ms / 1000,
        gap=options.gap_ms / 1000,
        jitter=options.jitter,
        seed=options.seed,
        tokens=options.tokens,
        failure_rate=options.failure_rate,
        requests_per_minute=options.requests_per_minute,
        tokens_per_minute=options.tokens_per_minute,
        max_concurrent=options.max_concurrent,
        tls=options.tls_port is not None,
        tls_port=options.tls_port or 0,
    )
    with simulator:
        if options.cert_file and simulator.cert_pem:
            with open(options.cert_file, "w", encoding="ascii") as file:  # noqa: PTH123 - one write
                file.write(simulator.cert_pem)
        print(f"simulating at {simulator.url} (Ctrl-C ends it)")
        if simulator.tls_url:
            print(f"with TLS at {simulator.tls_url}")
        print(f"  OPENAI_BASE_URL={simulator.base_url('openai')}")
        print(f"  ANTHROPIC_BASE_URL={simulator.base_url('anthropic')}")
        print(f"  GEMINI_BASE_URL={simulator.base_url('gemini')}")
        print(f"  OLLAMA_HOST={simulator.base_url('ollama')}", flush=True)
        stop.wait()
        stats = simulator.stats()
    print(f"{stats.requests} requests, {stats.aborted} taken back, {stats.rate_limited} answered 429")
    return 0


if __name__ == "__main__":
    sys.exit(main())
