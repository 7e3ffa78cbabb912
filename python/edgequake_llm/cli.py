"""The command line: `edgequake-llm chat`, `compare`, `models` and `simulate`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading

from edgequake_llm import __version__, _core
from edgequake_llm._exceptions import ConfigurationError, LLMError
from edgequake_llm.factory import ProviderFactory, ProviderType, any_set_up, set_up
from edgequake_llm.simulator import Simulator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from edgequake_llm._compare import Candidate
    from edgequake_llm._core import SyncTextStream
    from edgequake_llm.providers import Provider

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse gives it no other name

# What the simulator can stand in for.
_SIMULATED = [kind for kind in ProviderType if kind is not ProviderType.BEDROCK]

INTERRUPTED = 130
"""The exit status that shells give a program ended by Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="edgequake-llm", description="Talk to language models, or simulate them.")
    parser.add_argument("--version", action="version", version=f"edgequake-llm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_chat(commands)
    _add_compare(commands)
    _add_models(commands)
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
    chat.add_argument("--base-url", help="where the provider's API is")
    _add_options(chat)
    chat.set_defaults(run=_chat)


def _add_compare(commands: Subparsers) -> None:
    compare = commands.add_parser(
        "compare",
        help="ask several models the same, and show what each took and cost",
        description="Asks several models the same in turn and shows, as medians over the runs: the time to first token "
        "(and its range), the whole time, output tokens a second, tokens, and what one answer cost. The first run of a "
        "model includes making the connection.",
    )
    compare.add_argument("prompt", help="what to ask; - reads it from standard input")
    compare.add_argument(
        "models",
        nargs="*",
        metavar="PROVIDER[/MODEL]",
        help="as openai/gpt-4o-mini or groq/llama-3.3-70b-versatile; without a model the provider's default one "
        "(default: every provider that the environment is set up for)",
    )
    compare.add_argument("--runs", type=int, default=3, help="answers of each model (default: 3)")
    compare.add_argument("--answers", action="store_true", help="show the last answer of each, too")
    compare.add_argument("--json", action="store_true", help="one JSON object a line and model instead of the table")
    _add_options(compare)
    compare.set_defaults(run=_compare)


def _add_models(commands: Subparsers) -> None:
    models = commands.add_parser(
        "models",
        help="list the models that providers have, with context and prices",
        description="Lists the models that providers have, with the longest prompt and answer in tokens, and the "
        "prices of a million tokens in US dollars, as far as they are known.",
    )
    models.add_argument(
        "providers",
        nargs="*",
        metavar="PROVIDER",
        help="as openai or groq (default: every provider that the environment is set up for)",
    )
    models.add_argument("--search", metavar="NAME", help="those whose names come nearest to this, the nearest first")
    models.add_argument("--limit", type=int, help="at most so many")
    models.set_defaults(run=_models)


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--system", help="instructions put in front")
    command.add_argument("--max-tokens", type=int)
    command.add_argument("--temperature", type=float)


def _fields(options: argparse.Namespace) -> dict[str, Any]:
    return {"max_tokens": options.max_tokens, "temperature": options.temperature, "system": options.system}


def _prompt(options: argparse.Namespace) -> str:
    return sys.stdin.read() if options.prompt == "-" else str(options.prompt)


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
        with _stand_in("this answer comes") as simulator:
            yield simulator.provider(ProviderType.OPENAI, model=options.model), False


def _stand_in(what: str) -> Simulator:
    """Start the simulator where nothing is set up, and say so."""
    try:
        ProviderFactory.from_env()
    except ConfigurationError as error:
        print(f"note: {error}.", file=sys.stderr)
    print(f"note: {what} from the embedded simulator, not from a model.", file=sys.stderr)
    return Simulator(ttft=0.15, gap=0.03, jitter=0.5)


def _is_at_home(llm: Provider) -> bool:
    """Whether the provider is asked at its own address."""
    return llm.base_url == (_core.preset(llm.name) or type(llm)).default_base_url


def _chat(options: argparse.Namespace) -> int:
    prompt = _prompt(options)
    with _provider(options) as (llm, priced), llm.sync.stream(prompt, **_fields(options)) as stream:
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
    if priced:
        from edgequake_llm._compare import costs
        from edgequake_llm._table import dollars

        cost, _ = costs()  # the data is an optional package
        found = cost(response)
        parts += [] if found is None else [dollars(found)]
    if response.finish_reason not in {None, "stop"}:
        parts.append(f"finish: {response.finish_reason}")
    print(f"[{' | '.join(parts)}]", file=sys.stderr)


@contextlib.contextmanager
def _candidates(specs: Sequence[str]) -> Iterator[list[Candidate]]:
    """Give the models to compare: those that were named, or else those of every provider that is set up.

    Where none is, the simulator stands in for all of them.
    """
    from edgequake_llm._compare import Candidate, parse

    if not specs and not any_set_up():
        with _stand_in("these answers come") as simulator:
            yield [Candidate(simulator.provider(kind), priced=False) for kind in _SIMULATED]
        return
    found = []
    for name, model in map(parse, specs or set_up()):
        llm, _ = ProviderFactory.create(name, model=model)
        if llm.model is None:
            raise ConfigurationError(f"{name} has no default model: name one, as {name}/MODEL")
        found.append(Candidate(llm, priced=_is_at_home(llm)))
    yield found


def _compare(options: argparse.Namespace) -> int:
    from edgequake_llm._compare import costs, in_turn

    if options.runs < 1:
        raise ConfigurationError(f"--runs must be at least 1, not {options.runs}")
    prompt = _prompt(options)
    with _candidates(options.models) as candidates:
        cost, note = costs() if any(candidate.priced for candidate in candidates) else (lambda _: None, None)
        if note is not None:
            print(f"note: {note}", file=sys.stderr)
        for run, candidate in in_turn(candidates, options.runs):
            _progress(f"run {run} of {options.runs}: {candidate.llm.name}/{candidate.llm.model} ...")
            candidate.ask(prompt, _fields(options), cost)
        _progress("")
    _show(candidates, options)
    failed = [candidate.error for candidate in candidates if candidate.error is not None]
    for error in failed:
        print(f"error: {error}", file=sys.stderr)
    return 1 if failed else 0


def _progress(text: str) -> None:
    """Say what is going on, in one line that the next one replaces, to whoever looks on."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _show(candidates: Sequence[Candidate], options: argparse.Namespace) -> None:
    from edgequake_llm._compare import table

    if options.json:
        import json

        for candidate in candidates:
            print(json.dumps(candidate.to_dict(), ensure_ascii=False))
        return
    print("\n".join(table(candidates)))
    if options.answers:
        for candidate in candidates:
            print(f"\n== {candidate.llm.name}/{candidate.llm.model}\n{candidate.answer}")


def _models(options: argparse.Namespace) -> int:
    from edgequake_llm._listing import listed, table

    if options.limit is not None and options.limit < 1:
        raise ConfigurationError(f"--limit must be at least 1, not {options.limit}")
    with contextlib.ExitStack() as stack:
        if not options.providers and not any_set_up():
            simulator = stack.enter_context(_stand_in("these models come"))
            providers = [simulator.provider(kind) for kind in _SIMULATED]
        else:
            providers = [ProviderFactory.create(name.lower())[0] for name in options.providers or set_up()]
        models, errors, note = listed(providers, options.search, limit=options.limit)
    if note is not None:
        print(f"note: {note}", file=sys.stderr)
    print("\n".join(table(models)))
    for error in errors.values():
        print(f"error: {error}", file=sys.stderr)
    return 1 if errors else 0


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
