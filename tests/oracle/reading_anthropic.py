"""A plain reading of Anthropic's answers, to compare the library's decoder with.

It shares no code with the library and takes its own way: it reads everything into dictionaries, rebuilds the content
blocks of a stream first, and only then takes out what a caller sees. Speed does not matter here; being obvious does.
"""

from __future__ import annotations

import json
from typing import Any

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}


def read_chat(body: str, stream: bool) -> dict[str, Any]:
    """The text, thinking, tool calls, usage and finish reason of an answer of status 200.

    ``usage`` is ``None`` or has inclusive totals: ``prompt_tokens`` holds what was read from and written to the cache,
    ``completion_tokens`` holds the thinking.
    """
    message = _message_of_stream(body) if stream else json.loads(body)
    blocks = message["content"]
    return {
        "id": message.get("id") or "",
        "model": message.get("model") or "",
        "text": "".join(block["text"] for block in blocks if block["type"] == "text"),
        "thinking": "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        "refusal": "",
        "tool_calls": [(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
        "usage": _usage(message.get("usage")),
        "finish_reason": FINISH_REASONS.get(message["stop_reason"], message["stop_reason"]),
    }


def _usage(counts: dict[str, Any] | None) -> dict[str, int] | None:
    if counts is None:
        return None
    uncached = counts.get("input_tokens") or 0
    written = counts.get("cache_creation_input_tokens") or 0
    read = counts.get("cache_read_input_tokens") or 0
    lifetimes = counts.get("cache_creation") or {}
    details = counts.get("output_tokens_details") or {}
    return {
        "prompt_tokens": uncached + written + read,
        "completion_tokens": counts.get("output_tokens") or 0,
        "cached_tokens": read,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": lifetimes.get("ephemeral_1h_input_tokens") or 0,
        "reasoning_tokens": details.get("thinking_tokens") or 0,
    }


def _message_of_stream(body: str) -> dict[str, Any]:
    """The message that the same answer would have been without streaming."""
    message: dict[str, Any] = {"content": [], "stop_reason": None, "usage": None}
    blocks: dict[int, dict[str, Any]] = {}
    json_pieces: dict[int, list[str]] = {}

    for event in _events(body):
        match event["type"]:
            case "message_start":
                message |= event["message"]
            case "content_block_start":
                blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                block, delta = blocks[event["index"]], event["delta"]
                match delta["type"]:
                    case "text_delta":
                        block["text"] += delta["text"]
                    case "thinking_delta":
                        block["thinking"] += delta["thinking"]
                    case "input_json_delta":
                        json_pieces.setdefault(event["index"], []).append(delta["partial_json"])
            case "message_delta":
                message["stop_reason"] = event["delta"]["stop_reason"]
                # The counts are totals, not additions; a count that is not there keeps its earlier value.
                told = {name: count for name, count in (event.get("usage") or {}).items() if count is not None}
                message["usage"] = (message["usage"] or {}) | told

    for index, pieces in json_pieces.items():
        blocks[index]["input"] = json.loads("".join(pieces) or "{}")
    message["content"] = [blocks[index] for index in sorted(blocks)]
    return message


def _events(body: str) -> list[dict[str, Any]]:
    """The events of a stream: here each has its data on one line."""
    payloads = [line.removeprefix("data:").strip() for line in body.split("\n") if line.startswith("data:")]
    return [json.loads(payload) for payload in payloads if payload and payload != "[DONE]"]
