"""Wrappers lose nothing: whatever is put around a provider, and in whichever order, it makes the same requests and gives the same.

The bare provider is the oracle: each test makes the same calls of both, with an empty cache and limits out of reach.
"""

from __future__ import annotations

import asyncio
import inspect
import re

import pytest

from edgequake_llm import (
    CachedProvider,
    CompletionOptions,
    LLMCache,
    LLMError,
    OpenAIProvider,
    Provider,
    RateLimitedProvider,
    RateLimiterConfig,
    Timeouts,
    TotalTimeout,
    UnsupportedOption,
)
from support.raw import HOLD, RawServer, answer, openai_answer

PLENTY = RateLimiterConfig(max_concurrent=50, requests_per_minute=1_000_000, tokens_per_minute=1_000_000_000)


def cached(llm):
    return CachedProvider(llm, LLMCache())


def limited(llm):
    return RateLimitedProvider(llm, PLENTY)


WRAPPINGS = {
    "cached": cached,
    "limited": limited,
    "cached(limited)": lambda llm: cached(limited(llm)),
    "limited(cached)": lambda llm: limited(cached(llm)),
}


@pytest.fixture(params=WRAPPINGS)
def wrap(request):
    return WRAPPINGS[request.param]


def lookup(city: str) -> dict[str, str]:
    """Tell the weather of a city."""
    return {"city": city, "weather": "sunny"}


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}

# A value for every option that there is; the providers refuse some of them, and so must what is around them.
OPTIONS = {
    "max_tokens": 77,
    "temperature": 0.0,
    "top_p": 0.5,
    "top_k": 7,
    "stop": ["END"],
    "seed": 11,
    "presence_penalty": 0.25,
    "frequency_penalty": -0.25,
    "user": "somebody",
    "metadata": {"user_id": "somebody"},
    "tools": [lookup],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "response_format": SCHEMA,
    "reasoning": "low",
    "prompt_cache_key": "key",
    "cached_content": "cachedContents/1",
    "extra": {"own_field": [1, {"two": 2.0}]},
    "model": "another-model",
    "system": "Be brief.",
    "timeout": 20.0,
    "extra_headers": {"x-mine": "1"},
    "drop_unsupported": True,
}


def fields(name):
    """The option by itself, or with what it needs beside it."""
    needs = {"tool_choice": ["tools"], "parallel_tool_calls": ["tools"]}.get(name, [])
    return {each: OPTIONS[each] for each in [name, *needs]}


@pytest.fixture
def sent(sim):
    """A function: what the simulator has received since the last time, as far as it is the caller's."""
    seen = 0

    def since():
        nonlocal seen
        got = [(r["path"], r["body"], r["headers"].get("x-mine")) for r in sim.requests()]
        new, seen = got[seen:], len(got)
        return new

    return since


async def outcome(awaitable):
    """What a call gives, or why it does not."""
    try:
        return shown(await awaitable)
    except LLMError as error:
        return type(error), error.message, error.status


def shown(response):
    names = ("content", "thinking", "refusal", "finish_reason", "model", "provider", "usage", "cached", "attempts")
    calls = [(call.name, call.parse()) for call in response.tool_calls]
    return {**{name: getattr(response, name) for name in names}, "tool_calls": calls}


async def read(stream):
    try:
        # The simulator numbers the calls of tools through.
        events = [re.sub(r"id='\w+'", "id", repr(event)) async for event in stream.events()]
        return events, shown(stream.response)
    except LLMError as error:
        return type(error), error.message, error.status


def test_every_option_is_tried_here():
    assert set(OPTIONS) == set(CompletionOptions.__match_args__)


@pytest.mark.parametrize("name", OPTIONS)
async def test_every_option_passes(sim, sent, llm, wrap, name):
    for form in (fields(name), {"options": CompletionOptions(**fields(name))}):
        plain = await outcome(llm.complete("hi", **form)), sent()
        assert (await outcome(wrap(llm).complete("hi", **form)), sent()) == plain
        plain = await outcome(llm.chat([{"role": "user", "content": "hi"}], **form)), sent()
        assert (await outcome(wrap(llm).chat([{"role": "user", "content": "hi"}], **form)), sent()) == plain
        try:
            stream, bare = wrap(llm).stream("hi", **form), llm.stream("hi", **form)
        except UnsupportedOption:
            sent()
            with pytest.raises(UnsupportedOption):
                llm.stream("hi", **form)
            continue
        got = await read(stream), await read(bare)
        assert got[0] == got[1]
        both = sent()
        assert len(both) in {0, 2}
        assert both[:1] == both[1:]


async def test_the_timeout_of_a_call_holds(wrap):
    with RawServer([HOLD]) as server:
        llm = wrap(OpenAIProvider("key", model="m", base_url=server.url, retry=0))
        with pytest.raises(TotalTimeout):
            await llm.complete("hi", timeout=0.05)
        with pytest.raises(TotalTimeout):
            await llm.complete("hi", timeout=Timeouts(total=0.05))


async def test_tool_calls_and_their_results_pass(sim, sent, llm, wrap):
    sim.push(tool_calls=[("lookup", '{"city":"Rome"}')])
    sim.push(text="It is sunny.")
    result = await wrap(llm).run("How is the weather?", tools=[lookup])
    assert (result.content, result.rounds) == ("It is sunny.", 2)
    got = sent()
    sim.push(tool_calls=[("lookup", '{"city":"Rome"}')])
    sim.push(text="It is sunny.")
    await llm.run("How is the weather?", tools=[lookup])
    want = sent()
    assert len(got) == len(want) == 2
    assert got[0] == want[0]
    assert b"sunny" in got[1][1]


