"""Taking the messages of a call apart and encoding its body, for each wire format."""

from __future__ import annotations

import json

import pytest

from edgequake_llm import ChatMessage, Simulator


@pytest.fixture(params=["openai", "anthropic", "gemini", "ollama"])
def core(request):
    with Simulator() as simulator:
        yield simulator.provider(request.param)._core


def conversation(length: int) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": f"message {n}: " + "words " * 40} for n in range(length)]


@pytest.mark.parametrize("length", [1, 500])
def bench_encode_dicts(benchmark, core, length):
    _, body = benchmark(core.encode, conversation(length))
    assert len(json.dumps(json.loads(body))) > 200 * length


def bench_encode_chat_messages(benchmark, core):
    messages = [ChatMessage.from_dict(message) for message in conversation(500)]
    _, body = benchmark(core.encode, messages)
    assert body.count(b"message ") == 500
