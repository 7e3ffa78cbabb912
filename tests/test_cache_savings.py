"""What hits saved: tokens, and their price, each call's as if it had been made."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal

import pytest

from edgequake_llm import (
    CachedProvider,
    ConfigurationError,
    CostSaved,
    LLMCache,
    LLMResponse,
    ModelCatalog,
    OpenAIProvider,
    TokenPrices,
    Usage,
)
from support.raw import RawServer, answer, openai_answer

PRICES = TokenPrices(input="1.5", output="6", cache_read="0.15", reasoning="7", request="0.01")


def catalog(*names, prices=PRICES):
    return ModelCatalog(own=dict.fromkeys(names, prices))


def told(prompt, completion, cached=0, thinking=0):
    """Return an answer's usage as OpenAI tells it."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }


async def asked(usages, hits, model="m"):
    """Ask once for an answer of each usage, and once more for each hit; return the answers and the cache's statistics."""
    scripts = [[answer(openai_answer("x", usage=usage, model=model))] for usage in usages]
    with RawServer(*scripts) as server:
        provider = CachedProvider(OpenAIProvider("key", model="asked", base_url=server.url, retry=0), LLMCache())
        paid = [await provider.complete(f"{number}") for number in range(len(usages))]
        for number, times in enumerate(hits):
            for _ in range(times):
                assert (await provider.complete(f"{number}")).cached
        return paid, provider.cache.stats()


async def test_a_hit_saves_what_the_answer_cost(llm, sim):
    cache = LLMCache()
    provider = CachedProvider(llm, cache)
    paid = await provider.complete("hi")
    prices = catalog(f"{paid.provider}/{paid.model}")
    assert cache.stats().cost_saved(prices) == CostSaved(Decimal(0))
    await provider.complete("hi")
    provider.sync.complete("hi")
    async for _ in provider.stream("hi"):
        pass
    saved = cache.stats().cost_saved(prices)
    assert saved == CostSaved(3 * prices.cost(paid).total)
    assert saved.total > 0
    (row,) = cache.stats().savings
    assert (row.provider, row.model, row.calls) == (paid.provider, paid.model, 3)
    assert row.usage == paid.usage + paid.usage + paid.usage
    assert cache.stats().tokens_saved == row.usage.total_tokens


async def test_every_kind_of_token_has_its_price_and_so_has_the_request():
    paid, stats = await asked([told(1000, 500, cached=800, thinking=100), told(10, 20)], [3, 1])
    prices = catalog("openai/m")
    first, second = (prices.cost(response).total for response in paid)
    assert stats.cost_saved(prices).total == 3 * first + second
    by_hand = (200 * Decimal("1.5") + 800 * Decimal("0.15") + 400 * 6 + 100 * 7) / 1_000_000 + Decimal("0.01")
    assert first == by_hand


async def test_long_prompts_have_their_own_prices():
    tiers = ((1000, TokenPrices(input=3, output=8)), (2000, TokenPrices(input=5, output=9)))
    prices = catalog("openai/m", prices=TokenPrices(input=1, output=2, tiers=tiers))
    usages = [told(prompt, 7) for prompt in (0, 1, 999, 1000, 1001, 1999, 2000, 2001, 5000)]
    hits = list(range(1, 10))
    paid, stats = await asked(usages, hits)
    each = [times * prices.cost(response).total for times, response in zip(hits, paid, strict=True)]
    assert stats.cost_saved(prices).total == sum(each)


async def test_what_has_no_price_is_named_and_left_out():
    _, stats = await asked([told(10, 5)], [2], model="unheard-of")
    prices = catalog("openai/other")
    prices._snapshot = _Nothing()
    assert stats.cost_saved(prices) == CostSaved(Decimal(0), ("openai/unheard-of",), 30)


class _Nothing:
    """Data that knows no model."""

    providers = ()

    def find_provider_model(self, *_):
        raise LookupError


async def test_an_answer_that_names_no_model_or_no_tokens():
    _, stats = await asked([told(10, 5)], [1], model="")
    assert [row.model for row in stats.savings] == ["asked"]
    _, stats = await asked([None], [4])
    assert (stats.savings, stats.tokens_saved, stats.hits) == ((), 0, 4)


async def test_calls_that_share_a_request_save_too(sim):
    provider = CachedProvider(sim.provider(), LLMCache())
    answers = await asyncio.gather(*(provider.complete("hi") for _ in range(10)))
    streams = [provider.stream("ho") for _ in range(10)]
    for stream in streams:
        async for _ in stream:
            pass
    paid = [one for one in [*answers, *(stream.response for stream in streams)] if not one.cached]
    prices = catalog(*(f"openai/{one.model}" for one in paid))
    assert len(paid) == 2
    assert provider.cache.stats().cost_saved(prices).total == 9 * sum(prices.cost(one).total for one in paid)


async def test_known_texts_save_the_price_of_their_tokens(sim):
    provider = CachedProvider(sim.provider(), LLMCache())
    texts = ["a", "some longer text", "ééé"]
    paid = await provider.embed(texts)
    prices = catalog(f"openai/{paid.model}", prices=TokenPrices(input="0.02", output=0))
    for text in texts:
        await provider.embed([text, "new " + text])
    assert provider.cache.stats().cost_saved(prices).total == prices.cost(paid).total > 0


async def test_prices_come_from_the_maintained_data_unless_told(sim):
    pytest.importorskip("genai_prices", reason="the optional package genai-prices is not installed")
    provider = CachedProvider(sim.provider("openai", model="gpt-4o-mini"), LLMCache())
    paid = await provider.complete("hi")
    await provider.complete("hi")
    assert provider.cache.stats().cost_saved() == CostSaved(ModelCatalog().cost(paid).total)


async def test_without_the_data_it_says_what_to_install(monkeypatch):
    _, stats = await asked([told(10, 5)], [1])
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    with pytest.raises(ConfigurationError, match=r"edgequake-llm\[prices\]"):
        stats.cost_saved()
    assert stats.tokens_saved == 15, "tokens are told without it"
    assert LLMCache().stats().cost_saved() == CostSaved(Decimal(0)), "nothing needs no prices"


def test_own_values_save_nothing():
    cache = LLMCache()
    cache.set("key", LLMResponse("x", model="m", provider="openai", usage=Usage(prompt_tokens=3)))
    cache.get("key")
    assert cache.stats().savings == ()


async def test_its_repr_tells_what_it_holds():
    _, stats = await asked([told(10, 5)], [1])
    expected = "CacheSaving(provider='openai', model='m', calls=1, usage=Usage(prompt_tokens=10, completion_tokens=5), "
    assert repr(stats.savings[0]) == expected + "longest_prompt=10)"
