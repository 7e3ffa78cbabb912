"""The four limits on a call's time, each with its own error. Limits are short; nothing here depends on how short."""

from __future__ import annotations

import ssl
import threading
from datetime import timedelta

import pytest
import trustme

from edgequake_llm import (
    ConnectTimeout,
    FirstTokenTimeout,
    HTTPConfig,
    IdleTimeout,
    LLMError,
    OpenAIProvider,
    RateLimitError,
    Simulator,
    Timeouts,
    TotalTimeout,
)
from support.raw import CLOSE, HOLD, RawServer, head, openai_delta, sse
from support.waiting import aeventually

SOON = 0.3


def facts(error, limit=SOON):
    """Every time-out tells these."""
    assert isinstance(error, TimeoutError)
    assert error.elapsed >= limit
    assert error.provider in str(error)
    return True


@pytest.mark.parametrize("stream", [False, True])
async def test_connect(stream, own_pool):
    with RawServer([HOLD]) as server:  # takes the connection and never answers the handshake
        url = server.url.replace("http:", "https:")
        llm = OpenAIProvider("key", base_url=url, http=own_pool(), retry=0, timeout=Timeouts(connect=SOON))
        with pytest.raises(ConnectTimeout, match=r"no connection within.*Timeouts\.connect") as caught:
            await (anext(llm.stream("hi")) if stream else llm.complete("hi"))
        assert facts(caught.value)
        assert isinstance(caught.value, ConnectionError)
        assert caught.value.attempts == 1


async def test_connect_is_tried_again(own_pool):
    with RawServer([HOLD]) as server:
        url = server.url.replace("http:", "https:")
        llm = OpenAIProvider("key", base_url=url, http=own_pool(), retry=1, timeout=Timeouts(connect=SOON))
        with pytest.raises(ConnectTimeout) as caught:
            await llm.complete("hi")
        assert caught.value.attempts == 2


async def test_first_token_of_a_call(provider_name):
    with Simulator(ttft=60) as sim:
        llm = sim.provider(provider_name, timeout=Timeouts(first_token=SOON))
        with pytest.raises(FirstTokenTimeout, match=r"no first token within.*Timeouts\.first_token") as caught:
            await llm.complete("hi")
        assert facts(caught.value)
        await aeventually(lambda: (sim.stats().aborted, sim.stats().in_flight) == (1, 0))
        assert sim.stats().requests == 1, "a time-out of the answer is not tried again"
        sim.push(ttft=0)
        assert (await llm.complete("hi")).content


@pytest.mark.parametrize("where", ["before the head", "after the head", "with signs of life"])
async def test_first_token_of_a_stream(sim, provider_name, where):
    llm = sim.provider(provider_name, timeout=Timeouts(first_token=SOON, idle=60))
    if where == "before the head":
        sim.push(delay=60)
    else:
        sim.push(fault="stall", after_events=0, keep_alive=0.02 if where == "with signs of life" else None)
    with pytest.raises(FirstTokenTimeout) as caught:
        async for _ in llm.stream("hi"):
            pass
    assert facts(caught.value)
    await aeventually(lambda: (sim.stats().aborted, sim.stats().in_flight) == (1, 0))
    assert sim.stats().requests == 1


@pytest.mark.parametrize("name", ["openai", "anthropic"])
async def test_a_beginning_that_carries_nothing_is_no_first_token(sim, name):
    sim.push(fault="stall", after_events=1, keep_alive=0.02)  # the role alone; message_start
    llm = sim.provider(name, timeout=Timeouts(first_token=SOON, idle=60))
    with pytest.raises(FirstTokenTimeout):
        async for _ in llm.stream("hi"):
            pass


@pytest.mark.parametrize("keep_alive", [None, 0.02])
async def test_idle(sim, provider_name, keep_alive):
    """Comments, pings and empty lines are no events: a stalled model is found out in spite of them."""
    sim.push(fault="stall", after_events=6, keep_alive=keep_alive)
    llm = sim.provider(provider_name, timeout=Timeouts(idle=SOON, first_token=60))
    stream, texts = llm.stream("hi"), []
    with pytest.raises(IdleTimeout, match=r"nothing more came within.*Timeouts\.idle") as caught:
        async for text in stream:
            texts.append(text)
    assert facts(caught.value)
    assert texts
    assert caught.value.partial.content == "".join(texts)
    await aeventually(lambda: (sim.stats().aborted, sim.stats().in_flight) == (1, 0))
    assert sim.stats().requests == 1, "never again after the first event"


async def test_idle_within_a_whole_answer(sim, provider_name):
    sim.push(fault="stall", after_bytes=20)
    with pytest.raises(IdleTimeout):
        await sim.provider(provider_name, timeout=Timeouts(idle=SOON)).complete("hi")


