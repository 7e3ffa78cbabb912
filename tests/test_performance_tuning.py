"""docs/performance-tuning.md: each of its snippets is run as it stands, and what the text around it says is checked."""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import edgequake_llm
from edgequake_llm import HTTPConfig, ModelCatalog, OpenAIProvider, RateLimitedProvider, Simulator
from edgequake_llm.recommend import TASKS
from support.pages import code, examples, headings, run_example, section, table

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs/performance-tuning.md"
TEXT = PAGE.read_text()


def snippets(heading):
    return [found for _, found, _ in examples(section(TEXT, heading) + "\n")]


class Reader:
    """Runs snippets of the page one by one, as somebody does who reads on; keeps what they print."""

    def __init__(self, sim, run):
        self.sim = sim
        self.printed = []
        self.names = {name: getattr(edgequake_llm, name) for name in edgequake_llm.__all__} | {"print": self._print}
        self._run = run
        self.asked = 0

    def _print(self, *values, sep=" ", **_):
        self.printed.append(sep.join(map(str, values)))

    def read(self, heading, only=None, **names):
        """Run a section's snippets, or one of them; `asked` are the requests that it made, `printed` what it printed."""
        self.names.update(names)
        before, self.printed = self.sim.stats().requests, []
        for snippet in snippets(heading)[slice(None) if only is None else slice(only, only + 1)]:
            self._run(snippet, self.names)
        self.asked = self.sim.stats().requests - before
        return self.names


@pytest.fixture
def reader(world):
    with asyncio.Runner() as runner:
        found = Reader(world, lambda snippet, names: runner.run(run_example(PAGE.name, 1, snippet, names)))
        found.names["provider"] = OpenAIProvider()
        found.names["prompts"] = ["Prompt 1", "Prompt 2", "Prompt 3"]
        yield found


def test_every_section_is_looked_at_here():
    with_snippets = {heading for heading in headings(TEXT) if snippets_or_none(heading)}
    assert set(re.findall(r'read\(\s*"([^"]+)"', pathlib.Path(__file__).read_text())) == with_snippets


def snippets_or_none(heading):
    try:
        return snippets(heading)
    except AssertionError:
        return None


def test_the_first_piece_comes_while_the_rest_is_written(reader):
    reader.sim.push(tokens=20, ttft=0, gap=0.1)
    under_way = []
    reader.names["print"] = lambda *_, **__: under_way.append(reader.sim.stats().in_flight)
    reader.read("Time to first token", only=0)
    assert under_way[0] == 1, "the first piece was there before the answer was whole"
    assert len(under_way) > 10


def test_prompts_are_counted_and_cut(reader):
    names = reader.read("Time to first token", only=1)
    whole, cut = (names["tokenizer"].count_tokens(names[name]) for name in ("document", "context"))
    assert cut <= 1000 < whole
    assert names["document"].startswith(names["context"])


def test_ttft_is_told_by_streams_and_by_metrics_alone(reader):
    reader.sim.push(ttft=0.05, gap=0.002)
    names = reader.read("Time to first token", only=2)
    metrics = names["stream"].metrics
    assert 0 < metrics.ttft_ms < metrics.total_ms
    assert reader.printed[-1] == f"TTFT: {metrics.ttft_ms:.0f} ms"
    assert reader.read("Time to first token", only=3)["metrics"].ttft_ms is not None


def test_a_request_is_cut_where_it_was_told_to_be(reader):
    response = reader.read("Time of the whole request")["response"]
    assert (response.finish_reason, response.usage.completion_tokens) == ("length", 5)


def test_many_at_once_and_within_the_limits(reader):
    names = reader.read("Concurrent requests", only=0)
    assert len(names["results"]) == reader.asked == 3
    with Simulator(tokens=3, ttft=0.01, max_concurrent=10) as strict:
        names["provider"] = strict.provider("openai")
        names = reader.read("Concurrent requests", only=1, prompts=[f"Prompt {n}" for n in range(80)])
        assert isinstance(names["limited"], RateLimitedProvider)
        assert len(names["results"]) == 80
        assert all(response.attempts == 1 for response in names["results"])
        assert strict.stats().rate_limited == 0
        assert 1 < strict.stats().max_in_flight <= 10


def test_a_batch_is_one_request(reader):
    names = reader.read("Batches")
    assert reader.asked == 3 + 1
    assert names["embeddings"].tolist()[2] == names["embedding"].tolist()[0], "in the order of the texts"


def test_what_the_cache_holds_is_bounded_and_told(reader):
    names = reader.read("Cache configuration")
    config, cached = names["cache"].config, names["cached"]
    assert (config.max_entries, config.max_bytes, config.ttl) == (1000, 50_000_000, 3600)
    cached.sync.complete("hi")
    cached.sync.embed(["hi"])
    assert names["cache"].stats().entries == 2
    assert names["cache"].stats().bytes > 0


