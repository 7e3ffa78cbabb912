"""Recorded requests to Ollama as calls of the API."""

from __future__ import annotations

from typing import Any

from calls import Call, split, without_nulls

KNOWN = {"model": "model", "tools": "tools", "format": "response_format", "think": "reasoning"}
OWN = {"keep_alive", "options"}
SAMPLING = {
    "num_predict": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "stop": "stop",
}


def read_call(_path: str, request: dict[str, Any]) -> Call:
    """Turn a body into a call."""
    request = dict(request)
    messages = [_message(message) for message in request.pop("messages")]
    stream = request.pop("stream", True)
    sampling = request.pop("options", None) or {}
    own = {name: value for name, value in sampling.items() if name not in SAMPLING}
    options = split({**request, **({"options": own} if own else {})}, KNOWN, OWN)
    for name, option in SAMPLING.items():
        if name in sampling:
            options[option] = sampling[name]
    return Call(messages, options, stream)


def _message(message: dict[str, Any]) -> dict[str, Any]:
    message = dict(message)
    pictures = message.pop("images", None)
    if pictures:
        parts = [{"type": "text", "text": message["content"]}] if message["content"] else []
        urls = [f"data:image/png;base64,{picture}" for picture in pictures]
        message["content"] = [*parts, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]
    return message


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what makes no difference."""
    body = without_nulls(body)
    # No option is none.
    if body.get("options") == {}:
        del body["options"]
    body["messages"] = [_normal_message(message) for message in body["messages"]]
    return body


def _normal_message(message: dict[str, Any]) -> dict[str, Any]:
    message = dict(message)
    # No call is none, no id is none, and there are no calls but those of functions.
    calls = message.pop("tool_calls", [])
    if calls:
        message["tool_calls"] = [
            {"function": call["function"], **({"id": call["id"]} if call.get("id") else {})} for call in calls
        ]
    return message
