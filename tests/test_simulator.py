"""The simulator as people use it from Python: what it answers, how it is scripted, what it counts, and how it ends."""

from __future__ import annotations

import json
import socket

import pytest

from edgequake_llm import (
    HTTPConfig,
    LLMError,
    OpenAIProvider,
    RateLimitError,
    ServerError,
    Simulator,
    StreamInterrupted,
)
from edgequake_llm.simulator import SimulatorStats
from support.waiting import aeventually, eventually


async def test_it_speaks_all_four_formats(llm, sim):
    assert "simulated" in (await llm.complete("hi")).content.lower()
    assert "".join([text async for text in llm.stream("hi")])
    (request, _) = sim.requests()
    paths = {
        "openai": "/v1/chat/completions",
        "anthropic": "/v1/messages",
        "gemini": f"/v1beta/models/{llm.model}:generateContent",
        "ollama": "/api/chat",
    }
    assert request["path"] == paths[llm.name]
    assert request["method"] == "POST"
    assert json.loads(request["body"])


async def test_settings_shape_the_answers():
    with Simulator(text="alpha beta gamma", embedding_dims=7) as sim:
        assert (await sim.provider("openai").complete("hi")).content == "alpha beta gamma"
        assert (await sim.provider("ollama").embed(["a"])).dimensions == 7
    with Simulator(tokens=25) as sim:
        stream = sim.provider("anthropic").stream("hi")
        assert len([text async for text in stream]) == 25
        assert stream.response.usage.completion_tokens == 25


async def test_max_tokens_cuts_the_answer(llm):
    response = await llm.complete("hi", max_tokens=3)
    assert response.finish_reason == "length"
    assert response.usage.completion_tokens == 3


async def test_replies_are_taken_in_order_and_once(llm, sim):
    sim.push(text="first")
    sim.push(text="second")
    sim.push(text="for embeddings only", path="embed")
    assert [(await llm.complete("hi")).content for _ in range(2)] == ["first", "second"]
    assert (await llm.complete("hi")).content not in {"first", "second", "for embeddings only"}
    sim.push(text="forgotten")
    sim.clear()
    assert (await llm.complete("hi")).content != "forgotten"


async def test_one_request_can_say_what_it_wants(llm):
    response = await llm.complete("hi", extra_headers={"x-simulator": "tokens=4"})
    assert response.usage.completion_tokens == 4
    with pytest.raises(LLMError, match="unknown key"):
        await llm.complete("hi", extra_headers={"x-simulator": "speed=9"})
    with pytest.raises(StreamInterrupted):
        async for _ in llm.stream("hi", extra_headers={"x-simulator": "cut_after=8;gap_ms=5"}):
            pass


async def test_limits_are_answered_as_the_providers_do(provider_name):
    with Simulator(requests_per_minute=2, limit_window=3600) as sim:
        llm = sim.provider(provider_name, retry=0)
        for _ in range(2):
            await llm.complete("hi")
        with pytest.raises(RateLimitError) as caught:
            await llm.complete("hi")
        assert caught.value.retry_after > 0
        assert sim.stats().rate_limited == 1


async def test_random_failures_are_repeatable():
    async def run():
        with Simulator(failure_rate=0.5, failure_status=503, seed=7) as sim:
            llm = sim.provider("openai", retry=0)
            seen = []
            for _ in range(20):
                try:
                    await llm.complete("hi")
                    seen.append(True)
                except ServerError:
                    seen.append(False)
            return seen

    first = await run()
    assert first == await run()
    assert 3 <= sum(first) <= 17


async def test_stats_count_what_happened(llm, sim):
    await llm.complete("hi")
    sim.push(gap=0.02, tokens=5000)
    async with llm.stream("hi") as stream:
        async for _ in stream:
            break
    await aeventually(lambda: sim.stats().aborted == 1)
    stats = sim.stats()
    assert isinstance(stats, SimulatorStats)
    assert (stats.requests, stats.completed, stats.in_flight) == (2, 1, 0)
    assert stats.bytes_sent > 0
    assert "requests=2" in repr(stats)


async def test_tls_with_a_throw_away_certificate(provider_name):
    with Simulator(tls=True) as sim:
        assert sim.tls_url.startswith("https://")
        assert sim.cert_pem.startswith("-----BEGIN CERTIFICATE-----")
        llm = sim.provider(provider_name, tls=True)
        response = await llm.complete("hi")
        assert response.http_version == "HTTP/2"
        assert sim.stats().tls_handshakes == 1
        stranger = OpenAIProvider("k", base_url=sim.base_url("openai", tls=True), retry=0)
        with pytest.raises(LLMError, match=r"certificate|UnknownIssuer"):
            await stranger.complete("hi")


async def test_a_clients_certificate_can_be_wanted():
    with Simulator(tls=True, require_client_cert=True) as sim:
        with pytest.raises(LLMError):
            await sim.provider("openai", tls=True, retry=0).complete("hi")
        http = HTTPConfig(ca_pem=sim.cert_pem.encode(), client_pem=sim.client_pem.encode())
        assert (await sim.provider("openai", tls=True, http=http).complete("hi")).content


def test_tls_without_tls_is_refused():
    with Simulator() as sim:
        assert sim.tls_url is None
        assert sim.cert_pem is None
        with pytest.raises(ValueError, match="tls=True"):
            sim.base_url("openai", tls=True)
        with pytest.raises(ValueError, match="tls=True"):
            sim.provider("openai", tls=True)


def test_it_ends_with_its_block():
    with Simulator() as sim:
        port = int(sim.url.rpartition(":")[2])
        assert sim.provider("openai").sync.complete("hi").content

    def refused():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            return True
        return False

    eventually(refused)
    sim.stop()


def test_a_port_can_be_chosen_and_a_taken_one_is_an_error():
    with Simulator() as sim:
        port = int(sim.url.rpartition(":")[2])
        with pytest.raises(LLMError, match=str(port)):
            Simulator(port=port)
    with Simulator(port=port) as again:
        assert again.url == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"jitter": 2}, "jitter"),
        ({"failure_rate": -1}, "failure_rate"),
        ({"failure_status": 200}, "failure_status"),
        ({"chunk_events": 0}, "chunk_events"),
        ({"embedding_dims": 0}, "embedding_dims"),
        ({"require_client_cert": True}, "tls"),
        ({"speed": 9}, "speed"),
        ({"ttft": -1}, "ttft"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Simulator(**settings)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({"fault": "explode"}, "explode"),
        ({"speed": 9}, "speed"),
        ({"status": 99}, "status"),
        ({"headers": {"a b": "c"}}, "header"),
        ({"headers": {"content-length": "7"}}, "content-length"),
        ({"chunk_events": 0}, "chunk_events"),
    ],
)
def test_bad_replies_are_refused(sim, reply, words):
    with pytest.raises(ValueError, match=words):
        sim.push(**reply)


def test_it_can_close_its_connections(llm, sim):
    llm.sync.complete("hi")
    sim.close_connections()
    eventually(lambda: sim.stats().connections_open == 0)
    assert llm.sync.complete("hi").content


def test_repr_tells_where_it_is(sim):
    assert repr(sim) == f"<Simulator {sim.url}>"
    assert sim.base_url("openai") == f"{sim.url}/v1"
    assert sim.base_url("anthropic") == sim.url
    assert sim.base_url("gemini") == f"{sim.url}/v1beta"
    assert sim.base_url("ollama") == sim.url