def test_a_short_text_is_estimated(reader):
    names = reader.read("Counting tokens")
    assert names["count"] == -(-len(names["text"]) // 4)
    assert names["count_tokens_if_needed"]("word " * 2001, "gpt-4o-mini") == 2001 + 1


def test_the_table_of_tasks_is_the_one_that_recommends(reader):
    rows = [(row["task"], code(row["model"])[0], row["why"]) for row in table(TEXT, "A model for each task")]
    assert rows == [(entry.task, entry.model, entry.reason) for entry in TASKS]
    reader.read("A model for each task")
    assert reader.printed == ["openai gpt-3.5-turbo Fast and cheap"]


def test_gpt_4o_mini_is_10x_cheaper():
    pytest.importorskip("genai_prices", reason="the optional package genai-prices is not installed")
    mini, full = (ModelCatalog().find(model, "openai").prices for model in ("gpt-4o-mini", "gpt-4o"))
    assert 10 * mini.input <= full.input
    assert 10 * mini.output <= full.output


def test_faster_models_are_cheaper_ones_that_there_are(reader):
    pytest.importorskip("genai_prices", reason="the optional package genai-prices is not installed")
    for row in table(TEXT, "Time to first token"):
        faster, better = (
            ModelCatalog().find(code(row[name])[0], row["provider"].lower()) for name in ("faster", "better")
        )
        assert faster.prices.input < better.prices.input
        assert not faster.deprecated
        assert not better.deprecated


def test_what_was_asked_before_is_free(reader):
    reader.read("Cache configuration")
    names = reader.read("Response caching")
    assert reader.asked == 1
    assert reader.printed == ["True"]
    assert ModelCatalog().cost(names["response"]).total == 0


def test_the_provider_reads_what_it_has_cached(reader):
    names = reader.read("Prompt caching by the provider")
    first, second = names["first"].usage, names["second"].usage
    assert first.cached_tokens == 0
    assert 1000 < second.cached_tokens <= first.cache_write_tokens
    assert second.cached_tokens > 0.9 * second.prompt_tokens
    assert names["response"].usage.cached_tokens == second.cached_tokens, "marks by hand cover the same beginning"


def test_a_tenth_of_the_price():
    pytest.importorskip("genai_prices", reason="the optional package genai-prices is not installed")
    prices = ModelCatalog().find("claude-haiku-4-5", "anthropic").prices
    assert prices.cache_read * 10 == prices.input


def test_a_provider_for_each_call_makes_no_connection_of_its_own(reader):
    reader.read("One pool")
    assert reader.asked == 6
    assert reader.sim.stats().connections == 1


def test_connections_are_kept(reader):
    names = reader.read("Keep-alive")
    assert reader.printed == ["HTTP/1.1"], "in clear"
    names["provider"].sync.complete("hi")
    assert reader.sim.stats().connections == 1
    assert HTTPConfig().keep_alive == 90


async def test_many_calls_share_a_connection_over_http2():
    with Simulator(tls=True, tokens=3, ttft=0.01) as sim:
        llm = sim.provider("openai", tls=True)
        await llm.complete("hi")
        answers = await asyncio.gather(*(llm.complete(f"Prompt {n}") for n in range(20)))
        assert {answer.http_version for answer in answers} == {"HTTP/2"}
        assert sim.stats().connections == 1


def test_every_piece_is_shown(reader):
    reader.read("Display")
    assert len(reader.printed) == 12


def test_the_rate_is_told_on_the_way(reader):
    reader.sim.push(tokens=10, gap=0.002)
    reader.read("Token rate", only=0)
    assert len(reader.printed) == 10
    assert float(re.search(r"[\d.]+", reader.printed[-1])[0]) > 0
    reader.sim.push(tokens=10, gap=0.002)
    metrics = reader.read("Token rate", only=1)["metrics"]
    assert metrics.output_tokens >= 10
    rate = metrics.tokens_per_second
    assert rate > 0
    assert metrics.tokens_per_second == rate, "it stands still"


def test_ollama_is_told_what_it_alone_has(world, reader, sim, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", sim.base_url("ollama"))
    reader.read("Ollama")
    [request] = sim.requests()
    assert b'"num_gpu":99' in request["body"]
    assert b'"keep_alive":"1h"' in request["body"]


def test_a_long_context_is_stored_by_gemini(reader):
    names = reader.read("Gemini")
    assert names["response"].usage.cached_tokens > 32_000
    asked = reader.asked
    reader.read("Gemini")
    assert reader.asked <= asked


def test_every_answer_brings_what_it_took(reader):
    reader.read("Measure")
    total, tokens, rate = (float(re.search(r"[\d.]+", line)[0]) for line in reader.printed)
    assert tokens == 12
    assert min(total + 1, rate) > 0


def test_providers_are_compared(reader, world):
    reader.read("Compare providers")
    assert [line.split(":")[0] for line in reader.printed] == ["openai", "anthropic", "ollama"]
    command = re.search(r"```sh\nedgequake-llm (.*)\n```", section(TEXT, "Compare providers"))[1]
    done = subprocess.run(
        [sys.executable, "-m", "edgequake_llm", *shlex.split(command)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [
        ["openai", "gpt-4o-mini"],
        ["anthropic", "claude-haiku-4-5"],
        ["ollama", "llama3.2"],
    ]
