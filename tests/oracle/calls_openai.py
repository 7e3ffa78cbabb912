"""Recorded chat requests to OpenAI and compatible servers as calls of the API."""

from __future__ import annotations

from typing import Any

from calls import Call, EmbedCall, NotExpressible, as_text, split, without_nulls

KNOWN = {
    "model": "model",
    "max_completion_tokens": "max_tokens",
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "stop": "stop",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "user": "user",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tool_calls",
    "response_format": "response_format",
    "reasoning_effort": "reasoning",
}

# One server's own, or of OpenAI's without a counterpart elsewhere.
OWN = {
    "cache_prompt",
    "enable_thinking",
    "grammar",
    "include_reasoning",
    "json_schema",
    "logprobs",
    "n",
    "prompt_cache_key",
    "provider",
    "reasoning",
    "return_related_questions",
    "search_context_size",
    "service_tier",
    "thinking",
    "top_k",
    "top_logprobs",
    "venice_parameters",
    "web_search_options",
}


def read_call(_path: str, request: dict[str, Any]) -> Call:
    """Turn a body into a call. The API takes messages in OpenAI's own form."""
    request = dict(request)
    messages = request.pop("messages")
    stream = request.pop("stream", False)
    request.pop("stream_options", None)  # Sent by itself with a stream.
    for message in messages:
        if message["role"] not in {"system", "developer", "user", "assistant", "tool"}:
            raise NotExpressible(f"the role {message['role']}")
    return Call(messages, split(request, KNOWN, OWN), stream)


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what makes no difference."""
    body = without_nulls(body)
    # Asks for token counts behind a stream; ours always does.
    body.pop("stream_options", None)
    if body.get("stream") is False:
        del body["stream"]
    # One stop text may stand without its list.
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    # The older and the newer name of one field; the library takes the one that the model knows.
    if "max_completion_tokens" in body:
        body["max_tokens"] = body.pop("max_completion_tokens")
    # Mistral's other name; its API takes both.
    if body.get("tool_choice") == "any":
        body["tool_choice"] = "required"
    body["messages"] = [_message(message) for message in body["messages"]]
    return body


def _message(message: dict[str, Any]) -> dict[str, Any]:
    message = dict(message)
    message["content"] = as_text(message.get("content", ""))
    if message["role"] == "assistant":
        # Several texts of one answer are one text.
        content = message["content"]
        if isinstance(content, list) and all(part.keys() == {"type", "text"} for part in content):
            message["content"] = "".join(part["text"] for part in content)
        # Mistral: whether the answer goes on from here; false unless said.
        if message.get("prefix") is False:
            del message["prefix"]
        # The same thinking under a second name.
        if message.get("reasoning") == message.get("reasoning_content"):
            message.pop("reasoning", None)
        # An index belongs to the pieces of a stream; some clients send it back.
        for call in message.get("tool_calls", []):
            call.pop("index", None)
    if isinstance(message["content"], list):
        message["content"] = [_part(part) for part in message["content"]]
    return message


def _part(part: dict[str, Any]) -> dict[str, Any]:
    # Mistral takes an image's address without the object around it, too.
    if part["type"] == "image_url" and isinstance(part["image_url"], str):
        return {**part, "image_url": {"url": part["image_url"]}}
    return part


def read_embed(_path: str, request: dict[str, Any]) -> EmbedCall:
    """Turn an embedding body into a call."""
    request = dict(request)
    texts = request.pop("input")
    request.pop("encoding_format", None)  # The library's own business: vectors come out the same.
    known = {"model": "model", "dimensions": "dimensions"}
    return EmbedCall([texts] if isinstance(texts, str) else texts, split(request, known, {"output_dimension"}))


def normal_embed(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what makes no difference."""
    body = without_nulls(body)
    body.pop("encoding_format", None)
    # One text may stand without its list.
    if isinstance(body["input"], str):
        body["input"] = [body["input"]]
    return body
