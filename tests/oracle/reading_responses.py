"""A plain reading of answers of OpenAI's Responses API, to compare the library's decoder with.

It shares no code with the library and takes its own way: of a stream it believes only the whole response that the last
event carries, and not the pieces before it, from which the library builds its answer. Being obvious matters, not speed.
"""

from __future__ import annotations

import json
from typing import Any

from streams_reading import read_sse

ENDS = {"response.completed", "response.incomplete", "response.failed"}
INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}


def read_chat(body: str, stream: bool) -> dict[str, Any]:
    """The text, thinking, tool calls, usage and finish reason of an answer of status 200; as the other readings."""
    response = _last(body) if stream else json.loads(body)
    items = response["output"]
    messages = [part for item in items if item["type"] == "message" for part in item["content"]]
    calls = [item for item in items if item["type"] == "function_call"]
    details = response.get("incomplete_details") or {}
    finish = INCOMPLETE.get(details.get("reason"), "tool_calls" if calls else "stop")
    return {
        "id": response["id"],
        "model": response["model"],
        "text": "".join(part["text"] for part in messages if part["type"] == "output_text"),
        "thinking": "".join(_thinking(item) for item in items if item["type"] == "reasoning"),
        "refusal": "".join(part["refusal"] for part in messages if part["type"] == "refusal"),
        "tool_calls": [(item["name"], _arguments(item)) for item in calls],
        "usage": _usage(response.get("usage")),
        "finish_reason": finish,
    }


def _last(body: str) -> dict[str, Any]:
    events = [json.loads(data) for _, data in read_sse(body.encode()) if data != b"[DONE]"]
    (end,) = (event for event in events if event["type"] in ENDS)
    response: dict[str, Any] = end["response"]
    response["id"] = events[0]["response"]["id"]  # Copilot gives each event another one.
    if not response["output"]:  # Some servers leave the items out there; they came whole before.
        response["output"] = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    return response


def _thinking(item: dict[str, Any]) -> str:
    parts = item.get("summary") or item.get("content") or []
    return "\n\n".join(part["text"] for part in parts)


def _arguments(item: dict[str, Any]) -> Any:
    try:
        return json.loads(item["arguments"] or "{}")
    except json.JSONDecodeError:  # Cut off by the limit on tokens.
        return item["arguments"]


def _usage(counts: dict[str, Any] | None) -> dict[str, int] | None:
    if counts is None:
        return None
    read = counts.get("input_tokens_details") or {}
    made = counts.get("output_tokens_details") or {}
    return {
        "prompt_tokens": counts["input_tokens"],
        "completion_tokens": counts["output_tokens"],
        "cached_tokens": read.get("cached_tokens") or 0,
        "cache_write_tokens": read.get("cache_write_tokens") or 0,
        "cache_write_1h_tokens": 0,
        "reasoning_tokens": made.get("reasoning_tokens") or 0,
    }
