"""The decoders against real answers: each recorded exchange reads the same as an independent, plain reading has it."""

from __future__ import annotations

import json
import random
import re
import struct
from typing import Any

import pytest
import reading_anthropic
import reading_errors
import reading_gemini
import reading_ollama
import reading_openai
import reading_responses
import recordings
import streams_reading

import edgequake_llm
from edgequake_llm import _core

pytestmark = recordings.needs_recordings

READINGS = {
    "openai.chat": reading_openai,
    "openai.responses": reading_responses,
    "anthropic.messages": reading_anthropic,
    "gemini.generate": reading_gemini,
    "gemini.stream": reading_gemini,
    "ollama.chat": reading_ollama,
}
EMBEDDINGS = {"openai.embeddings": reading_openai, "gemini.embed": reading_gemini}
USAGE = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
)

# Perplexity's vectors are signed bytes. Read as another server's they must be refused, not taken for floats.
SIGNED_BYTES = "pplx-embed"


def parsed(arguments: str) -> Any:
    """Arguments as Python objects; the text itself where the answer was cut off in the middle of them."""
    try:
        return json.loads(arguments)
    except json.JSONDecodeError:
        return arguments


def seen(response: edgequake_llm.LLMResponse) -> dict[str, Any]:
    """What a caller sees of an answer, in the form of the readings."""
    usage = response.usage
    return {
        "id": response.id,
        "model": response.model,
        "text": response.content,
        "thinking": response.thinking or "",
        "refusal": response.refusal or "",
        "tool_calls": [(call.name, parsed(call.arguments)) for call in response.tool_calls],
        "usage": usage and {name: getattr(usage, name) for name in USAGE},
        "finish_reason": response.finish_reason,
    }


def decode(exchange: recordings.Exchange, **options: Any) -> edgequake_llm.LLMResponse:
    body = exchange.body.encode()
    return _core.decode_chat(exchange.format, body, stream=exchange.stream, headers=exchange.headers, **options)


def say(differences: list[str], checked: int, least: int) -> None:
    """Fail with some of the differences, and if hardly anything was compared."""
    assert not differences, f"{len(differences)} of {checked} differ:\n" + "\n".join(differences[:10])
    assert checked >= least, f"only {checked} recordings were compared"


@pytest.mark.parametrize(
    ("wire", "least"),
    [
        ("openai.chat", 1200),
        ("openai.responses", 400),
        ("anthropic.messages", 400),
        ("gemini.generate", 300),
        ("gemini.stream", 120),
        ("ollama.chat", 40),
    ],
)
def test_each_answer_reads_as_the_plain_reading_has_it(wire, least):
    answers = [exchange for exchange in recordings.of(wire) if exchange.status == 200]
    differences = []
    for exchange in answers:
        expected = READINGS[wire].read_chat(exchange.body, exchange.stream)
        got = seen(decode(exchange))
        for field, value in expected.items():
            if got[field] != value:
                differences.append(f"{exchange} {field}: {got[field]!r}, read as {value!r}")
        assert got.keys() == expected.keys()
    say(differences, len(answers), least)


@pytest.mark.parametrize(("wire", "least"), [("openai.embeddings", 85), ("gemini.embed", 15)])
def test_each_vector_reads_as_the_plain_reading_has_it(wire, least):
    answers = [exchange for exchange in recordings.of(wire) if exchange.status == 200]
    differences = []
    for exchange in answers:
        texts = exchange.request.get("input") or exchange.request.get("requests")
        count = 1 if isinstance(texts, str) else len(texts)
        if SIGNED_BYTES in exchange.request.get("model", ""):
            with pytest.raises(edgequake_llm.InvalidResponseError, match="32-bit floats"):
                _core.decode_embed(exchange.provider, exchange.body.encode(), count)
            expected = reading_openai.read_embeddings(exchange.body, signed_bytes=True)
            assert _core.decode_embed("perplexity", exchange.body.encode(), count).tolist() == expected
            continue
        expected = EMBEDDINGS[wire].read_embeddings(exchange.body)
        got = _core.decode_embed(exchange.provider, exchange.body.encode(), count)
        if [_as_float32(vector) for vector in got] != [_as_float32(vector) for vector in expected]:
            differences.append(str(exchange))
    say(differences, len(answers), least)


def _as_float32(vector: Any) -> bytes:
    values = list(vector)
    return struct.pack(f"<{len(values)}f", *values)


