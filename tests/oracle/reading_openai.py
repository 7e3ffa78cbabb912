"""A second reading of OpenAI-like answers, for comparing with the library's own.

It parses every chunk into plain dictionaries and adds them up in the plainest way. Nothing here is shared with the
library; where the two differ, one of them is wrong.
"""

from __future__ import annotations

import base64
import json
import struct
from typing import Any, TypedDict


class UsageReading(TypedDict):
    """Inclusive totals: the prompt holds the cached tokens, the completion holds the reasoning."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    reasoning_tokens: int


class ChatReading(TypedDict):
    """What one chat answer says."""

    id: str
    model: str
    text: str
    thinking: str
    refusal: str
    tool_calls: list[tuple[str, Any]]
    usage: UsageReading | None
    finish_reason: str | None


# What the recorded servers call the reasons; the field's names are the common ones.
_REASONS = {
    "eos": "stop",
    "end_turn": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
}


def read_chat(body: str, stream: bool) -> ChatReading:
    """Read a chat answer of status 200, a stream of chunks or one whole body."""
    chunks = _data_lines(body) if stream else [json.loads(body)]
    text: list[str] = []
    thinking: list[str] = []
    refusal: list[str] = []
    calls: list[dict[str, Any]] = []
    usage: dict[str, Any] | None = None
    reason: str | None = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices") or []:
            if choice.get("index", 0) != 0:
                continue
            said = choice.get("delta" if stream else "message") or {}
            thinking.append(_thinking(said))
            refusal.append(said.get("refusal") or "")
            content = said.get("content")
            for part in content if isinstance(content, list) else [{"type": "text", "text": content or ""}]:
                if part["type"] == "text":
                    text.append(part["text"])
                elif part["type"] == "thinking":
                    thinking.extend(piece["text"] for piece in part["thinking"])
            _add_calls(calls, said.get("tool_calls") or [], stream)
            reason = reason or choice.get("finish_reason")
    reason = _REASONS.get(reason, reason) if reason else None
    if reason == "stop" and calls:
        # The answer waits for results, whatever the server calls that.
        reason = "tool_calls"
    return {
        "id": next((chunk["id"] for chunk in chunks if chunk.get("id")), ""),
        "model": next((chunk["model"] for chunk in chunks if chunk.get("model")), ""),
        "text": "".join(text),
        "thinking": "".join(thinking),
        "refusal": "".join(refusal),
        "tool_calls": [(call["name"], _arguments(call["arguments"])) for call in calls],
        "usage": _usage(usage) if usage else None,
        "finish_reason": reason,
    }


def read_embeddings(body: str, *, signed_bytes: bool = False) -> list[list[float]]:
    """Read the vectors of an embedding answer in the order of their indices, as 32-bit floats.

    ``signed_bytes``: base64 holds a number in each byte (Perplexity), not in each four.
    """
    items = sorted(json.loads(body)["data"], key=lambda item: item["index"])
    if signed_bytes:
        blobs = [base64.b64decode(item["embedding"]) for item in items]
        return [[float(number) for number in struct.unpack(f"{len(blob)}b", blob)] for blob in blobs]
    return [_vector(item["embedding"]) for item in items]


def _data_lines(body: str) -> list[dict[str, Any]]:
    """All chunks of a stream. The recorded servers put each into one data line."""
    payloads = [line[len("data:") :].strip() for line in body.split("\n") if line.startswith("data:")]
    return [json.loads(payload) for payload in payloads if payload not in ("", "[DONE]")]


def _thinking(said: dict[str, Any]) -> str:
    """The thinking of a message, under the first of its three names that holds any."""
    for name in ("reasoning_content", "reasoning"):
        if said.get(name):
            return str(said[name])
    details = said.get("reasoning_details") or []
    return "".join(detail.get("text") or detail.get("summary") or "" for detail in details)


def _add_calls(calls: list[dict[str, Any]], pieces: list[dict[str, Any]], stream: bool) -> None:
    """Add the tool calls of a message, or the pieces of some; a named piece begins a call, a nameless one continues."""
    for piece in pieces:
        function = piece["function"]
        if function.get("name"):
            calls.append({"index": piece.get("index"), "name": function["name"], "arguments": ""})
        same = [call for call in calls if call["index"] == piece.get("index")] if stream else calls
        same[-1]["arguments"] += function.get("arguments") or ""


def _arguments(text: str) -> Any:
    """The arguments of a call; the text itself where the answer was cut off in the middle of them."""
    try:
        return json.loads(text or "{}")
    except json.JSONDecodeError:
        return text


def _usage(usage: dict[str, Any]) -> UsageReading:
    prompt, completion = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    prompt_details = usage.get("prompt_tokens_details") or {}
    completion_details = usage.get("completion_tokens_details") or {}
    cached = prompt_details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0
    written = prompt_details.get("cache_write_tokens") or usage.get("cache_creation_input_tokens") or 0
    reasoning = completion_details.get("reasoning_tokens") or usage.get("reasoning_tokens") or 0
    if reasoning and usage.get("total_tokens") == prompt + completion + reasoning:
        completion += reasoning  # xAI counts the reasoning beside the completion.
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        # Some servers count a hidden prompt of their own as cached, or estimate the reasoning, and come out above the
        # total that holds it.
        "cached_tokens": min(cached, prompt),
        "cache_write_tokens": written,
        "cache_write_1h_tokens": 0,
        "reasoning_tokens": min(reasoning, completion),
    }


def _vector(embedding: list[float] | str) -> list[float]:
    if isinstance(embedding, str):
        data = base64.b64decode(embedding)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    return list(struct.unpack(f"<{len(embedding)}f", struct.pack(f"<{len(embedding)}f", *embedding)))