@pytest.mark.parametrize(
    "comment", [b": ping\n\n", b"event: ping\ndata: {}\n\n", b"\n", b"data:\n\n", b"id: 7\nretry: 9\n\n"]
)
async def test_nothing_that_carries_nothing_resets_idle(comment):
    with RawServer([head(), sse(openai_delta("one")), *[comment] * 3, HOLD]) as server:
        llm = OpenAIProvider("key", base_url=server.url, timeout=Timeouts(idle=SOON, first_token=60))
        with pytest.raises((IdleTimeout, LLMError)) as caught:
            async for _ in llm.stream("hi"):
                pass
        assert isinstance(caught.value, IdleTimeout)


async def test_total_of_a_healthy_stream(provider_name):
    with Simulator(tokens=100_000, gap=0.02) as sim:
        llm = sim.provider(provider_name, timeout=Timeouts(total=SOON * 2))
        stream, texts = llm.stream("hi"), []
        with pytest.raises(TotalTimeout, match=r"no whole answer within.*Timeouts\.total") as caught:
            async for text in stream:
                texts.append(text)
        assert facts(caught.value, SOON * 2)
        assert caught.value.partial.content == "".join(texts)
        await aeventually(lambda: (sim.stats().aborted, sim.stats().in_flight) == (1, 0))


@pytest.mark.parametrize("timeout", [SOON, timedelta(seconds=SOON), Timeouts(total=SOON)])
async def test_a_bare_number_is_the_total(timeout):
    with Simulator(ttft=60) as sim:
        for llm, fields in ((sim.provider(timeout=timeout), {}), (sim.provider(), {"timeout": timeout})):
            with pytest.raises(TotalTimeout):
                await llm.complete("hi", **fields)
            with pytest.raises(TotalTimeout):
                await llm.embed(["hi"], **fields)
            with pytest.raises(TotalTimeout):
                async for _ in llm.stream("hi", **fields):
                    pass
            with pytest.raises(TotalTimeout):
                llm.sync.complete("hi", **fields)


async def test_there_is_no_total_by_default():
    assert Timeouts().total is None
    assert None not in (Timeouts().connect, Timeouts().first_token, Timeouts().idle)


async def test_a_long_stream_outlives_every_limit_but_the_total():
    with Simulator(tokens=30, gap=0.1) as sim:
        llm = sim.provider(timeout=Timeouts(connect=2, first_token=2, idle=2))
        stream = llm.stream("hi")
        assert len([text async for text in stream]) == 30
        assert stream.metrics.total_ms > 2000


async def test_total_holds_over_retries_and_their_waits(sim):
    for _ in range(5):
        sim.push(status=429, retry_after=30)
    llm = sim.provider(retry=5, timeout=Timeouts(total=10))
    with pytest.raises(RateLimitError) as caught:
        await llm.complete("hi")
    # Waiting would take longer than the call may: the error comes at once.
    assert (caught.value.retry_after, caught.value.attempts, sim.stats().requests) == (30, 1, 1)


async def test_connecting_does_not_count_as_waiting_for_the_first_token(own_pool):
    """`first_token` begins with sending; a slow handshake has a limit of its own."""
    ca, context, gate = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), threading.Event()
    ca.issue_cert("127.0.0.1").configure_cert(context)
    answer = [head(connection="close"), sse(openai_delta("one"), openai_delta(None, "stop"), "[DONE]"), CLOSE]
    with RawServer(answer, tls=context, gate=gate) as server:
        http = HTTPConfig(ca_pem=ca.cert_pem.bytes(), keep_alive=own_pool().keep_alive)
        timeouts = Timeouts(connect=60, first_token=2, idle=60)
        llm = OpenAIProvider("key", base_url=server.url, http=http, timeout=timeouts, retry=0)
        threading.Timer(3, gate.set).start()
        assert [text async for text in llm.stream("hi")] == ["one"]


@pytest.mark.parametrize("name", ["connect", "first_token", "idle", "total"])
@pytest.mark.parametrize("value", [-1, 0, float("nan"), "5", True, timedelta(seconds=-1)])
def test_limits_that_make_no_sense_are_refused_at_once(sim, name, value):
    timeouts = Timeouts(**{name: value})
    with pytest.raises(ValueError, match=name):
        sim.provider(timeout=timeouts)
    with pytest.raises(ValueError, match=name):
        sim.provider().sync.complete("hi", timeout=timeouts)
    assert sim.stats().requests == 0


@pytest.mark.parametrize("none", [None, float("inf")])
def test_none_is_no_limit(sim, none):
    llm = sim.provider(timeout=Timeouts(connect=none, first_token=none, idle=none, total=none))
    assert llm.sync.complete("hi").content


def test_sync_calls_have_the_same_limits(sim, provider_name):
    llm = sim.provider(provider_name, timeout=Timeouts(first_token=SOON, idle=SOON))
    sim.push(delay=60)
    with pytest.raises(FirstTokenTimeout):
        llm.sync.complete("hi")
    sim.push(fault="stall", after_events=6)
    with pytest.raises(IdleTimeout):
        list(llm.sync.stream("hi"))
