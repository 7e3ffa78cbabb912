"""Recorded requests to OpenAI's Responses API, and to servers that speak it, as calls of the API."""

from __future__ import annotations

import json
from typing import Any

from calls import Call, NotExpressible, split, without_nulls

KNOWN = {
    "model": "model",
    "max_output_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "user": "user",
    "metadata": "metadata",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tool_calls",
    "prompt_cache_key": "prompt_cache_key",
}
OWN = {"background", "previous_response_id", "service_tier", "store", "truncation"}
ENCRYPTED = "reasoning.encrypted_content"


def read_call(_path: str, request: dict[str, Any]) -> Call:
    """Turn a body into a call. Items become parts of messages: what the model made in one go, one message."""
    request = without_nulls(request)
    instructions = request.pop("instructions", None)
    given = request.pop("input")
    stream = request.pop("stream", False)
    reasoning = request.pop("reasoning", {})
    text = request.pop("text", {})
    include = [what for what in request.pop("include", []) if what != ENCRYPTED]  # Asked for by itself.
    choice = request.get("tool_choice")
    own: dict[str, Any] = {}
    if isinstance(choice, dict) and "mode" in choice:
        own["tool_choice"] = request.pop("tool_choice")  # A choice among some tools is OpenAI's own.
    options = split(request, KNOWN, OWN)
    if "effort" in reasoning:
        options["reasoning"] = reasoning.pop("effort")
    if "format" in text:
        options["response_format"] = text.pop("format")
    own |= {key: value for key, value in (("reasoning", reasoning), ("text", text), ("include", include)) if value}
    messages: list[dict[str, Any]] = []
    if instructions is not None and "previous_response_id" in request:
        # Those of the stored part hold no longer; a message would stand beside them.
        own["instructions"] = instructions
    elif instructions is not None:
        messages.append({"role": "system", "content": instructions})
    if own:
        options["extra"] = options.get("extra", {}) | own
    if isinstance(given, str):
        messages.append({"role": "user", "content": given})
    else:
        for item in given:
            _read_item(item, messages)
    return Call(messages, options, stream)


def _read_item(item: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    match item:
        case {"role": role, "content": content}:
            if role not in {"system", "developer", "user", "assistant"}:
                raise NotExpressible(f"the role {role}")
            parts = content if isinstance(content, str) else [_part(part) for part in content]
            if role == "assistant":
                parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
                said = messages[-1]["content"] if messages and messages[-1]["role"] == "assistant" else None
                if said is not None and not any(part["type"] == "text" for part in said):
                    said += parts
                    return
            messages.append({"role": role, "content": parts})
        case {"type": "function_call_output", "call_id": call, "output": output}:
            result = output if isinstance(output, str) else [_part(part) for part in output]
            messages.append({"role": "tool", "tool_call_id": call, "content": result})
        case _:
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": []})
            messages[-1]["content"].append(_made(item))


def _made(item: dict[str, Any]) -> dict[str, Any]:
    """What the model made, other than messages."""
    match item:
        case {"type": "function_call", "call_id": call, "name": name, "arguments": arguments}:
            return {"type": "tool_use", "id": call, "name": name, "arguments": arguments}
        case {"type": "reasoning", "encrypted_content": encrypted}:
            parts = item.get("summary") or item.get("content") or []
            thought = "\n\n".join(part["text"] for part in parts)
            if not thought:
                return {"type": "redacted_thinking", "data": encrypted}
            return {"type": "thinking", "thinking": thought, "signature": encrypted}
        case {"type": "reasoning", "id": _} | {"type": "web_search_call"}:
            # Thinking of which only its place in the server's store is known, and OpenAI's own tools, go as they are.
            return item
    raise NotExpressible(f"the item {item['type']}")


def _part(part: dict[str, Any]) -> dict[str, Any]:
    match part:
        case {"type": "input_text" | "output_text", "text": text}:
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": url}:
            detail = {"detail": part["detail"]} if "detail" in part else {}
            return {"type": "image_url", "image_url": {"url": url, **detail}}
        case {"type": "input_file", "file_url": url}:
            return {"type": "document", "source": {"type": "url", "url": url}}
        case {"type": "input_file", "file_data": data, "filename": name}:
            return {"type": "file", "file": {"filename": name, "file_data": data}}
    raise NotExpressible(f"the part {part['type']}")


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what makes no difference."""
    body = without_nulls(body)
    if body.get("stream") is False:
        del body["stream"]
    # Asks for encrypted thinking along with the answer; ours does wherever there may be some.
    include = [what for what in body.pop("include", []) if what != ENCRYPTED]
    if include:
        body["include"] = include
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else [_item(item) for item in given]
    # OpenAI: "a system (or developer) message inserted into the model's context".
    if "instructions" in body and "previous_response_id" not in body:
        items.insert(0, {"role": "system", "content": body.pop("instructions")})
    body["input"] = items
    return body


def _item(item: dict[str, Any]) -> dict[str, Any]:
    item = dict(item)
    kind = item.get("type", "message")
    if kind in {"message", "function_call", "function_call_output"} or "encrypted_content" in item:
        # The item's place in the server's store, and that it is whole: it is sent whole.
        item.pop("id", None)
        item.pop("status", None)
    if kind == "message":
        item.pop("type", None)
        item["content"] = _content(item["content"])
    if kind == "function_call":
        item["arguments"] = json.loads(item["arguments"] or "{}")
    if kind == "reasoning" and item.get("summary"):
        # For people to read; the model reads the encrypted form. Ours joins the paragraphs.
        item["summary"] = "\n\n".join(part["text"] for part in item["summary"])
    return item


def _content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    # What OpenAI said about its own text, when it said it.
    parts = [{key: value for key, value in part.items() if key not in {"annotations", "logprobs"}} for part in content]
    match parts:
        case [{"type": "input_text" | "output_text", "text": text}]:
            return text
    return parts
