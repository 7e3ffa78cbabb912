"""Decoding whole streams of 1,000 events, for each wire format; the bytes come from the simulator."""

from __future__ import annotations

import http.client
import json

import pytest

from edgequake_llm import Simulator, _core

EVENTS = 1000
REQUESTS = {
    "openai": ("/v1/chat/completions", {"model": "m", "stream": True, "stream_options": {"include_usage": True}}),
    "anthropic": ("/v1/messages", {"model": "m", "stream": True, "max_tokens": 5000}),
    "gemini": ("/v1beta/models/m:streamGenerateContent?alt=sse", {"contents": [{"parts": [{"text": "hi"}]}]}),
    "ollama": ("/api/chat", {"model": "m", "stream": True}),
}


@pytest.fixture(params=REQUESTS)
def recorded(request):
    path, body = REQUESTS[request.param]
    if request.param != "gemini":
        body = {**body, "messages": [{"role": "user", "content": "hi"}]}
    with Simulator(tokens=EVENTS) as simulator:
        connection = http.client.HTTPConnection(simulator.url.removeprefix("http://"))
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        yield request.param, connection.getresponse().read()
        connection.close()


def bench_decode_stream(benchmark, recorded):
    wire, body = recorded
    response = benchmark(_core.decode_chat, wire, body, stream=True)
    assert response.usage.completion_tokens == EVENTS


def bench_decode_stream_in_small_pieces(benchmark, recorded):
    wire, body = recorded
    cuts = list(range(100, len(body), 100))
    response = benchmark(_core.decode_chat, wire, body, stream=True, cuts=cuts)
    assert response.usage.completion_tokens == EVENTS
