"""Recorded requests to Anthropic as calls of the API."""

from __future__ import annotations

from typing import Any

from calls import Call, NotExpressible, as_text, split, without_nulls

KNOWN = {
    "model": "model",
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop",
    "tools": "tools",
    "tool_choice": "tool_choice",
}
OWN = {"cache_control", "service_tier", "container", "inference_geo"}


def read_call(_path: str, request: dict[str, Any]) -> Call:
    """Turn a body into a call. The API takes content parts in Anthropic's own form."""
    request = dict(request)
    messages = request.pop("messages")
    system = request.pop("system", None)
    stream = request.pop("stream", False)
    thinking = request.pop("thinking", None)
    output = request.pop("output_config", None) or {}
    metadata = request.pop("metadata", None) or {}
    if any(message["role"] == "system" for message in messages):
        raise NotExpressible("instructions in the middle of the conversation")
    options = split(request, KNOWN, OWN)
    if system is not None:
        messages = [{"role": "system", "content": system}, *messages]
    if "format" in output:
        options["response_format"] = output["format"]
    if "effort" in output:
        options["reasoning"] = output["effort"]
    if "user_id" in metadata:
        options["user"] = metadata["user_id"]
    match thinking:
        case {"type": "enabled", "budget_tokens": budget}:
            options["reasoning"] = budget
        case {"type": "disabled"}:
            options["reasoning"] = "none"
        case dict():
            # Adaptive: with `reasoning` the library asks to see the thoughts; not to see them is Anthropic's own.
            options.setdefault("extra", {})["thinking"] = thinking
    choice = options.get("tool_choice")
    if choice and "disable_parallel_tool_use" in choice:
        options["parallel_tool_calls"] = not choice["disable_parallel_tool_use"]
    return Call(messages, options, stream)


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what makes no difference."""
    body = without_nulls(body)
    if body.get("stream") is False:
        del body["stream"]
    # A text may stand in place of a list of one text.
    if "system" in body:
        body["system"] = as_text(body["system"])
    body["messages"] = [_message(message) for message in body["messages"]]
    return body


def _message(message: dict[str, Any]) -> dict[str, Any]:
    content = as_text(message["content"])
    if isinstance(content, list):
        content = [_part(part) for part in content]
    return {**message, "content": content}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "tool_result":
        part = {**part, "content": as_text(part.get("content"))}
        if part.get("is_error") is False:
            del part["is_error"]
    return part
