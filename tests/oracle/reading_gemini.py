"""A plain reading of Gemini's answers, to compare the library's decoder with.

It shares no code with the library. A stream is read by putting the parts of all its chunks into one list, and then
reading that list as if it had come at once.
"""

from __future__ import annotations

import json
from typing import Any

FILTERED = {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"}

# The numbers of the protobuf enumeration, which some proxies send in place of the names.
NAMES = ["FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER"]


def read_chat(body: str, stream: bool) -> dict[str, Any]:
    """The text, thinking, tool calls, usage and finish reason of an answer of status 200.

    ``usage`` is ``None`` or has inclusive totals: Gemini counts what was cached into the prompt itself, but neither what
    its own tools added to the prompt nor the thoughts into the answer.
    """
    chunks = _chunks(body) if stream else [json.loads(body)]
    candidates = [chunk["candidates"][0] for chunk in chunks if chunk.get("candidates")]
    parts = [part for candidate in candidates for part in candidate.get("content", {}).get("parts", [])]
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    reasons = [candidate["finishReason"] for candidate in candidates if "finishReason" in candidate]
    blocked = any(chunk.get("promptFeedback", {}).get("blockReason") for chunk in chunks)
    return {
        "id": next((chunk["responseId"] for chunk in chunks if chunk.get("responseId")), ""),
        "model": next((chunk["modelVersion"] for chunk in chunks if chunk.get("modelVersion")), ""),
        "text": "".join(part["text"] for part in parts if "text" in part and not part.get("thought")),
        "thinking": "".join(part["text"] for part in parts if "text" in part and part.get("thought")),
        "refusal": "",
        "tool_calls": [(call["name"], call.get("args") or {}) for call in calls],
        "usage": _usage(chunks),
        "finish_reason": _finish_reason(reasons, bool(calls), blocked),
    }


def read_embeddings(body: str) -> list[list[float]]:
    """The vectors of a batch, in the order of its texts."""
    return [embedding["values"] for embedding in json.loads(body)["embeddings"]]


def _finish_reason(reasons: list[str | int], has_calls: bool, blocked: bool) -> str | None:
    if not reasons:
        return "content_filter" if blocked else None
    # A model that runs code says STOP before each run; the last word counts.
    last = reasons[-1]
    name = NAMES[last] if isinstance(last, int) else last
    if name == "STOP":
        return "tool_calls" if has_calls else "stop"
    if name == "MAX_TOKENS":
        return "length"
    return "content_filter" if name in FILTERED else name.lower()


def _usage(chunks: list[dict[str, Any]]) -> dict[str, int] | None:
    # Each chunk repeats the totals so far. Vertex AI's first ones hold no counts at all.
    told = [chunk["usageMetadata"] for chunk in chunks if "promptTokenCount" in chunk.get("usageMetadata", {})]
    if not told:
        return None
    last = told[-1]
    thoughts = last.get("thoughtsTokenCount", 0)
    return {
        "prompt_tokens": last["promptTokenCount"] + last.get("toolUsePromptTokenCount", 0),
        "completion_tokens": last.get("candidatesTokenCount", 0) + thoughts,
        "cached_tokens": last.get("cachedContentTokenCount", 0),
        "cache_write_tokens": 0,
        "cache_write_1h_tokens": 0,
        "reasoning_tokens": thoughts,
    }


def _chunks(body: str) -> list[dict[str, Any]]:
    """The chunks of a stream: each is the data of one event, on one line (which may end in CR)."""
    return [json.loads(line[len("data:") :]) for line in body.split("\n") if line.startswith("data:")]