async def test_streamed_tool_calls_pass(sim, llm, wrap):
    sim.push(tool_calls=[("lookup", '{"city":"Rome"}'), ("lookup", '{"city":"Oslo"}')])
    async with wrap(llm).stream("hi", tools=[lookup]) as stream:
        kinds = {type(event).__name__ async for event in stream.events()}
    assert [call.parse() for call in stream.response.tool_calls] == [{"city": "Rome"}, {"city": "Oslo"}]
    assert {"ToolCallStart", "ToolCallDelta", "FinishEvent"} <= kinds
    assert stream.metrics.ttft_ms is not None


async def test_structured_answers_pass(sim, llm, wrap):
    sim.push(text='{"n": 5}')
    response = await wrap(llm).complete("hi", response_format=SCHEMA)
    assert response.parsed == {"n": 5}


@pytest.mark.parametrize(
    "field", [{}, {"model": "m2"}, {"dimensions": 8}, {"task_type": "RETRIEVAL_QUERY"}, {"extra": {"a": 1}}]
)
async def test_embeddings_and_their_options_pass(sim, sent, llm, wrap, field):
    texts = ["one", "two", "three", "two"]

    async def embed(provider):
        try:
            vectors = await provider.embed(texts, extra_headers={"x-mine": "1"}, **field)
            return vectors.tolist(), vectors.model, vectors.provider
        except (UnsupportedOption, ValueError) as error:
            return str(error)

    want, plain = await embed(llm), sent()
    got, around = await embed(wrap(llm)), sent()
    assert got == want
    assert [(path, header) for path, _, header in plain] == [(path, header) for path, _, header in around]


async def test_many_texts_come_in_order_and_in_batches(sim, sent, wrap):
    llm = sim.provider()
    texts = [f"text {n}" for n in range(5000)]
    want, bare = await llm.embed(texts), len(sent())
    got, around = await wrap(llm).embed(texts), len(sent())
    assert got.tolist() == want.tolist()
    assert (bare, around) == (3, 3)


async def test_lists_counts_and_requests_of_ones_own_pass(wrap):
    replies = [answer({"data": [{"id": "m"}], "has_more": False}), answer({"input_tokens": 12}), answer({"own": 1})]
    with RawServer(*([reply] for reply in replies)) as server:
        from edgequake_llm import AnthropicProvider

        llm = wrap(AnthropicProvider("key", model="m", base_url=server.url, retry=0))
        assert [model.id for model in await llm.list_models()] == ["m"]
        assert await llm.count_tokens("hi") == 12
        await llm.request("GET", "/v1/own")
        assert len(server.requests) == 3


def test_the_same_without_an_event_loop(sim, sent, llm, wrap):
    around = wrap(llm)
    for each in (llm, around):
        response = each.sync.complete("hi", max_tokens=50)
        streamed = "".join(each.sync.stream("other", max_tokens=50))
        assert response.content
        assert streamed
        if llm.name != "anthropic":
            assert len(each.sync.embed(["one", "two"])) == 2
    both = sent()
    half = len(both) // 2
    assert both[:half] == both[half:]
    assert half >= 2


def test_everything_of_a_provider_is_there(llm, wrap):
    around = wrap(llm)
    assert isinstance(around, Provider)
    for name in ("name", "model", "embedding_model", "base_url"):
        assert getattr(around, name) == getattr(llm, name)
    for name, _ in inspect.getmembers(llm, callable):
        if not name.startswith("_"):
            assert callable(getattr(around, name)), name
    for name in dir(llm.sync):
        if not name.startswith("_"):
            assert hasattr(around.sync, name), name


async def test_hits_take_no_allowance_and_know_it(sim, sent, wrap):
    around = wrap(sim.provider())
    if "Cached" not in repr(around):
        pytest.skip("no cache in it")
    first = await around.complete("hi")
    streamed = "".join([text async for text in around.stream("hi")])
    again = await around.complete("hi")
    assert (first.cached, again.cached) == (False, True)
    assert again.content == first.content == streamed
    await around.embed(["a", "b"])
    await around.embed(["b", "a"])
    assert len(sent()) == 2


async def test_equal_calls_at_once_take_one_slot_and_one_request(sim, sent, wrap):
    around = wrap(sim.provider())
    if "Cached" not in repr(around):
        pytest.skip("no cache in it")
    sim.push(ttft=0.05)
    responses = await asyncio.gather(*(around.complete("hi") for _ in range(50)))
    assert len({response.content for response in responses}) == 1
    assert len(sent()) == 1


async def test_a_cancelled_call_gives_back_its_slot_through_any_wrapping(wrap):
    with RawServer([HOLD], [answer(openai_answer("hi"))]) as server:
        inner = RateLimitedProvider(
            OpenAIProvider("key", model="m", base_url=server.url, retry=0), RateLimiterConfig(max_concurrent=1)
        )
        around = wrap(inner)
        first = asyncio.create_task(around.complete("first"))
        second = asyncio.create_task(around.complete("second"))
        while inner.limiter.status.waiting != 1 or not server.requests:
            await asyncio.sleep(0.001)
        first.cancel()
        assert (await second).content == "hi"
        assert inner.limiter.status.running == 0
