"""A plain reading of Ollama's answers, to compare the library's decoder with.

It shares no code with the library. An answer that is not streamed is read as a stream of one line.
"""

from __future__ import annotations

import json
from typing import Any


def read_chat(body: str, stream: bool) -> dict[str, Any]:
    """The text, thinking, tool calls, usage and finish reason of an answer of status 200.

    Ollama tells neither cached nor thinking tokens apart, so those counts are always 0.
    """
    lines = [json.loads(line) for line in body.split("\n") if line.strip()] if stream else [json.loads(body)]
    messages = [line["message"] for line in lines if "message" in line]
    functions = [call["function"] for message in messages for call in message.get("tool_calls") or []]
    last = lines[-1]
    reason = last.get("done_reason", "stop") if last["done"] else None
    if reason == "stop" and functions:
        reason = "tool_calls"
    return {
        "id": "",
        "model": next((line["model"] for line in lines if line.get("model")), ""),
        "text": "".join(message.get("content") or "" for message in messages),
        "thinking": "".join(message.get("thinking") or "" for message in messages),
        "refusal": "",
        "tool_calls": [(function["name"], function.get("arguments") or {}) for function in functions],
        "usage": _usage(last),
        "finish_reason": reason,
    }


def read_embeddings(body: str) -> list[list[float]]:
    """The vectors of a batch, in the order of its texts."""
    vectors: list[list[float]] = json.loads(body)["embeddings"]
    return vectors


def _usage(last: dict[str, Any]) -> dict[str, int] | None:
    if "prompt_eval_count" not in last and "eval_count" not in last:
        return None
    return {
        # A prompt that was in the cache whole is not counted.
        "prompt_tokens": last.get("prompt_eval_count", 0),
        "completion_tokens": last.get("eval_count", 0),
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "cache_write_1h_tokens": 0,
        "reasoning_tokens": 0,
    }
