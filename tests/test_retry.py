"""Trying again: what is tried again and what not, how long the wait is, and that it can be seen."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from edgequake_llm import (
    APIConnectionError,
    ConfigurationError,
    GeminiProvider,
    InvalidResponseError,
    LLMError,
    OpenAIProvider,
    OverloadedError,
    QuotaError,
    RateLimitError,
    RetryPolicy,
    StreamInterrupted,
)
from support.raw import RawServer, answer, head, openai_answer, openai_delta, sse

QUICK = RetryPolicy(base_delay=0.001)
# With this policy a call that goes by its own backoff does not end within the test's time: only the server's word helps.
NEVER = RetryPolicy(base_delay=10_000, max_delay=10_000)

AGAIN = (408, 409, 429, 500, 502, 503, 504, 529)
NOT_AGAIN = (400, 401, 402, 403, 404, 413, 422)


async def complete(llm):
    return await llm.complete("hi")


async def stream(llm):
    stream = llm.stream("hi")
    async for _ in stream:
        pass
    return stream.response


async def sync(llm):
    return llm.sync.complete("hi")


CALLS = pytest.mark.parametrize("call", [complete, stream, sync])


@CALLS
@pytest.mark.parametrize("status", AGAIN)
async def test_tried_again(sim, provider_name, status, call):
    sim.push(status=status)
    response = await call(sim.provider(provider_name, retry=QUICK))
    assert (response.attempts, sim.stats().requests) == (2, 2)
    assert response.content
    first, second = sim.requests()
    assert first["body"] == second["body"]


@CALLS
@pytest.mark.parametrize("status", NOT_AGAIN)
async def test_not_tried_again(sim, provider_name, status, call):
    sim.push(status=status)
    with pytest.raises(LLMError) as caught:
        await call(sim.provider(provider_name, retry=QUICK))
    assert (caught.value.status, caught.value.attempts, sim.stats().requests) == (status, 1, 1)
    assert not caught.value.retryable


@CALLS
async def test_until_the_tries_are_used_up(sim, provider_name, call):
    for _ in range(4):
        sim.push(status=529)
    with pytest.raises(OverloadedError, match="after 4 attempts") as caught:
        await call(sim.provider(provider_name, retry=RetryPolicy(max_retries=3, base_delay=0.001)))
    assert (caught.value.attempts, sim.stats().requests) == (4, 4)
    assert caught.value.retryable


@CALLS
async def test_no_retries_when_not_wanted(sim, call):
    sim.push(status=500)
    with pytest.raises(LLMError) as caught:
        await call(sim.provider(retry=0))
    assert (caught.value.attempts, sim.stats().requests) == (1, 1)


async def test_embeddings(sim):
    for name in ("openai", "gemini", "ollama"):
        sim.push(status=503)
        embeddings = await sim.provider(name, retry=QUICK).embed(["a", "b"])
        assert len(embeddings) == 2
        assert embeddings.attempts == 2


# Connections.


@CALLS
@pytest.mark.parametrize("protocol", ["http1", "http2"])
async def test_a_connection_that_closes_before_an_answer(sim, call, protocol, own_pool):
    sim.push(fault="close_before_headers")
    response = await call(sim.provider(retry=QUICK, http=own_pool(protocol)))
    assert sim.stats().requests == 2
    assert response.content
    assert response.attempts == 2


@CALLS
async def test_a_server_that_always_closes_is_given_up(sim, call):
    for _ in range(20):
        sim.push(fault="close_before_headers")
    with pytest.raises(APIConnectionError) as caught:
        await call(sim.provider(retry=QUICK))
    assert caught.value.attempts == 3
    assert sim.stats().requests == 3


async def test_a_used_connection_that_closes_is_replaced_boundedly(sim, own_pool):
    llm = sim.provider(retry=QUICK, http=own_pool())
    await llm.complete("hi")
    for _ in range(20):
        sim.push(fault="close_before_headers")
    with pytest.raises(APIConnectionError) as caught:
        await llm.complete("hi")
    assert caught.value.attempts == 3
    assert sim.stats().requests <= 1 + 3 + 3


@CALLS
async def test_a_refused_connection(call):
    with RawServer() as server:
        url = server.url
    with pytest.raises(APIConnectionError, match="after 3 attempts") as caught:
        await call(OpenAIProvider("key", base_url=url, retry=QUICK))
    assert caught.value.attempts == 3


@pytest.mark.parametrize("fault", ["cut", "close"])
async def test_a_whole_answer_cut_off_in_the_middle(sim, provider_name, fault):
    sim.push(fault=fault, after_bytes=20)
    response = await sim.provider(provider_name, retry=QUICK).complete("hi")
    assert (response.attempts, sim.stats().requests) == (2, 2)


@pytest.mark.parametrize("fault", ["cut", "close"])
async def test_a_stream_cut_off_before_its_first_event(sim, provider_name, fault):
    sim.push(fault=fault, after_events=0)
    response = await stream(sim.provider(provider_name, retry=QUICK))
    assert (response.attempts, sim.stats().requests) == (2, 2)


async def test_an_empty_stream_is_a_malformed_answer(sim, provider_name):
    sim.push(fault="end", after_events=0)
    with pytest.raises(InvalidResponseError, match="empty body"):
        await stream(sim.provider(provider_name, retry=QUICK))
    assert sim.stats().requests == 1


# Streams: before the first event as any call, after it never.


async def test_an_error_as_the_first_event_of_a_stream(sim, provider_name):
    sim.push(fault="error", after_events=0, error_status=529)
    response = await stream(sim.provider(provider_name, retry=QUICK))
    assert (response.attempts, sim.stats().requests) == (2, 2)
    assert response.content


async def test_an_error_as_the_first_event_that_stays(sim, provider_name):
    for _ in range(3):
        sim.push(fault="error", after_events=0, error_status=529)
    with pytest.raises(LLMError) as caught:
        await stream(sim.provider(provider_name, retry=QUICK))
    assert (caught.value.attempts, sim.stats().requests) == (3, 3)


async def test_an_error_in_mid_stream_is_raised_and_nothing_is_sent_again(sim, provider_name):
    sim.push(fault="error", after_events=6, error_status=529)
    texts, streamed = [], sim.provider(provider_name, retry=QUICK).stream("hi")
    with pytest.raises(LLMError) as caught:
        async for text in streamed:
            texts.append(text)
    assert not isinstance(caught.value, StreamInterrupted)
    assert (caught.value.attempts, sim.stats().requests) == (1, 1)
    assert caught.value.partial.content == "".join(texts) != ""


@pytest.mark.parametrize("fault", ["cut", "close", "end"])
async def test_a_stream_cut_off_in_the_middle_is_never_sent_again(sim, provider_name, fault):
    sim.push(fault=fault, after_events=6)
    texts, streamed = [], sim.provider(provider_name, retry=QUICK).stream("hi")
    with pytest.raises(StreamInterrupted, match="characters of text") as caught:
        async for text in streamed:
            texts.append(text)
    assert (caught.value.attempts, sim.stats().requests) == (1, 1)
    assert caught.value.partial.content == "".join(texts) != ""
    # Reading on tells the same, and does not begin anew either.
    with pytest.raises(StreamInterrupted):
        await anext(streamed)
    with pytest.raises(StreamInterrupted):
        streamed.response  # noqa: B018
    assert sim.stats().requests == 1


async def test_an_error_status_with_a_retry_that_then_breaks_in_mid_stream(sim):
    sim.push(status=500)
    sim.push(fault="cut", after_events=4)
    with pytest.raises(StreamInterrupted) as caught:
        await stream(sim.provider(retry=QUICK))
    assert (caught.value.attempts, sim.stats().requests) == (2, 2)


# How long the wait is: as long as the provider says.


def limited(**headers):
    return answer({"error": {"message": "slow down"}}, 429, **headers)


@CALLS
@pytest.mark.parametrize(
    "headers", [{"retry_after": "0.05"}, {"retry_after_ms": "50"}, {"retry_after": "9999", "retry_after_ms": "50"}]
)
async def test_retry_after_is_kept(call, headers):
    done = (
        answer(openai_answer("yes"))
        if call is not stream
        else head(connection="close") + sse(openai_delta("yes", "stop"), "[DONE]")
    )
    with RawServer([limited(**headers)], [done, "end"] if call is stream else [done]) as server:
        response = await call(OpenAIProvider("key", base_url=server.url, retry=NEVER))
        assert (response.content, response.attempts) == ("yes", 2)


async def test_retry_after_as_a_date():
    date = formatdate(time.time() + 2, usegmt=True)
    with RawServer([limited(retry_after=date)], [answer(openai_answer("yes"))]) as server:
        response = await OpenAIProvider("key", base_url=server.url, retry=NEVER).complete("hi")
        assert (response.content, response.attempts) == ("yes", 2)


def retry_info(delay):
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    return answer({"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": details}}, 429)


GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "yes"}]}, "finishReason": "STOP"}]}


async def test_geminis_retry_info_is_kept():
    with RawServer([retry_info("0.05s")], [answer(GEMINI)]) as server:
        response = await GeminiProvider("key", base_url=server.url, retry=NEVER).complete("hi")
        assert (response.content, response.attempts) == ("yes", 2)


@pytest.mark.parametrize("delay", ["53s", "53.5s"])
async def test_a_wait_that_is_too_long_is_told_at_once(delay):
    with RawServer([retry_info(delay)]) as server:
        llm = GeminiProvider("key", base_url=server.url, retry=RetryPolicy(max_retry_after=50))
        with pytest.raises(RateLimitError, match="retry after 53") as caught:
            await llm.complete("hi")
        assert (caught.value.retry_after, caught.value.attempts) == (float(delay[:-1]), 1)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"retry_after": "soon"},
        {"retry_after": "-5"},
        {"retry_after": "0"},
        {"retry_after": "nan"},
        {"retry_after": "1e400"},
        {"retry_after_ms": ""},
    ],
)
async def test_a_wait_that_makes_no_sense_is_passed_over(headers):
    with RawServer([limited(**headers)], [answer(openai_answer("yes"))]) as server:
        assert (await OpenAIProvider("key", base_url=server.url, retry=QUICK).complete("hi")).attempts == 2


async def test_the_simulators_429(sim, provider_name):
    sim.push(status=429, retry_after=0.05)
    assert (await sim.provider(provider_name, retry=QUICK).complete("hi")).attempts == 2


# What does not help.


@CALLS
async def test_a_spent_quota_is_not_tried_again(sim, call):
    sim.push(status=429, error="insufficient_quota")
    with pytest.raises(QuotaError) as caught:
        await call(sim.provider(retry=QUICK))
    assert (caught.value.status, sim.stats().requests, caught.value.retryable) == (429, 1, False)


@pytest.mark.parametrize(("advice", "status", "requests"), [("false", 500, 1), ("true", 400, 2)])
async def test_the_servers_own_advice(sim, advice, status, requests):
    sim.push(status=status, headers={"x-should-retry": advice})
    llm = sim.provider(retry=QUICK)
    if requests == 1:
        with pytest.raises(LLMError):
            await llm.complete("hi")
    else:
        await llm.complete("hi")
    assert sim.stats().requests == requests


async def test_a_malformed_answer_is_not_paid_for_twice(sim, provider_name):
    sim.push(body=b"<html>proxy</html>", headers={"content-type": "text/html"})
    with pytest.raises(LLMError):
        await sim.provider(provider_name, retry=QUICK).complete("hi")
    assert sim.stats().requests == 1


async def test_bad_input_is_never_sent(sim, provider_name):
    llm = sim.provider(provider_name, retry=QUICK)
    with pytest.raises(ValueError, match="max_tokens") as caught:
        await llm.complete("hi", max_tokens=-1)
    assert (caught.value.attempts, sim.stats().requests) == (0, 0)


def test_a_call_without_trouble_has_one_attempt(sim, provider_name):
    assert sim.provider(provider_name).sync.complete("hi").attempts == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"max_retries": -1},
        {"base_delay": -1},
        {"base_delay": float("nan")},
        {"max_delay": "x"},
        {"max_retry_after": -0.1},
        {"max_retries": 1.5},
        {"max_retries": "2"},
    ],
)
def test_policies_that_make_no_sense_are_refused_at_once(settings):
    with pytest.raises((ConfigurationError, ValueError), match=next(iter(settings))):
        OpenAIProvider("key", retry=RetryPolicy(**settings))
