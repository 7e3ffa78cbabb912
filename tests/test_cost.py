"""Costs: each token priced once, exactly, against the data package's own calculation; nothing where no price is known."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgequake_llm import CachePromptConfig, ChatMessage, Cost, InvalidRequestError, ModelCatalog, TokenPrices, Usage

genai_prices = pytest.importorskip("genai_prices", reason="the optional package genai-prices is not installed")

CATALOG = ModelCatalog()


@st.composite
def usages(draw, most=400_000):
    plain, read, write, output, thinking = (draw(st.integers(0, most)) for _ in range(5))
    return Usage(
        prompt_tokens=plain + read + write,
        cached_tokens=read,
        cache_write_tokens=write,
        completion_tokens=output + thinking,
        reasoning_tokens=thinking,
    )


MODELS = [
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-5"),
    ("openai", "text-embedding-3-small"),
    ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-sonnet-4-5"),
    ("gemini", "gemini-2.5-pro"),
    ("gemini", "gemini-2.5-flash"),
    ("deepseek", "deepseek-chat"),
    ("xai", "grok-4"),
    ("groq", "llama-3.3-70b-versatile"),
    ("mistral", "mistral-large-latest"),
    ("perplexity", "sonar"),
]


@settings(deadline=None)
@given(st.sampled_from(MODELS), usages())
def test_costs_equal_the_data_packages_own_calculation(model, usage):
    provider, name = model
    theirs = {"gemini": "google", "xai": "x-ai"}.get(provider, provider)
    from datetime import datetime, timezone

    at = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
    expected = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.prompt_tokens,
            cache_read_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            output_tokens=usage.completion_tokens,
            output_reasoning_tokens=usage.reasoning_tokens,
        ),
        name,
        provider_id=theirs,
        genai_request_timestamp=at,
    )
    cost = CATALOG.cost(usage, model=name, provider=provider, at=at)
    assert (cost.input, cost.output, cost.total) == (expected.input_price, expected.output_price, expected.total_price)


RATES = st.builds(
    TokenPrices,
    input=st.decimals(0, 100, places=4),
    output=st.decimals(0, 100, places=4),
    cache_read=st.none() | st.decimals(0, 100, places=4),
    cache_write=st.none() | st.decimals(0, 100, places=4),
    cache_write_1h=st.none() | st.decimals(0, 100, places=4),
    reasoning=st.none() | st.decimals(0, 100, places=4),
    request=st.decimals(0, 1, places=4),
)


@given(usages(most=10_000_000), RATES)
def test_each_token_is_priced_once_and_exactly(usage, rates):
    """Against fractions, token by token."""

    def rate(*names):
        return next(Fraction(value) for name in names if (value := getattr(rates, name)) is not None)

    plain = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
    answer = usage.completion_tokens - usage.reasoning_tokens
    spent = (
        plain * rate("input")
        + usage.cached_tokens * rate("cache_read", "input")
        + usage.cache_write_tokens * rate("cache_write", "input")
        + answer * rate("output")
        + usage.reasoning_tokens * rate("reasoning", "output")
    ) / 1_000_000 + rate("request")
    cost = ModelCatalog({"m": rates}).cost(usage, model="m")
    assert Fraction(cost.total) == spent
    uncached = Fraction(usage.prompt_tokens) * rate("input") / 1_000_000
    assert Fraction(cost.saved) == uncached - Fraction(cost.input)


def test_cached_tokens_are_not_charged_twice():
    usage = Usage(prompt_tokens=1_000_000, cached_tokens=900_000, completion_tokens=0)
    prices = ModelCatalog({"m": TokenPrices("0.50", "2", cache_read="0.05")})
    cost = prices.cost(usage, model="m")
    assert cost.total == Decimal("0.095"), "and not 0.545"
    assert cost.saved == Decimal("0.405")


def test_cache_writes_are_charged_once_and_reading_pays_them_back():
    haiku = {"model": "claude-haiku-4-5", "provider": "anthropic"}
    write = CATALOG.cost(Usage(prompt_tokens=100_000, cache_write_tokens=100_000), **haiku)
    read = CATALOG.cost(Usage(prompt_tokens=100_000, cached_tokens=100_000), **haiku)
    assert (write.total, write.saved) == (Decimal("0.125"), Decimal("-0.025"))
    assert (read.total, read.saved) == (Decimal("0.01"), Decimal("0.09"))
    assert (write + read).saved == Decimal("0.065")
    assert sum([write, read]) == write + read


def test_the_tier_is_that_of_the_whole_prompt():
    pro = {"model": "gemini-2.5-pro", "provider": "gemini"}
    below = CATALOG.cost(Usage(prompt_tokens=200_000, completion_tokens=10), **pro)
    above = CATALOG.cost(Usage(prompt_tokens=200_001, completion_tokens=10), **pro)
    assert below.input == Decimal("0.25")
    assert above.input == Decimal("0.5000025"), "the whole call, and not only what is above"
    cached = CATALOG.cost(Usage(prompt_tokens=300_000, cached_tokens=300_000), **pro)
    assert cached.input == Decimal("0.075")


async def test_the_cost_of_a_response(sim):
    response = await sim.provider("openai", model="gpt-4o-mini").complete("hi")
    cost = CATALOG.cost(response)
    expected = (
        response.usage.prompt_tokens * Decimal("0.15") + response.usage.completion_tokens * Decimal("0.6")
    ) / 10**6
    assert cost.total == expected
    async with sim.provider("gemini", model="gemini-2.5-flash").stream("hi") as stream:
        async for _ in stream:
            pass
    assert CATALOG.cost(stream.response).total > 0
    vectors = await sim.provider("openai").embed(["a text"])
    assert CATALOG.cost(vectors).total == vectors.usage.prompt_tokens * Decimal("0.02") / 10**6
    assert CATALOG.cost(await sim.provider("ollama").complete("hi")) is None, "a model of one's own"
    assert CATALOG.cost(await sim.provider("openai", model="mine").complete("hi")) is None
    assert CATALOG.cost(response, model="gpt-4o").total > cost.total


async def test_prompt_caching_saves_what_the_usage_says(sim):
    llm = sim.provider(
        "anthropic", model="claude-sonnet-4-5", prompt_cache=CachePromptConfig(ttl="1h", cache_last_turns=0)
    )
    prompt = [ChatMessage.system("word " * 8000), ChatMessage.user("hi")]
    first, second = CATALOG.cost(await llm.chat(prompt)), CATALOG.cost(await llm.chat(prompt))
    assert first.saved < 0 < second.saved
    assert second.saved / -first.saved == Decimal("0.9"), "twice the price to write, a tenth to read"


class _Answer:
    provider, model, cached = "openai", "nobody-knows", True
    usage = None


def test_what_came_from_our_own_cache_costs_nothing_and_no_usage_has_no_cost():
    answer = _Answer()
    assert CATALOG.cost(answer) == Cost(Decimal(0), Decimal(0), Decimal(0))
    answer.cached = False
    assert CATALOG.cost(answer) is None
    with pytest.raises(InvalidRequestError, match="model="):
        CATALOG.cost(Usage(prompt_tokens=1))


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        (["--provider", "openai", "--model", "gpt-4o-mini"], "$"),
        (["--provider", "openai", "--model", "nobody-knows"], None),
        (["--provider", "openai", "--model", "gpt-4o-mini", "--base-url"], None),
        ([], None),
    ],
    ids=["known", "unknown", "an address of one's own", "the simulator"],
)
def test_the_command_line_shows_the_cost_where_it_is_known(sim, monkeypatch, capsys, settings, shown):
    from edgequake_llm import OpenAIProvider, cli

    if settings:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
    if settings[-1:] == ["--base-url"]:
        settings = [*settings, sim.base_url("openai")]
    else:
        # What the class has as the provider's own address costs what the provider says.
        monkeypatch.setattr(OpenAIProvider, "default_base_url", sim.base_url("openai"))
    assert cli.main(["chat", "hi", *settings]) == 0
    metrics = capsys.readouterr().err.splitlines()[-1]
    assert ("$" in metrics) is (shown is not None), metrics
