"""`RateLimitedProvider`: a provider that loses nothing and keeps to limits, against the simulator and scripted servers."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from edgequake_llm import (
    APIConnectionError,
    ChatMessage,
    ConfigurationError,
    InvalidRequestError,
    OpenAIProvider,
    Provider,
    RateLimitedProvider,
    RateLimiter,
    RateLimiterConfig,
    RateLimitError,
    RateLimitTimeout,
    RetryPolicy,
    ServerError,
    Simulator,
    StreamInterrupted,
    Timeouts,
    Tokenizer,
    TotalTimeout,
)
from support.processes import run
from support.raw import CLOSE, HOLD, RawServer, answer, head, openai_answer, openai_delta, sse
from support.waiting import aeventually, eventually

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


def limited(llm, **limits):
    return RateLimitedProvider(llm, RateLimiterConfig(**limits))


def idle(provider):
    status = provider.limiter.status
    return (status.running, status.waiting) == (0, 0)


def to(server, **settings):
    """Return a provider that talks to a scripted server and does not try again."""
    settings.setdefault("retry", 0)
    return OpenAIProvider("key", model="m", base_url=server.url, **settings)


# ---- It is a provider ----


def test_it_is_a_provider_like_the_one_inside(llm):
    provider = limited(llm, max_concurrent=1)
    assert isinstance(provider, Provider)
    for name in ("name", "model", "embedding_model", "base_url"):
        assert getattr(provider, name) == getattr(llm, name)
    assert provider.inner is llm
    assert provider.limiter.config == RateLimiterConfig(max_concurrent=1)
    assert repr(provider) == f"RateLimitedProvider({llm!r})"


def test_what_cannot_be_limited_is_refused(llm):
    with pytest.raises(ConfigurationError, match="only providers"):
        RateLimitedProvider("openai", RateLimiterConfig())
    with pytest.raises(ConfigurationError, match="RateLimiterConfig or a RateLimiter, not dict"):
        RateLimitedProvider(llm, {"max_concurrent": 1})
    with pytest.raises(ConfigurationError, match="max_concurrent"):
        limited(llm, max_concurrent=0)


async def test_calls_streams_tools_and_options_pass_unchanged(sim, llm):
    """Each call makes, byte for byte, the request that the inner provider makes."""
    provider = limited(llm, max_concurrent=2, requests_per_minute=6000, tokens_per_minute=1_000_000)
    options = {"max_tokens": 50, "temperature": 0.5, "stop": ["x"], "system": "Be brief.", "model": "other"}
    options |= {"tools": TOOLS, "extra_headers": {"x-mine": "1"}, "extra": {"own": 1}}
    if llm.name != "ollama":
        options["tool_choice"] = "weather"
    messages = [{"role": "user", "content": "hi"}]
    for each in (llm, provider):
        await each.complete("hi", **options)
        await each.chat(messages, **options)
        async with each.stream(messages, **options) as stream:
            async for _ in stream:
                pass
        await asyncio.to_thread(each.sync.complete, "hi", **options)
        if llm.name != "anthropic":
            await each.embed(["one", "two"], extra={"own": 2})
    requests = [(r["path"], r["body"], r["headers"].get("x-mine")) for r in sim.requests()]
    half = len(requests) // 2
    assert half >= 4
    assert requests[:half] == requests[half:]
    assert idle(provider)


async def test_tool_calls_come_through(sim, llm):
    provider = limited(llm, max_concurrent=1)
    sim.push(tool_calls=[("weather", '{"city":"Paris"}')])
    response = await provider.complete("hi", tools=TOOLS)
    assert [(call.name, call.parse()) for call in response.tool_calls] == [("weather", {"city": "Paris"})]


# ---- Reserve and settle ----


async def test_tokens_are_reserved_by_the_estimate_and_settled_by_the_usage():
    gate = threading.Event()
    with RawServer([gate, answer(openai_answer("hi"))]) as server:
        provider = limited(to(server), tokens_per_minute=1, token_burst=1000, requests_per_minute=1, burst=10)
        call = asyncio.create_task(provider.complete("x" * 400, max_tokens=500))
        await aeventually(lambda: server.requests)
        # 100 for the text, 4 for the message, 500 for the answer.
        assert provider.limiter.status.tokens_left == 396
        gate.set()
        usage = (await call).usage
        assert provider.limiter.status.tokens_left == 1000 - (usage.prompt_tokens + usage.completion_tokens)
        assert provider.limiter.status.requests_left == 9
        assert idle(provider)


async def test_a_call_that_used_more_than_reserved_is_a_debt():
    usage = {"prompt_tokens": 3, "completion_tokens": 1500, "total_tokens": 1503}
    with RawServer([answer(openai_answer("hi", usage=usage))]) as server:
        provider = limited(to(server), tokens_per_minute=1, token_burst=1000, max_wait=0.01)
        await provider.complete("hi", max_tokens=10)
        with pytest.raises(RateLimitTimeout) as caught:
            await provider.complete("hi", max_tokens=10)
    # 503 in debt and 15 to be let in, at one a minute.
    assert 517 * 60 < caught.value.needed <= 518 * 60
    assert caught.value.attempts == 0


async def test_a_request_above_the_bucket_raises_at_once_and_sends_nothing(sim, llm):
    provider = limited(llm, tokens_per_minute=1000)
    with pytest.raises(InvalidRequestError, match=r"lower max_tokens.*token_burst"):
        await provider.complete("hi", max_tokens=2000)
    stream = provider.stream("x" * 10_000, max_tokens=10)
    with pytest.raises(InvalidRequestError, match=r"(25|12)\d\d tokens"):
        async for _ in stream:
            pass
    assert not sim.requests()
    assert provider.limiter.status.tokens_left == 1000


async def test_max_wait_raises_with_the_wait_and_sends_nothing(sim, llm):
    provider = limited(llm, requests_per_minute=1, burst=1, max_wait=2)
    await provider.complete("hi")
    with pytest.raises(RateLimitTimeout, match=f"{llm.name}: the rate limiter") as caught:
        await provider.complete("hi")
    assert 2 < caught.value.needed <= 60
    assert caught.value.provider == llm.name
    with pytest.raises(RateLimitTimeout):
        provider.sync.complete("hi")
    assert len(sim.requests()) == 1


async def test_waiting_counts_against_the_total_time(sim):
    provider = limited(sim.provider(timeout=Timeouts(total=0.05)), requests_per_minute=1, burst=1)
    await provider.complete("hi")
    with pytest.raises(TotalTimeout):
        await provider.complete("hi")
    assert idle(provider)
    assert len(sim.requests()) == 1


# ---- Streams ----


async def test_a_stream_holds_its_slot_until_it_ends_and_settles_then():
    gate = threading.Event()
    end = openai_delta(finish_reason="stop") | {
        "usage": {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
    }
    with RawServer([head(), sse(openai_delta("a")), gate, sse(openai_delta("b"), end, "[DONE]")]) as server:
        provider = limited(to(server), max_concurrent=1, tokens_per_minute=1, token_burst=1000)
        async with provider.stream("hi", max_tokens=300) as stream:
            assert await anext(aiter(stream)) == "a"
            assert provider.limiter.status.running == 1
            assert provider.limiter.status.tokens_left < 700
            assert provider.limiter.try_acquire() is None
            gate.set()
            assert [text async for text in stream] == ["b"]
        assert idle(provider)
        assert provider.limiter.status.tokens_left == 990


@pytest.mark.parametrize("how", ["closed", "cancelled", "dropped"])
async def test_a_stream_left_early_gives_back_what_was_not_made(how):
    with RawServer([head(), sse(openai_delta("a")), HOLD]) as server:
        provider = limited(to(server), max_concurrent=1, tokens_per_minute=1, token_burst=1000)

        async def read():
            async with provider.stream("x" * 400, max_tokens=300) as stream:
                async for _ in stream:
                    if how == "closed":
                        return

        if how == "dropped":
            stream = provider.stream("x" * 400, max_tokens=300)
            assert await anext(aiter(stream)) == "a"
            del stream
        else:
            task = asyncio.create_task(read())
            if how == "cancelled":
                await aeventually(lambda: server.requests)
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await aeventually(lambda: idle(provider))
        # The prompt was sent (104), and a piece or none of the answer made.
        assert provider.limiter.status.tokens_left in {895, 896}
        await aeventually(lambda: server.closed_by_client == 1)


async def test_a_stream_that_breaks_off_settles_what_came():
    with RawServer([head(), sse(openai_delta("a"), openai_delta("b")), CLOSE]) as server:
        provider = limited(to(server), max_concurrent=1, tokens_per_minute=1, token_burst=1000)
        with pytest.raises(StreamInterrupted):
            async for _ in provider.stream("x" * 400, max_tokens=300):
                pass
        assert idle(provider)
        assert provider.limiter.status.tokens_left == 894


# ---- Failure and cancellation ----


async def test_a_refused_request_gives_back_its_tokens():
    with RawServer([answer({"error": {"message": "no"}}, status=400)]) as server:
        provider = limited(
            to(server), max_concurrent=1, requests_per_minute=1, burst=10, tokens_per_minute=1, token_burst=1000
        )
        with pytest.raises(InvalidRequestError):
            await provider.complete("hi", max_tokens=500)
        assert idle(provider)
        assert (provider.limiter.status.tokens_left, provider.limiter.status.requests_left) == (1000, 9)


async def test_what_was_never_sent_gives_back_everything():
    with RawServer() as server:
        url = server.url
    llm = OpenAIProvider("key", model="m", base_url=url, retry=2)
    provider = limited(llm, max_concurrent=1, requests_per_minute=1, burst=1, tokens_per_minute=1, token_burst=1000)
    with pytest.raises(APIConnectionError) as caught:
        await provider.complete("hi", max_tokens=500)
    assert caught.value.attempts == 3, "no try had to wait for the minute's request"
    assert idle(provider)
    assert (provider.limiter.status.tokens_left, provider.limiter.status.requests_left) == (1000, 1)


async def test_cancelling_gives_back_at_every_point():
    with RawServer([HOLD]) as server:
        provider = limited(to(server), max_concurrent=1, tokens_per_minute=1, token_burst=1000)
        calls = [asyncio.create_task(provider.complete("x" * 400, max_tokens=300)) for _ in range(3)]
        await aeventually(lambda: server.requests and provider.limiter.status.waiting == 2)
        calls[1].cancel()  # it waits
        await aeventually(lambda: provider.limiter.status.waiting == 1)
        calls[0].cancel()  # it was sent: its prompt is gone, its slot and its answer's tokens come back
        await aeventually(lambda: len(server.requests) == 2)
        calls[2].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await aeventually(lambda: idle(provider))
        assert provider.limiter.status.tokens_left >= 1000 - 2 * 104
        assert provider.limiter.status.tokens_left < 1000 - 104
        assert len(server.requests) == 2


# ---- Retries, and what providers say ----


async def test_a_call_that_waits_for_its_retry_holds_no_slot():
    failed = answer({"error": {"message": "no"}}, status=500, retry_after=30)
    with RawServer([failed], [answer(openai_answer("hi"))]) as server:
        provider = limited(to(server, retry=2), max_concurrent=1)
        first = asyncio.create_task(provider.complete("first"))
        await aeventually(lambda: server.requests and idle(provider))
        assert (await provider.complete("second")).content == "hi"
        assert not first.done()
        first.cancel()


async def test_a_429_pauses_everybody_once(sim):
    provider = limited(sim.provider(), max_concurrent=1)
    sim.push(status=429, retry_after=0.5)
    calls = [asyncio.create_task(provider.complete(str(n))) for n in range(20)]
    await aeventually(lambda: provider.limiter.status.paused_for > 0)
    assert len(sim.requests()) == 1
    responses = await asyncio.gather(*calls)
    assert sorted(response.attempts for response in responses) == [1] * 19 + [2]
    assert len(sim.requests()) == 21


async def test_a_429_without_a_time_pauses_too_and_an_hour_is_not_waited_out():
    refused = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    with RawServer([answer(refused, status=429)], [answer(refused, status=429, retry_after=3600)]) as server:
        provider = limited(to(server, retry=RetryPolicy(max_retries=0, max_retry_after=45)))
        with pytest.raises(RateLimitError):
            await provider.complete("hi")
        assert 0.5 < provider.limiter.status.paused_for <= 1
        with pytest.raises(RateLimitError) as caught:
            await provider.complete("hi")
        assert caught.value.retry_after == 3600
        assert 40 < provider.limiter.status.paused_for <= 45


@pytest.mark.parametrize("status", [200, 400])
async def test_it_learns_from_the_headers_of_every_answer(status):
    headers = {"x_ratelimit_limit_requests": 100, "x_ratelimit_remaining_requests": 7}
    headers |= {"x_ratelimit_reset_requests": "500s", "x_ratelimit_remaining_tokens": 400}
    with RawServer([answer(openai_answer("hi"), status=status, **headers)]) as server:
        provider = limited(to(server), requests_per_minute=1, burst=100, tokens_per_minute=1, token_burst=10_000)
        with contextlib.suppress(InvalidRequestError):
            await provider.complete("hi", max_tokens=50)
        assert provider.limiter.status.requests_left == 7
        assert 350 <= provider.limiter.status.tokens_left <= 470


async def test_a_streams_headers_are_heard_when_it_begins():
    headers = {"anthropic_ratelimit_requests_remaining": 0}
    with RawServer([head(**headers), sse(openai_delta("a")), HOLD]) as server:
        provider = limited(to(server), requests_per_minute=1, burst=10)
        async with provider.stream("hi") as stream:
            await anext(aiter(stream))
            assert provider.limiter.status.requests_left == 0


async def test_a_limit_that_the_provider_names_is_kept():
    """The server takes no more for a while: the next call waits instead of meeting a 429."""
    headers = {"x_ratelimit_limit_requests": 1, "x_ratelimit_remaining_requests": 0}
    spent = answer(openai_answer("hi"), x_ratelimit_reset_requests="3s", **headers)
    with RawServer([spent], [answer(openai_answer("hi"))]) as server:
        provider = limited(to(server), requests_per_minute=60_000)
        await provider.complete("hi")
        call = asyncio.create_task(provider.complete("hi"))
        await aeventually(lambda: provider.limiter.status.waiting == 1)
        assert len(server.requests) == 1
        await call


# ---- Embeddings ----


async def test_every_batch_of_an_embedding_passes(sim):
    provider = limited(
        sim.provider(), max_concurrent=1, requests_per_minute=1, burst=10, tokens_per_minute=1, token_burst=1_000_000
    )
    vectors = await provider.embed(["text"] * 5000)
    assert len(vectors) == 5000
    assert len(sim.requests()) == 3
    assert sim.stats().max_in_flight == 1
    assert provider.limiter.status.requests_left == 7
    used = 1_000_000 - provider.limiter.status.tokens_left
    assert used <= vectors.usage.prompt_tokens
    assert idle(provider)


async def test_texts_above_the_bucket_raise_at_once(sim):
    provider = limited(sim.provider(), tokens_per_minute=1000)
    with pytest.raises(InvalidRequestError, match="never lets in more than 1000"):
        await provider.embed(["x " * 8000])
    assert not sim.requests()


# ---- Sharing and nesting ----


async def test_providers_may_share_a_limiter(sim):
    limiter = RateLimiter(RateLimiterConfig(requests_per_minute=1, burst=10))
    one = RateLimitedProvider(sim.provider("openai"), limiter)
    other = RateLimitedProvider(sim.provider("anthropic"), limiter)
    await asyncio.gather(one.complete("hi"), other.complete("hi"))
    assert one.limiter is other.limiter is limiter
    assert limiter.status.requests_left == 8


async def test_limiters_nest_and_both_hold(sim):
    inner = limited(sim.provider(), max_concurrent=2, requests_per_minute=1, burst=30)
    outer = limited(inner, max_concurrent=5, tokens_per_minute=100_000)
    await asyncio.gather(*(outer.complete("hi") for _ in range(20)))
    assert sim.stats().max_in_flight <= 2
    assert inner.limiter.status.requests_left == 10
    assert outer.limiter.status.tokens_left < 100_000
    assert idle(inner)
    assert idle(outer)


async def test_closing_it_closes_the_inner_one(sim):
    llm = sim.provider()
    async with limited(llm, max_concurrent=1) as provider:
        await provider.complete("hi")
    for each in (provider, llm):
        with pytest.raises(RuntimeError, match="closed"):
            await each.complete("hi")


# ---- The simulator's own limits ----


@pytest.mark.parametrize("streamed", [False, True])
async def test_500_calls_through_10_slots_meet_no_429(streamed):
    # 150 requests in 1.5 s, and never more than 10 at once; the limiter lets as many in, and no more.
    with Simulator(requests_per_minute=150, limit_window=1.5, max_concurrent=10, tokens=5, ttft=0.005) as sim:
        provider = limited(sim.provider(retry=0), max_concurrent=10, requests_per_minute=6000, burst=100)

        async def call(n):
            if not streamed:
                return (await provider.complete(f"prompt {n}")).content
            return "".join([text async for text in provider.stream(f"prompt {n}")])

        answers = await asyncio.gather(*map(call, range(500)))
        assert all(answers)
        stats = sim.stats()
        assert (stats.completed, stats.rate_limited) == (500, 0)
        assert 5 <= stats.max_in_flight <= 10
        assert idle(provider)


async def test_without_the_limiter_the_same_calls_meet_many():
    with Simulator(max_concurrent=10, ttft=0.02) as sim:
        llm = sim.provider(retry=0)
        results = await asyncio.gather(*(llm.complete("hi") for _ in range(200)), return_exceptions=True)
        assert sum(isinstance(result, RateLimitError) for result in results) == sim.stats().rate_limited > 0


def test_threads_and_loops_share_one_provider():
    with Simulator(max_concurrent=4) as sim:
        provider = limited(sim.provider(retry=0), max_concurrent=4)
        failures = []

        def in_a_loop():
            async def main():
                await asyncio.gather(*(provider.complete("hi") for _ in range(50)))

            try:
                asyncio.run(main())
            except Exception as error:
                failures.append(error)

        def plain():
            try:
                for _ in range(50):
                    provider.sync.complete("hi")
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=target) for target in (in_a_loop, in_a_loop, plain, plain)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures
        assert (sim.stats().completed, sim.stats().rate_limited) == (200, 0)
        eventually(lambda: idle(provider))


def test_a_forked_child_calls_through_a_limiter_of_its_own(sim):
    run(
        """
        import asyncio, os, sys
        from edgequake_llm import OpenAIProvider, RateLimitedProvider, RateLimiterConfig

        llm = OpenAIProvider("key", base_url=sys.argv[1])
        provider = RateLimitedProvider(llm, RateLimiterConfig(max_concurrent=1, requests_per_minute=1, burst=2))
        asyncio.run(provider.complete("hi"))
        stream = provider.sync.stream("hi")
        next(stream)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert provider.limiter.status.requests_left == 2
                provider.sync.complete("hi")
                assert provider.limiter.status.requests_left == 1
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        """,
        sim.base_url("openai"),
        env={"PYTHONWARNINGS": "ignore"},
    )


async def test_a_server_error_is_told_as_it_is(sim):
    provider = limited(sim.provider(retry=0), max_concurrent=1)
    sim.push(status=500)
    with pytest.raises(ServerError):
        await provider.complete("hi")
    assert idle(provider)


# ---- What is reserved ----

WORDS = {
    "short": "hi",
    "code": "def f(x):\n    return [y ** 2 for y in range(x) if y % 3 == 0]\n" * 20,
    "languages": "Straße 語学 שלום привет 🎉 " * 30,
    "long": "All work and no play makes Jack a dull boy. " * 4_000,  # counted on another thread
    "special": "<|endoftext|> <|im_start|>",
}


async def reserved(call, model, **settings):
    """Return the tokens that a call has reserved when its request is there."""
    with RawServer([HOLD]) as server:
        llm = OpenAIProvider("key", model=model, base_url=server.url, retry=0, **settings)
        # A bucket that practically does not fill again meanwhile.
        provider = limited(llm, tokens_per_minute=1, token_burst=1_000_000)
        task = asyncio.ensure_future(call(provider))
        await aeventually(lambda: server.requests)
        taken = 1_000_000 - provider.limiter.status.tokens_left
        task.cancel()
        await asyncio.wait([task])
        return taken


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4-0613", "o3-mini", "ft:gpt-4.1-2025-04-14:acme::1"])
async def test_the_prompt_of_a_known_model_is_counted(model, words):
    messages = [
        ChatMessage.system("Be brief."),
        ChatMessage.user(WORDS[words]),
        ChatMessage("assistant", "", tool_calls=[{"id": "1", "name": "weather", "arguments": '{"city": "Bern"}'}]),
        ChatMessage.tool("1", "sunny"),
    ]
    counted = Tokenizer.for_model(model).count_messages(messages, tools=TOOLS)
    taken = await reserved(lambda llm: llm.chat(messages, tools=TOOLS, max_tokens=77), model)
    assert taken == counted + 77


async def test_a_stream_and_the_responses_api_are_counted_too():
    async def read(llm):
        async for _ in llm.stream("How long is a piece of string?", max_tokens=10):
            pass

    counted = Tokenizer.for_model("gpt-5").count_messages([ChatMessage.user("How long is a piece of string?")])
    assert await reserved(read, "gpt-5") == counted + 10
    assert await reserved(read, "gpt-5", api="responses") == counted + 10


async def test_texts_to_embed_are_counted():
    texts = list(WORDS.values())
    counted = sum(Tokenizer.for_model("text-embedding-3-small").count_batch(texts))
    assert await reserved(lambda llm: llm.embed(texts, model="text-embedding-3-small"), "m") == counted


async def test_the_prompt_of_any_other_model_is_estimated():
    taken = await reserved(lambda llm: llm.complete("x" * 4000, max_tokens=10), "unheard-of")
    assert taken == 1000 + 4 + 10


def test_many_first_calls_load_the_vocabulary_once_and_none_is_loaded_without_a_limit_on_tokens():
    out = run(
        """
        import asyncio, os
        from edgequake_llm import RateLimitedProvider, RateLimiterConfig, Simulator
        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        async def calls(provider, n):
            await asyncio.gather(*(provider.complete("hi") for _ in range(n)))
        with Simulator() as sim:
            plain = RateLimitedProvider(sim.provider("openai", model="gpt-4o"), RateLimiterConfig(max_concurrent=300))
            asyncio.run(calls(plain, 300))
            asyncio.run(calls(plain, 300))
            before = resident()
            asyncio.run(calls(plain, 300))
            without = resident()
            limits = RateLimiterConfig(max_concurrent=300, tokens_per_minute=10_000_000)
            limited = RateLimitedProvider(sim.provider("openai", model="gpt-4o"), limits)
            asyncio.run(calls(limited, 300))
            print(round(without - before), round(resident() - without))
        """
    )
    without, loaded = map(int, out.split())
    assert without < 5
    assert 5 < loaded < 40, "one vocabulary, and not one for each call"
