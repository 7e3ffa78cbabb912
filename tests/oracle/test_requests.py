"""The encoders against real requests: what a recorded request says, said through the API, makes the same body.

The share that can be said so is printed for each family. What cannot is listed with its reason; a request that fails
for no listed reason fails the test, and so does a reason that no request has.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple
from urllib.parse import unquote

import calls_anthropic
import calls_gemini
import calls_ollama
import calls_openai
import calls_responses
import pytest
import recordings
from calls import NotExpressible

import edgequake_llm

pytestmark = recordings.needs_recordings

READERS = {
    "openai": calls_openai,
    "openai-responses": calls_responses,
    "anthropic": calls_anthropic,
    "gemini": calls_gemini,
    "ollama": calls_ollama,
}
FAMILIES = {
    "openai": ["openai.chat"],
    "responses": ["openai.responses"],
    "anthropic": ["anthropic.messages"],
    "gemini": ["gemini.generate", "gemini.stream"],
    "ollama": ["ollama.chat"],
}
LEAST = 0.95
# Servers that recordings are named after, and how the library knows them.
PRESETS = {
    "deepseek": "deepseek",
    "groq": "groq",
    "llamacpp": "llamacpp",
    "mistral": "mistral",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "xai": "xai",
    # These serve open models, and take what vLLM takes.
    "doubleword": "vllm",
    "gpustack": "vllm",
    "ollama": "vllm",
    "venice": "vllm",
}


class Reason(NamedTuple):
    """Why some requests cannot be said: all whose difference begins with one of ``signs`` have it."""

    why: str
    signs: tuple[str, ...]


REFUSED = Reason("it is wrong, as its server said too; ours refuses it before it is sent", ("refused: ",))
REASONS = {
    "openai": [
        REFUSED,
        Reason(
            "earlier thinking goes back only to servers that want it", ("/reasoning_content is only in the recorded",)
        ),
    ],
    "responses": [
        Reason("thinking that a server shows as it is goes back as a summary", ("/summary is",)),
    ],
    "anthropic": [
        REFUSED,
        Reason("instructions go to the front: other providers have no place for them further down", ("the middle of",)),
        Reason("a schema without a type gets one, which Anthropic asks for", ("/input_schema/type is only in ours",)),
    ],
    "gemini": [
        REFUSED,
        Reason("there is no such role", ("no place for the role",)),
        Reason(
            "the client sent protobuf's numbers for the types of a schema",
            ("/parameters is only in the recorded: {'type': 6",),
        ),
        Reason(
            "the client split a signature from its text; ours goes back where it came from", ("/parts is [{'text': ",)
        ),
        Reason("the text of a result is a number, and goes as one", ("/response/result is 5 for '5'",)),
    ],
    "ollama": [],
    "embeddings": [
        REFUSED,
        Reason("pictures have no place in embed", ("several parts",)),
    ],
}


def preset_of(exchange: recordings.Exchange) -> str | None:
    """The preset for the server that the recording is named after."""
    words = re.split("[/_]", exchange.case.removeprefix("tests/cassettes/"))
    return next((PRESETS[word] for word in words if word in PRESETS), None)


def provider_of(exchange: recordings.Exchange) -> edgequake_llm.Provider:
    preset = preset_of(exchange)
    match exchange.format:
        case "openai-responses":
            return edgequake_llm.OpenAIProvider("key", api="responses")
        case "openai" if preset:
            return edgequake_llm.OpenAIProvider.preset(preset, "key")
        case "openai":
            return edgequake_llm.OpenAIProvider("key")
        case "anthropic":
            return edgequake_llm.AnthropicProvider("key")
        case "gemini":
            return edgequake_llm.GeminiProvider("key")
        case _:
            return edgequake_llm.OllamaProvider()


def differences(recorded: Any, ours: Any, at: str = "") -> list[str]:
    """Where two bodies differ, as paths with what is there."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        found = [f"{at}/{key} is only in ours: {ours[key]!r}" for key in ours.keys() - recorded.keys()]
        found += [f"{at}/{key} is only in the recorded: {recorded[key]!r}" for key in recorded.keys() - ours.keys()]
        both = sorted(recorded.keys() & ours.keys())
        return sorted(found) + [line for key in both for line in differences(recorded[key], ours[key], f"{at}/{key}")]
    if isinstance(recorded, list) and isinstance(ours, list) and len(recorded) == len(ours):
        pairs = enumerate(zip(recorded, ours, strict=True))
        return [line for place, (one, other) in pairs for line in differences(one, other, f"{at}/{place}")]
    return [] if recorded == ours else [f"{at} is {ours!r} for {recorded!r}"]


