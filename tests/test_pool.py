"""Connections: counted by the server, shared between calls and between providers of equal settings."""

from __future__ import annotations

import asyncio

import pytest

from edgequake_llm import ClosedError, HTTPConfig, OpenAIProvider, Simulator
from support.waiting import aeventually, eventually

HTTP2 = HTTPConfig(protocol="http2")


async def test_calls_in_a_row_share_one_connection(llm, sim):
    for _ in range(20):
        await llm.complete("hi")
    stats = sim.stats()
    assert (stats.requests, stats.connections, stats.h2_requests) == (20, 1, 0)


async def test_streams_in_a_row_share_one_connection(sim, provider_name, own_pool):
    llm = sim.provider(provider_name, http=own_pool())
    for _ in range(20):
        assert "".join([text async for text in llm.stream("hi")])
        # The connection comes back when HTTP's own end has been read, just after the last event.
        await aeventually(lambda: llm._core.connections() == (1, 0))
    assert (sim.stats().requests, sim.stats().connections) == (20, 1)


async def test_at_once_over_http1_takes_a_connection_each_and_keeps_them():
    with Simulator(ttft=0.2) as sim:
        llm = sim.provider()
        await asyncio.gather(*(llm.complete("hi") for _ in range(8)))
        assert sim.stats().connections == sim.stats().max_in_flight == 8
        await asyncio.gather(*(llm.complete("hi") for _ in range(8)))
        assert sim.stats().connections == 8


async def test_the_first_calls_at_once_open_one_http2_connection(sim, provider_name):
    llm = sim.provider(provider_name, http=HTTP2)
    responses = await asyncio.gather(*(llm.complete("hi") for _ in range(50)))
    assert {response.http_version for response in responses} == {"HTTP/2"}
    assert (sim.stats().h2_requests, sim.stats().connections) == (50, 1)


async def test_a_full_http2_connection_gets_company():
    with Simulator(max_concurrent_streams=2, ttft=0.2) as sim:
        llm = sim.provider(http=HTTP2)
        await llm.complete("the server has said how many streams it takes")
        await asyncio.gather(*(llm.complete("hi") for _ in range(8)))
        stats = sim.stats()
        assert (stats.completed, stats.faulted, stats.aborted) == (9, 0, 0)
        assert stats.connections <= 5


async def test_providers_of_equal_settings_share_a_pool(sim, provider_name):
    for _ in range(10):
        async with sim.provider(provider_name) as llm:
            await llm.complete("hi")
            other = sim.provider(provider_name)
            await other.complete("hi")
    assert sim.stats().connections <= 2


async def test_a_new_provider_for_each_request_costs_one_handshake():
    with Simulator(tls=True) as sim:
        for _ in range(20):
            await sim.provider(tls=True).complete("hi")
        assert (sim.stats().tls_handshakes, sim.stats().connections) == (1, 1)


async def test_providers_of_other_settings_do_not(sim):
    for keep_alive in (30, 31):
        await sim.provider(http=HTTPConfig(keep_alive=keep_alive)).complete("hi")
    assert sim.stats().connections == 2


async def test_other_keys_share_connections(sim):
    for key in ("one", "two"):
        await sim.provider(api_key=key).complete("hi")
    assert sim.stats().connections == 1
    assert [request["headers"]["authorization"] for request in sim.requests()] == ["Bearer one", "Bearer two"]


async def test_errors_give_the_connection_back(sim):
    llm = sim.provider(retry=0)
    for status in (400, 401, 404, 429, 500, 529):
        sim.push(status=status)
        with pytest.raises(Exception, match=str(status)):
            await llm.complete("hi")
    await llm.complete("hi")
    assert (sim.stats().requests, sim.stats().connections) == (7, 1)


@pytest.mark.parametrize("protocol", ["http1", "http2"])
async def test_a_server_that_restarts_costs_no_call_and_no_retry(sim, protocol):
    llm = sim.provider(retry=0, http=HTTPConfig(protocol=protocol))
    for _ in range(5):
        response = await llm.complete("hi")
        assert response.attempts == 1
        sim.close_connections()
        await aeventually(lambda: sim.stats().connections_open == 0)
    assert sim.stats().connections == 5


def test_unused_connections_are_closed_in_time(sim):
    llm = sim.provider(http=HTTPConfig(keep_alive=0.2))
    llm.sync.complete("hi")
    eventually(lambda: sim.stats().connections_open == 0)
    llm.sync.complete("hi")
    assert sim.stats().connections == 2


@pytest.mark.parametrize("protocol", ["http1", "http2"])
async def test_closing_the_last_provider_closes_its_connections(sim, protocol, own_pool):
    http = own_pool(protocol)
    first, second = sim.provider(http=http), sim.provider(http=http)
    await first.complete("hi")
    await second.complete("hi")
    await first.aclose()
    await second.complete("still open, because another provider uses it")
    assert sim.stats().connections == 1
    await second.aclose()
    await aeventually(lambda: sim.stats().connections_open == 0)
    for llm in (first, second):
        with pytest.raises(ClosedError, match="closed"):
            await llm.complete("hi")
        with pytest.raises(ClosedError):
            llm.stream("hi")
        with pytest.raises(ClosedError):
            llm.sync.complete("hi")


def test_making_a_provider_opens_nothing(sim):
    providers = [sim.provider() for _ in range(100)]
    assert isinstance(providers[0], OpenAIProvider)
    assert sim.stats().connections == 0
