"""`CachedProvider`: a provider that asks only for what it does not know, against the simulator and scripted servers."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import math
import os
import threading

import pytest

from edgequake_llm import (
    AnthropicProvider,
    CacheConfig,
    CachedProvider,
    ChatMessage,
    ClosedError,
    CompletionOptions,
    ConfigurationError,
    FinishEvent,
    HTTPConfig,
    InvalidRequestError,
    LLMCache,
    OpenAIProvider,
    Provider,
    RateLimitedProvider,
    RateLimiterConfig,
    ServerError,
    Simulator,
    StreamInterrupted,
    TextDelta,
    Timeouts,
    TotalTimeout,
    UsageEvent,
)
from support.caching import cached, to
from support.processes import run
from support.raw import CLOSE, HOLD, RawServer, answer, head, openai_answer, openai_delta, sse
from support.waiting import aeventually, eventually


class FakeClock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def asked(sim):
    """Return how many requests the simulator has seen."""
    return sim.stats().requests


def inputs(sim):
    """Return the texts of each embedding request that the simulator has seen (OpenAI)."""
    return [json.loads(request["body"])["input"] for request in sim.requests()]


# ---- It is a provider ----


def test_it_is_a_provider_like_the_one_inside(llm):
    provider = cached(llm)
    assert isinstance(provider, Provider)
    for name in ("name", "model", "embedding_model", "base_url"):
        assert getattr(provider, name) == getattr(llm, name)
    assert provider.inner is llm
    assert repr(provider) == f"CachedProvider({llm!r})"


def test_what_cannot_be_wrapped_or_used_is_refused(llm):
    with pytest.raises(ConfigurationError, match="cache"):
        CachedProvider(llm, {})
    with pytest.raises(ConfigurationError, match="wrapped"):
        CachedProvider(object(), LLMCache())
    assert CachedProvider(llm, CacheConfig(max_entries=3)).cache.config.max_entries == 3


async def test_bad_input_raises_before_the_cache_is_asked(llm):
    provider = cached(llm)
    with pytest.raises(InvalidRequestError, match="temperature"):
        await provider.complete("hi", temperature=9)
    assert provider.cache.stats().misses == 0


# ---- Completions and chats ----


async def test_the_second_call_costs_nothing(llm, sim):
    provider = cached(llm)
    first = await provider.complete("hi", max_tokens=50)
    second = await provider.complete("hi", max_tokens=50)
    assert (first.cached, second.cached, asked(sim)) == (False, True, 1)
    assert (first.attempts, second.attempts) == (1, 0)
    for name in ("content", "finish_reason", "raw_finish_reason", "usage", "id", "model", "provider", "http_version"):
        assert getattr(first, name) == getattr(second, name), name
    assert second.message == first.message
    assert (second.raw, second.headers, second.rate_limits, second.request_id) == (None, {}, None, None)
    assert second.metrics.output_tokens == first.metrics.output_tokens
    assert second.metrics.total_ms < first.metrics.total_ms
    stats = provider.cache.stats()
    assert (stats.hits, stats.misses, stats.entries) == (1, 1, 1)
    assert stats.tokens_saved == first.usage.total_tokens


async def test_complete_chat_stream_and_sync_share_their_answers(llm, sim):
    provider = cached(llm)
    first = await provider.complete("hi")
    assert (await provider.chat([ChatMessage.user("hi")])).cached
    assert (await provider.chat([{"role": "user", "content": "hi"}])).cached
    assert provider.sync.complete("hi").cached
    assert provider.sync.chat("hi").cached
    assert "".join(provider.sync.stream("hi")) == first.content
    assert "".join([text async for text in provider.stream("hi")]) == first.content
    assert asked(sim) == 1


async def test_tool_calls_are_kept_whole(llm, sim):
    sim.push(tool_calls=[("weather", '{"city": "Bern"}'), ("time", "{}")])
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
        for name in ("weather", "time")
    ]
    provider = cached(llm)
    first = await provider.chat("hi", tools=tools)
    second = await provider.chat("hi", tools=tools)
    assert [call.name for call in first.tool_calls] == ["weather", "time"]
    assert second.cached
    assert second.tool_calls == first.tool_calls
    streamed = provider.stream("hi", tools=tools)
    assert [type(event).__name__ async for event in streamed.events()][-1] == "FinishEvent"
    assert streamed.response.tool_calls == first.tool_calls
    assert asked(sim) == 1


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        *(({}, True), ({"temperature": 0}, True), ({"temperature": 0.0}, True), ({"temperature": 0.7}, False)),
        *(({"extra": {"temperature": 0.7}}, False), ({"temperature": 0.7, "extra": {"temperature": 0}}, True)),
        ({"top_p": 0.5}, True),
    ],
)
async def test_a_temperature_is_kept_only_when_asked(sim, options, kept):
    llm = sim.provider()
    provider = cached(llm)
    for _ in range(2):
        await provider.complete("hi", **options)
        async for _ in provider.stream("hi", **options):
            pass
    assert asked(sim) == (1 if kept else 4)
    assert provider.cache.stats().entries == (1 if kept else 0)
    generous = cached(llm, cache_nonzero_temperature=True)
    await generous.complete("hi", **options)
    assert (await generous.complete("hi", **options)).cached


async def test_each_kind_can_be_left_out(sim):
    llm = sim.provider()
    provider = cached(llm, cache_completions=False)
    await provider.complete("hi")
    assert not (await provider.complete("hi")).cached
    await provider.embed(["a"])
    assert (await provider.embed(["a"])).cached
    provider = cached(llm, cache_embeddings=False)
    await provider.embed(["a"])
    assert not (await provider.embed(["a"])).cached
    await provider.complete("hi")
    assert (await provider.complete("hi")).cached


async def test_failures_are_not_kept(llm, sim):
    provider = cached(llm)
    sim.push(status=400)
    with pytest.raises(InvalidRequestError):
        await provider.complete("hi")
    assert provider.cache.stats().entries == 0
    assert not (await provider.complete("hi")).cached


async def test_an_entry_can_be_read_and_taken_out(sim):
    provider = cached(sim.provider())
    first = await provider.complete("hi", seed=3)
    key = provider.chat_key("hi", seed=3)
    assert provider.cache.get(key).content == first.content
    assert provider.cache.peek(key).cached
    assert provider.cache.delete(key)
    assert not (await provider.complete("hi", seed=3)).cached
    vector = (await provider.embed(["a"]))[0].tolist()
    assert provider.cache.get(provider.embed_key("a")).tolist() == vector


async def test_a_cache_serves_several_providers_and_tells_them_apart(sim):
    cache = LLMCache()
    openai, again = (CachedProvider(sim.provider("openai"), cache) for _ in range(2))
    gemini = CachedProvider(sim.provider("gemini"), cache)
    await openai.complete("hi")
    assert (await again.complete("hi")).cached
    assert not (await gemini.complete("hi")).cached


async def test_it_keeps_to_its_limits(sim):
    provider = cached(sim.provider(), max_entries=3)
    for prompt in "abcab":
        await provider.complete(prompt)
    await provider.complete("d")
    assert [(await provider.complete(prompt)).cached for prompt in "abd"] == [True, True, True]
    stats = provider.cache.stats()
    assert (stats.entries, stats.evictions) == (3, 1)
    small = cached(sim.provider(), max_bytes=100)
    await small.complete("a")
    assert (small.cache.stats().entries, small.cache.stats().bytes) == (0, 0)


async def test_answers_and_vectors_die_with_their_time(sim):
    clock = FakeClock()
    provider = CachedProvider(sim.provider(), LLMCache(CacheConfig(ttl=10), clock=clock))

    async def known():
        read = provider.stream("ho")
        async for _ in read:
            pass
        return [(await provider.complete("hi")).cached, (await provider.embed(["a"])).cached, read.response.cached]

    assert await known() == [False] * 3
    clock.now = 9.875
    assert await known() == [True] * 3
    clock.now = 10
    assert await known() == [False] * 3
    assert provider.cache.stats().expirations == 3


async def test_an_entry_weighs_little_more_than_what_it_holds():
    """By the cache's own count; `benches/cache_memory.py` compares that with the process's memory."""
    with Simulator(text="x" * 1024, embedding_dims=1536) as sim:
        answers, vectors = (cached(sim.provider()) for _ in range(2))
        for n in range(10):
            await answers.complete(f"{n}")
        await vectors.embed([f"{n}" for n in range(10)])
    assert 10 * 1024 < answers.cache.stats().bytes < 10 * 2000
    assert 10 * 6144 < vectors.cache.stats().bytes < 10 * 6500


# ---- Streams ----


async def test_a_whole_stream_is_kept_and_replayed(llm, sim):
    provider = cached(llm)
    async with provider.stream("hi") as first:
        text = "".join([piece async for piece in first])
    assert not first.response.cached
    async with provider.stream("hi") as second:
        events = [event async for event in second.events()]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == text
    assert isinstance(events[-1], FinishEvent)
    assert any(isinstance(event, UsageEvent) for event in events)
    assert second.response.cached
    assert second.response.content == text
    assert second.response.usage == first.response.usage
    assert second.metrics.output_tokens == first.metrics.output_tokens
    assert (await provider.complete("hi")).cached
    assert asked(sim) == 1


async def test_a_replayed_stream_is_a_stream(sim):
    provider = cached(sim.provider())
    await provider.complete("hi")
    stream = provider.stream("hi")
    assert await stream is stream
    assert [text async for text in stream] == [(await provider.complete("hi")).content]
    await stream.aclose()
    async with provider.stream("hi") as left:
        pass
    with pytest.raises(ClosedError):
        left.response  # noqa: B018 - reading it raises
    with provider.sync.stream("hi") as stream:
        assert list(stream)
        assert stream.response.cached
    assert asked(sim) == 1


async def test_a_stream_that_breaks_off_is_not_kept(llm, sim):
    provider = cached(llm)
    sim.push(fault="cut", after_events=3)
    with pytest.raises(StreamInterrupted):
        async for _ in provider.stream("hi"):
            pass
    assert provider.cache.stats().entries == 0
    assert [text async for text in provider.stream("hi")]
    assert asked(sim) == 2
    assert provider.cache.stats().entries == 1


async def test_a_stream_that_is_left_is_not_kept():
    with RawServer([head(), sse(openai_delta("a")), HOLD]) as server:
        provider = to(server)
        async with provider.stream("hi") as stream:
            await anext(stream)
        await aeventually(lambda: server.closed_by_client == 1)
        assert provider.cache.stats().entries == 0


# ---- Single flight ----


async def test_a_thousand_equal_calls_make_one_request(llm, sim):
    provider = cached(llm)
    responses = await asyncio.gather(*(provider.complete("hi") for _ in range(1000)))
    assert asked(sim) == 1
    assert sum(not response.cached for response in responses) == 1
    assert len({response.content for response in responses}) == 1
    stats = provider.cache.stats()
    assert stats.hits + stats.misses == 1000
    assert stats.tokens_saved == 999 * responses[0].usage.total_tokens


async def test_those_who_wait_share_the_answer():
    release = threading.Event()
    with RawServer([release, answer(openai_answer("one"))]) as server:
        provider = to(server)
        calls = [asyncio.ensure_future(provider.complete("hi")) for _ in range(20)]
        await aeventually(lambda: len(server.requests) == 1 and provider.cache.stats().misses == 20)
        release.set()
        responses = await asyncio.gather(*calls)
        assert [response.cached for response in responses].count(False) == 1
        assert [response.attempts for response in responses].count(0) == 19
        assert (provider.cache.stats().shared, len(server.requests)) == (19, 1)


async def test_a_failure_reaches_all_and_is_not_kept():
    release = threading.Event()
    with RawServer([release, answer({"error": {"message": "down"}}, 500)], [answer(openai_answer("up"))]) as server:
        provider = to(server)
        calls = [asyncio.ensure_future(provider.complete("hi")) for _ in range(20)]
        await aeventually(lambda: len(server.requests) == 1 and provider.cache.stats().misses == 20)
        release.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ServerError}
        assert len(server.requests) == 1
        assert (await provider.complete("hi")).content == "up"


async def test_a_cancelled_caller_does_not_cancel_the_rest():
    release = threading.Event()
    with RawServer([release, answer(openai_answer("one"))]) as server:
        provider = to(server)
        calls = [asyncio.ensure_future(provider.complete("hi")) for _ in range(5)]
        await aeventually(lambda: len(server.requests) == 1 and provider.cache.stats().misses == 5)
        for call in calls[:4]:
            call.cancel()
        await asyncio.wait(calls[:4])
        release.set()
        last = await calls[4]
        assert (last.content, last.cached) == ("one", False), "now it is the one who pays"
        assert all(call.cancelled() for call in calls[:4])
        assert len(server.requests) == 1


async def test_the_last_one_leaving_takes_the_request_back():
    with RawServer([HOLD], [answer(openai_answer("two"))]) as server:
        provider = to(server)
        calls = [asyncio.ensure_future(provider.complete("hi")) for _ in range(5)]
        await aeventually(lambda: len(server.requests) == 1 and provider.cache.stats().misses == 5)
        for call in calls[:4]:
            call.cancel()
        await asyncio.wait(calls[:4])
        assert server.closed_by_client == 0
        calls[4].cancel()
        await asyncio.wait(calls)
        await aeventually(lambda: server.closed_by_client == 1)
        assert (await provider.complete("hi")).content == "two"


async def test_calls_that_are_dropped_leave_too():
    with RawServer([HOLD]) as server:
        provider = to(server)
        calls = [provider._core.chat("hi") for _ in range(3)]
        await aeventually(lambda: len(server.requests) == 1)
        del calls
        gc.collect()
        await aeventually(lambda: server.closed_by_client == 1)


async def test_each_caller_keeps_its_own_total_time():
    release = threading.Event()
    with RawServer([release, answer(openai_answer("one"))]) as server:
        provider = to(server)
        patient = asyncio.ensure_future(provider.complete("hi"))
        await aeventually(lambda: len(server.requests) == 1)
        with pytest.raises(TotalTimeout):
            await provider.complete("hi", timeout=0.05)
        release.set()
        assert (await patient).content == "one"


async def test_the_first_ones_haste_does_not_end_the_others_calls():
    release = threading.Event()
    with RawServer([HOLD], [release, answer(openai_answer("two"))]) as server:
        provider = to(server)
        hasty = asyncio.ensure_future(provider.complete("hi", timeout=0.5))
        await aeventually(lambda: len(server.requests) == 1)
        patient = asyncio.ensure_future(provider.complete("hi", timeout=60))
        release.set()
        with pytest.raises(TotalTimeout):
            await hasty
        assert (await patient).content == "two"


async def test_calls_of_other_patience_with_the_provider_do_not_share():
    with RawServer([HOLD], [answer(openai_answer("two"))]) as server:
        provider = to(server)
        first = asyncio.ensure_future(provider.complete("hi"))
        await aeventually(lambda: len(server.requests) == 1)
        assert (await provider.complete("hi", timeout=Timeouts(first_token=60))).content == "two"
        first.cancel()
        await asyncio.wait([first])


def test_loops_and_threads_share_one_request():
    release = threading.Event()
    with RawServer([release, answer(openai_answer("one"))]) as server:
        provider = to(server)
        outcomes = []

        def loop():
            outcomes.append(asyncio.run(_complete(provider)))

        def sync():
            outcomes.append(provider.sync.complete("hi"))

        threads = [threading.Thread(target=target) for target in (loop, sync, loop, sync)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(server.requests) == 1 and provider.cache.stats().misses == 4)
        release.set()
        for thread in threads:
            thread.join()
        assert [outcome.content for outcome in outcomes] == ["one"] * 4
        assert len(server.requests) == 1
        assert asyncio.run(_complete(provider)).cached, "a new loop hits as well"


async def _complete(provider):
    return await provider.complete("hi")


async def test_a_hit_does_not_suspend(sim):
    provider = cached(sim.provider())
    await provider.complete("hi")
    coroutine = provider.complete("hi")
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value.cached


# ---- Embeddings ----


async def test_only_unknown_texts_are_asked_for(sim):
    provider = cached(sim.provider())
    known = [f"known {n}" for n in range(90)]
    before = await provider.embed(known)
    new = [f"new {n}" for n in range(10)]
    texts = [text for pair in itertools.zip_longest(known, new) for text in pair if text is not None]
    vectors = await provider.embed(texts)
    assert inputs(sim) == [known, new]
    assert not vectors.cached
    plain = await sim.provider().embed(texts)
    assert vectors.tolist() == plain.tolist()
    assert before[3].tolist() == vectors[texts.index("known 3")].tolist()
    again = await provider.embed(list(reversed(texts)))
    assert (again.cached, again.attempts, again.usage.total_tokens) == (True, 0, 0)
    assert again.tolist() == plain.tolist()[::-1]
    stats = provider.cache.stats()
    assert (stats.hits, stats.misses, stats.entries) == (190, 100, 100)


async def test_a_text_that_comes_twice_is_asked_for_once(sim):
    provider = cached(sim.provider())
    vectors = await provider.embed(["b", "a", "b", "b", "c", "a"])
    assert inputs(sim) == [["b", "a", "c"]]
    plain = await sim.provider().embed(["b", "a", "b", "b", "c", "a"])
    assert vectors.tolist() == plain.tolist()


@pytest.mark.parametrize("name", ["openai", "gemini", "ollama"])
async def test_every_provider_with_embeddings(sim, name):
    provider = cached(sim.provider(name))
    first = await provider.embed(["a", "b"])
    second = await provider.embed(["b", "a"])
    assert (first.cached, second.cached, second.model != "") == (False, True, True)
    assert second.tolist() == first.tolist()[::-1]
    assert provider.sync.embed(["a"]).cached


async def test_a_provider_without_embeddings_says_so(sim):
    provider = cached(sim.provider("anthropic"))
    with pytest.raises(InvalidRequestError, match="embed"):
        await provider.embed(["a"])


async def test_equal_embed_calls_make_one_request(sim):
    provider = cached(sim.provider())
    results = await asyncio.gather(*(provider.embed(["a", "b"]) for _ in range(100)))
    assert asked(sim) == 1
    assert sum(not result.cached for result in results) == 1
    assert all(result.tolist() == results[0].tolist() for result in results)
    assert provider.cache.stats().tokens_saved == 99 * next(r for r in results if not r.cached).usage.total_tokens


async def test_tokens_saved_add_up_to_what_was_paid(sim):
    provider = cached(sim.provider())
    texts = ["a", "a longer text of more tokens", "ééé", "x" * 101]
    paid = (await provider.embed(texts)).usage.total_tokens
    for text in texts:
        await provider.embed([text])
    assert provider.cache.stats().tokens_saved == paid


async def test_options_of_an_embedding_are_part_of_its_key(sim):
    provider = cached(sim.provider())
    await provider.embed(["a"])
    for other in ({"dimensions": 8}, {"model": "text-embedding-3-large"}, {"extra": {"user": "u"}}):
        assert not (await provider.embed(["a"], **other)).cached
        assert (await provider.embed(["a"], **other)).cached
    assert len((await provider.embed(["a"], dimensions=8))[0]) == 8


async def test_what_came_before_a_failure_is_kept_and_in_its_place(sim):
    provider = cached(sim.provider("ollama", retry=0), max_entries=100_000)
    await provider.embed(["known"])
    texts = ["new", "known", *(f"text {n}" for n in range(5000)), "new"]
    calls = asked(sim)
    sim.push()  # the first batch is answered, the second is not
    sim.push(status=500)
    with pytest.raises(ServerError) as failed:
        await provider.embed(texts)
    embedded = failed.value.embedded
    plain = await sim.provider("ollama").embed(["new", "known"])
    assert embedded[1].tolist() == plain[1].tolist()
    if 0 in embedded:
        assert embedded[0].tolist() == embedded[len(texts) - 1].tolist() == plain[0].tolist()
        assert (await provider.embed(["new"])).cached
    assert asked(sim) > calls


async def test_a_model_that_changed_its_dimensions_is_asked_anew():
    def vectors(count, dims):
        data = [{"object": "embedding", "index": n, "embedding": [float(n)] * dims} for n in range(count)]
        return answer({"object": "list", "model": "e", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}})

    with RawServer([vectors(1, 2)], [vectors(1, 3)], [vectors(2, 3)]) as server:
        provider = to(server)
        assert (await provider.embed(["a"])).dimensions == 2
        both = await provider.embed(["a", "b"])
        assert both.tolist() == [[0, 0, 0], [1, 1, 1]]
        assert [json.loads(request.body)["input"] for request in server.requests] == [["a"], ["b"], ["a", "b"]]
        assert (await provider.embed(["a"])).dimensions == 3


# ---- Stale while revalidate ----


async def test_the_stale_answer_is_served_while_it_is_fetched_anew():
    clock, release = FakeClock(), threading.Event()
    with RawServer([answer(openai_answer("old"))], [release, answer(openai_answer("new"))]) as server:
        cache = LLMCache(CacheConfig(ttl=10, stale=10), clock=clock)
        provider = CachedProvider(OpenAIProvider("key", model="m", base_url=server.url, retry=0), cache)
        await provider.complete("hi")
        clock.now = 10
        for _ in range(5):
            response = await provider.complete("hi")
            assert (response.content, response.cached) == ("old", True)
        await aeventually(lambda: len(server.requests) == 2)
        assert provider.sync.complete("hi").content == "old"
        release.set()
        await aeventually(lambda: cache.peek(provider.chat_key("hi")).content == "new")
        assert (await provider.complete("hi")).content == "new"
        assert len(server.requests) == 2
        stats = cache.stats()
        assert (stats.hits, stats.stale_hits, stats.misses) == (1, 6, 1)
        clock.now = 30
        assert not (await provider.complete("hi")).cached, "after its stale time it is gone"


async def test_a_refresh_that_fails_is_tried_by_the_next_reader():
    clock = FakeClock()
    down = answer({"error": {"message": "down"}}, 500)
    with RawServer([answer(openai_answer("old"))], [down], [answer(openai_answer("new"))]) as server:
        cache = LLMCache(CacheConfig(ttl=10, stale=1000), clock=clock)
        provider = CachedProvider(OpenAIProvider("key", model="m", base_url=server.url, retry=0), cache)
        await provider.complete("hi")
        clock.now = 10
        assert (await provider.complete("hi")).content == "old"

        async def content():
            return (await provider.complete("hi")).content

        for _ in range(1000):
            if await content() == "new":
                break
            await asyncio.sleep(0.01)
        assert await content() == "new"
        assert len(server.requests) == 3


async def test_stale_vectors_are_served_and_fetched_anew_in_one_request(sim):
    clock = FakeClock()
    cache = LLMCache(CacheConfig(ttl=10, stale=10), clock=clock)
    provider = CachedProvider(sim.provider(), cache)
    first = await provider.embed(["a", "b", "c"])
    clock.now = 12
    second = await provider.embed(["c", "a"])
    assert second.cached
    assert second.tolist() == [first[2].tolist(), first[0].tolist()]
    await aeventually(lambda: len(inputs(sim)) == 2)
    assert inputs(sim)[1] == ["c", "a"]

    def fresh():
        return cache.lookup(provider.embed_key("a"))[0] == "hit" and cache.stats().hits > 0

    await aeventually(fresh)
    clock.now = 21
    assert cache.peek(provider.embed_key("a")) is not None
    assert cache.peek(provider.embed_key("b")) is None


# ---- In company ----


async def test_hits_take_no_allowance_in_either_nesting(sim):
    limits = RateLimiterConfig(requests_per_minute=1, burst=1, max_wait=0.01)
    for provider in (
        CachedProvider(RateLimitedProvider(sim.provider(), limits), LLMCache()),
        RateLimitedProvider(CachedProvider(sim.provider(), LLMCache()), limits),
    ):
        await provider.complete("hi")
        for _ in range(10):
            assert (await provider.complete("hi")).cached
        assert [text async for text in provider.stream("hi")]
    assert asked(sim) == 2


async def test_a_cache_in_front_of_a_cache(sim):
    llm = sim.provider()
    near, far = LLMCache(CacheConfig(ttl=10)), LLMCache()
    both = CachedProvider(CachedProvider(llm, far), near)
    await CachedProvider(llm, far).complete("hi")
    assert (await both.complete("hi")).cached
    assert len(near) == 1, "what the far one knew is near now"
    await both.complete("ho")
    assert (len(near), len(far)) == (2, 2)
    await CachedProvider(llm, far).embed(["a"])
    assert (await both.embed(["a"])).cached
    assert (len(near), len(far), asked(sim)) == (3, 3, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_hits_and_asks_by_itself():
    release = threading.Event()
    with RawServer([answer(openai_answer("one"))], [release, answer(openai_answer("two"))]) as server:
        threading.Timer(0, lambda: eventually(lambda: len(server.requests) >= 3) and release.set()).start()
        out = run(
            """
            import os, sys, threading, warnings
            from edgequake_llm import CachedProvider, LLMCache, OpenAIProvider

            warnings.simplefilter("ignore")  # of forking with threads there, which is the point
            provider = CachedProvider(OpenAIProvider("key", model="m", base_url=sys.argv[1], retry=0), LLMCache())
            provider.sync.complete("known")
            # In the air while the process forks: the child must not wait for it.
            thread = threading.Thread(target=provider.sync.complete, args=("in the air",))
            thread.start()
            while provider.cache.stats().misses < 2:
                pass
            pid = os.fork()
            if pid == 0:
                good = provider.sync.complete("known").cached
                good = good and provider.sync.complete("in the air").content == "two"
                os._exit(7 if good else 1)
            _, status = os.waitpid(pid, 0)
            thread.join()
            print(os.waitstatus_to_exitcode(status), provider.sync.complete("in the air").cached)
            """,
            server.url,
        )
        assert out == "7 True\n"


# ---- Keys ----


OTHER = {
    "max_tokens": 9,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 9,
    "stop": ["x"],
    "seed": 9,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "user": "somebody",
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "tool_choice": "none",
    "parallel_tool_calls": False,
    "response_format": "json",
    "reasoning": "low",
    "extra": {"a": 1},
    "model": "other",
    "system": "Be brief.",
    "prompt_cache_key": "k",
    "cached_content": "cachedContents/c",
    "drop_unsupported": True,
}
NO_PART_OF_A_KEY = {"timeout": 3, "extra_headers": {"x-secret": "s3cret"}, "metadata": {"run": "4711"}}


@pytest.fixture
def keys():
    provider = cached(OpenAIProvider("key", model="m"))
    return lambda *args, **fields: str(provider.chat_key(*args, **fields))


def test_every_option_is_part_of_the_key(keys):
    assert OTHER.keys() | NO_PART_OF_A_KEY.keys() == set(CompletionOptions.__match_args__), "a new option: decide"
    seen = {keys("hi")}
    for name, value in OTHER.items():
        key = keys("hi", **{name: value})
        assert key == keys("hi", CompletionOptions(**{name: value})), name
        assert key not in seen, name
        seen.add(key)
    for name, value in NO_PART_OF_A_KEY.items():
        assert keys("hi", **{name: value}) == keys("hi"), name


def test_values_of_an_option_are_told_apart(keys):
    def tool(**function):
        function = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}} | function
        return [{"type": "function", "function": function}]

    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    variants = [
        *({"temperature": 0}, {"temperature": 0.1}, {"seed": 1}, {"seed": -1}, {"stop": "a"}, {"stop": ["a", "b"]}),
        *({"tools": tool()}, {"tools": tool(name="g")}, {"tools": tool(description="e")}, {"tools": tool() * 2}),
        *({"tools": tool(parameters={"type": "object"})}, {"tools": tool(strict=True)}, {"tools": tool(strict=False)}),
        *({"tools": tool(), "tool_choice": choice} for choice in ("auto", "none", "required", "f")),
        *({"parallel_tool_calls": flag} for flag in (True, False)),
        *({"response_format": form} for form in ("text", "json", schema)),
        *({"reasoning": amount} for amount in ("low", "high", 0, 2048)),
        *(
            {"extra": extra}
            for extra in ({"a": 1}, {"a": 2}, {"a": "1"}, {"a": [1]}, {"a": None}, {"b": 1}, {"a": {"b": 1}})
        ),
    ]
    assert len({keys("hi", **variant) for variant in variants}) == len(variants)


def test_every_field_of_a_message_is_part_of_the_key(keys):
    def with_image(**fields):
        url = {"url": "https://x/y.png"} | fields
        return [{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": url}]}]

    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    def with_call(**function):
        changed = call | {"function": call["function"] | function}
        return [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": [changed]}]

    conversations = [
        *("hi", "ho", "hi ", [ChatMessage.system("s"), ChatMessage.user("hi")]),
        *([ChatMessage.system("t"), ChatMessage.user("hi")], [ChatMessage.user("s"), ChatMessage.user("hi")]),
        *([ChatMessage.user("hi"), ChatMessage.user("s")], [ChatMessage.user("his")]),
        *([ChatMessage.user("hi"), ChatMessage.assistant("a")], [ChatMessage.user("hi"), ChatMessage.assistant("b")]),
        *([ChatMessage("developer", "s"), ChatMessage.user("hi")], [ChatMessage("user", "hi", name="n")]),
        *([{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}],),
        *(with_image(), with_image(url="https://x/z.png"), with_image(detail="low"), with_image(detail="high")),
        *(with_image(url="data:image/png;base64,AAAA"), with_image(url="data:image/png;base64,BBBB")),
        *(with_call(), with_call(name="g"), with_call(arguments='{"a": 1}')),
        *([*with_call(), ChatMessage.tool("1", "r")], [*with_call(), ChatMessage.tool("1", "q")]),
        *([*with_call(), ChatMessage.tool("2", "r")], [*with_call(), ChatMessage.tool("1", "r", is_error=True)]),
        [*with_call(), ChatMessage.tool("1", "r", name="f")],
    ]
    assert len({keys(conversation) for conversation in conversations}) == len(conversations)


def test_who_is_asked_is_part_of_the_key():
    providers = [
        *(OpenAIProvider("key", model=model) for model in ("m", "n")),
        *(OpenAIProvider("key", model="m", base_url=url) for url in ("https://a.example/v1", "https://a.example/v2")),
        *(OpenAIProvider("key", model="m", base_url=url) for url in ("https://b.example/v1", "http://b.example/v1")),
        AnthropicProvider("key", model="m", base_url="https://a.example/v1"),
    ]
    assert len({cached(provider).chat_key("hi") for provider in providers}) == len(providers)


def test_secrets_and_settings_of_the_connection_are_not():
    same = [
        OpenAIProvider("key", model="m"),
        OpenAIProvider("another key", model="m"),
        OpenAIProvider("key", model="m", headers={"x-tenant": "s3cret"}),
        OpenAIProvider("key", model="m", timeout=3, retry=7, http=HTTPConfig(protocol="http1")),
        OpenAIProvider("key", model="m", base_url="https://api.openai.com/v1/"),
        OpenAIProvider("key", model="other"),
    ]
    fields = [{}] * 5 + [{"model": "m"}]
    assert len({cached(llm).chat_key("hi", **given) for llm, given in zip(same, fields, strict=True)}) == 1
    assert len({cached(llm).embed_key("hi") for llm in same}) == 1


def test_spelling_makes_no_difference(keys):
    assert keys("hi", temperature=1) == keys("hi", temperature=1.0)
    assert keys("hi", temperature=0) == keys("hi", temperature=-0.0)
    assert keys("hi", extra={"a": 1, "b": {"c": 2, "d": 3}}) == keys("hi", extra={"b": {"d": 3.0, "c": 2.0}, "a": 1.0})
    assert keys("hi", stop="a") == keys("hi", stop=["a"]) == keys("hi", stop=("a",))
    assert keys("hi", max_tokens=None) == keys("hi", tools=[]) == keys("hi", extra={}) == keys("hi")
    assert keys("hi") == keys([{"role": "user", "content": "hi"}]) == keys([{"content": "hi", "role": "user"}])
    assert keys("hi") == keys(ChatMessage.user("hi"))
    assert keys("hi", system="s") == keys([ChatMessage.system("s"), ChatMessage.user("hi")])


def test_keys_are_values():
    provider = cached(OpenAIProvider("key", model="m"))
    key, same, other = provider.chat_key("hi"), provider.chat_key("hi"), provider.embed_key("hi")
    assert key == same
    assert hash(key) == hash(same)
    assert key != other
    assert len(str(key)) == 32
    assert repr(key) == f"CacheKey('{key}')"
    assert math.log2(int(str(key), 16)) > 64


def test_keys_are_the_same_in_every_process(keys):
    out = run("""
        from edgequake_llm import CachedProvider, OpenAIProvider
        print(CachedProvider(OpenAIProvider("key", model="m")).chat_key("hi", seed=1, extra={"b": 1, "a": 2}))
    """)
    assert out.strip() == keys("hi", seed=1, extra={"a": 2, "b": 1})


async def test_a_lossy_server_is_not_kept():
    with RawServer([head(), sse(openai_delta("a")), CLOSE], [answer(openai_answer("whole"))]) as server:
        provider = to(server)
        with pytest.raises(StreamInterrupted):
            async for _ in provider.stream("hi"):
                pass
        assert (await provider.complete("hi")).content == "whole"


async def test_a_closed_provider_refuses_hits_too():
    with Simulator() as sim:
        provider = cached(sim.provider())
        await provider.complete("hi")
        await provider.aclose()
        with pytest.raises(Exception, match="closed"):
            await provider.complete("hi")