@pytest.mark.parametrize(
    ("family", "least"), [("openai", 50), ("anthropic", 15), ("gemini", 10)]
)  # Ollama has no recorded error.
def test_each_error_answer_raises_the_right_exception(family, least):
    wires = [*READINGS, *EMBEDDINGS, "gemini.cached"]
    failed = [e for e in recordings.of(*wires) if e.status != 200 and e.provider == family]
    differences = []
    for exchange in failed:
        expected = reading_errors.read_error(exchange.wire, exchange.status, exchange.headers, exchange.body)
        with pytest.raises(edgequake_llm.LLMError) as raised:
            decode(exchange, status=exchange.status)
        error = raised.value
        got = (type(error).__name__, error.status, error.code, error.error_type, error.retry_after)
        facts = (expected.exception, exchange.status, expected.code, expected.error_type, expected.retry_after)
        # Some servers show the key, with its middle hidden; the library shows nothing of it.
        message = re.sub(r"\bsk-\S{8,}", "[redacted]", expected.message.strip())
        if got != facts or not error.message.startswith(message):
            differences.append(f"{exchange}: {got} {error.message!r}, read as {facts} {expected.message!r}")
        assert error.provider == family
    say(differences, len(failed), least)


def plain(events: list[Any]) -> list[tuple[str, ...]]:
    """Events as values that compare."""
    return [(type(event).__name__, *(repr(getattr(event, name)) for name in event.__match_args__)) for event in events]


STREAMS = [wire for wire in READINGS if wire != "gemini.generate"]


@pytest.mark.parametrize("wire", STREAMS)
def test_random_cuts_change_no_event(wire):
    streams = [exchange for exchange in recordings.of(wire) if exchange.status == 200 and exchange.stream]
    differences = []
    for exchange in streams:
        body = exchange.body.encode()
        whole = plain(_core.decode_events(exchange.format, body))
        dice = random.Random(exchange.number)
        for pieces in (2, 10, 100):
            cuts = sorted(dice.randrange(len(body) + 1) for _ in range(pieces))
            if plain(_core.decode_events(exchange.format, body, cuts=cuts)) != whole:
                differences.append(f"{exchange} cut at {cuts}")
        if plain(_core.decode_events(exchange.format, body, cuts=range(1, len(body)))) != whole:
            differences.append(f"{exchange} byte by byte")
    say(differences, len(streams), 15)


@pytest.mark.parametrize("wire", STREAMS)
def test_a_cut_at_every_byte_changes_no_event(wire):
    """Of the shortest streams: each cut costs a reading of the whole. Of longer ones a part of the bytes."""
    streams = [exchange for exchange in recordings.of(wire) if exchange.status == 200 and exchange.stream]
    streams = sorted(streams, key=lambda exchange: len(exchange.body))[:6]
    differences = []
    for exchange in streams:
        body = exchange.body.encode()
        whole = plain(_core.decode_events(exchange.format, body))
        places = range(1, len(body))
        if len(body) > 6_000:
            places = random.Random(exchange.number).sample(places, 300)
        for cut in places:
            if plain(_core.decode_events(exchange.format, body, cuts=[cut])) != whole:
                differences.append(f"{exchange} cut at {cut}")
    say(differences, len(streams), 6)


@pytest.mark.parametrize("wire", STREAMS)
def test_the_parser_finds_the_frames_that_the_plain_reading_finds(wire):
    streams = [exchange for exchange in recordings.of(wire) if exchange.status == 200 and exchange.stream]
    for exchange in streams:
        body = exchange.body.encode()
        if wire == "ollama.chat":
            expected = [("", line) for line in streams_reading.read_ndjson(body)]
            pieces = _core.read_frames("ndjson", [body])
        else:
            expected = streams_reading.read_sse(body)
            pieces = _core.read_frames("sse", [body])
        assert [frame for piece in pieces for frame in piece] == expected, exchange


@pytest.mark.parametrize("wire", STREAMS)
def test_a_stream_cut_off_anywhere_gives_the_text_so_far_or_raises(wire):
    """A body that ends early never passes for a whole answer, unless what is missing is only what follows the end."""
    streams = [exchange for exchange in recordings.of(wire) if exchange.status == 200 and exchange.stream]
    for exchange in streams:
        body = exchange.body.encode()
        text = _core.decode_chat(exchange.format, body, stream=True).content
        dice = random.Random(exchange.number)
        for length in (dice.randrange(len(body)) for _ in range(10)):
            try:
                got = _core.decode_chat(exchange.format, body[:length], stream=True)
            except edgequake_llm.StreamInterrupted as error:
                assert text.startswith(error.partial.content), exchange
            except edgequake_llm.InvalidResponseError:
                pass  # Cut in the middle of a line; the call makes an interruption of it.
            else:
                assert got.finish_reason is not None, exchange
                assert got.content == text, exchange