def said(exchange: recordings.Exchange) -> str:
    """What keeps a request from being said through the API; empty if nothing does."""
    reader = READERS[exchange.format]
    try:
        call = reader.read_call(exchange.path, exchange.request)
        path, body = provider_of(exchange)._core.encode(call.messages, None, call.options, stream=call.stream)
    except NotExpressible as error:
        return f"no place for {error}"
    except edgequake_llm.InvalidRequestError as error:
        return f"refused: {error.message}"
    assert _method(path) == _method(exchange.path), exchange
    found = differences(reader.normal(exchange.request), reader.normal(json.loads(body)))
    return "; ".join(found)


def _method(path: str) -> str:
    """The last part of a path, with Gemini's model and method."""
    return unquote(path.partition("?")[0].rpartition("/")[2])


def report(family: str, exchanges: list[recordings.Exchange], why_not: dict[int, str], capsys) -> None:
    """Print the share that can be said and the reasons of the rest; fail for what has none."""
    counts = dict.fromkeys((reason.why for reason in REASONS[family]), 0)
    unexplained = []
    for exchange in exchanges:
        why = why_not.get(exchange.number, "")
        reason = next((r.why for r in REASONS[family] if any(sign in why for sign in r.signs)), None)
        if reason is not None:
            counts[reason] += 1
            assert reason != REFUSED.why or exchange.status >= 400, exchange
        elif why:
            unexplained.append(f"{exchange}: {why[:300]}")
    share = 1 - len(why_not) / len(exchanges)
    with capsys.disabled():
        print(f"\n{family}: {len(exchanges) - len(why_not)} of {len(exchanges)} requests can be said ({share:.2%})")
        for why, count in counts.items():
            print(f"  {count} cannot: {why}")
    assert not unexplained, f"{len(unexplained)} for no known reason:\n" + "\n".join(unexplained[:10])
    assert all(counts.values()), "a reason that no request has any more"
    assert share >= LEAST


@pytest.mark.parametrize("family", FAMILIES)
def test_each_request_can_be_said(family, capsys):
    exchanges = recordings.of(*FAMILIES[family])
    why_not = {exchange.number: why for exchange in exchanges if (why := said(exchange))}
    report(family, exchanges, why_not, capsys)


def embed_said(exchange: recordings.Exchange) -> str:
    """As ``said``, for embeddings."""
    reader = READERS[exchange.provider]
    try:
        call = reader.read_embed(exchange.path, exchange.request)
        path, body = provider_of(exchange)._core.encode_embed(call.texts, call.options)
    except NotExpressible as error:
        return f"no place for {error}"
    except edgequake_llm.InvalidRequestError as error:
        return f"refused: {error.message}"
    assert _method(path) == _method(exchange.path), exchange
    return "; ".join(differences(reader.normal_embed(exchange.request), reader.normal_embed(json.loads(body))))


def test_each_embedding_request_can_be_said(capsys):
    exchanges = recordings.of("openai.embeddings", "gemini.embed")
    why_not = {exchange.number: why for exchange in exchanges if (why := embed_said(exchange))}
    report("embeddings", exchanges, why_not, capsys)
