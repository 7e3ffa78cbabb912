"""Recorded requests to Gemini as calls of the API."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

from calls import Call, EmbedCall, NotExpressible, split, without_nulls

GENERATION = {
    "maxOutputTokens": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "stopSequences": "stop",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}
OWN = {"safetySettings", "cachedContent", "labels", "generationConfig"}
MODES = {"AUTO": "auto", "NONE": "none", "ANY": "required"}

# Google's JSON takes fields in either spelling. Below these everything is the user's own.
_OPAQUE = {"args", "response", "parameters", "parametersJsonSchema", "responseJsonSchema", "responseSchema", "labels"}


def camel(value: Any) -> Any:
    """Fields in the one spelling, ``inlineData`` for ``inline_data``."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {re.sub("_([a-z])", lambda letter: letter[1].upper(), key): item for key, item in value.items()}
    return {key: item if key in _OPAQUE else camel(item) for key, item in renamed.items()}


def model_of(path: str) -> str:
    """The model that the path names."""
    return unquote(path.rpartition("/")[2].partition(":")[0])


def read_call(path: str, request: dict[str, Any]) -> Call:
    """Turn a body into a call."""
    request = without_nulls(camel(request))
    messages = _messages(request.pop("contents"))
    if "systemInstruction" in request:
        texts = [{"type": "text", "text": part["text"]} for part in request.pop("systemInstruction")["parts"]]
        messages = [{"role": "system", "content": texts}, *messages]
    config = request.pop("generationConfig", {})
    tools = request.pop("tools", [])
    choice = request.pop("toolConfig", {}).get("functionCallingConfig")
    request.pop("model", None)  # Stands in the path.
    own = _own_config(config)
    options = split({**request, **({"generationConfig": own} if own else {})}, {}, OWN)
    options |= {option: config[field] for field, option in GENERATION.items() if field in config}
    if "topK" in config:
        options["top_k"] = int(config["topK"])
    options["model"] = model_of(path)
    if "responseJsonSchema" in config:
        options["response_format"] = config["responseJsonSchema"]
    elif "responseSchema" not in config and "responseMimeType" in config:
        options["response_format"] = {"application/json": "json", "text/plain": "text"}[config["responseMimeType"]]
    _reasoning(config.get("thinkingConfig", {}), options)
    declared = [function for tool in tools for function in tool.get("functionDeclarations", [])]
    servers = [{key: value} for tool in tools for key, value in tool.items() if key != "functionDeclarations"]
    if declared or servers:
        options["tools"] = [*declared, *servers]
    if choice:
        names = choice.get("allowedFunctionNames", [])
        if len(names) > 1:
            raise NotExpressible("a choice of several tools")
        options["tool_choice"] = {"name": names[0]} if names else MODES[choice["mode"].upper()]
    return Call(messages, options, "stream" in path)


def _own_config(config: dict[str, Any]) -> dict[str, Any]:
    known = {*GENERATION, "responseJsonSchema", "thinkingConfig"}
    if "responseSchema" not in config:
        known.add("responseMimeType")
    return {field: value for field, value in config.items() if field not in known}


def _reasoning(thinking: dict[str, Any], options: dict[str, Any]) -> None:
    """Budget or level as ``reasoning``, which shows the thoughts; to hide them is Gemini's own."""
    match thinking:
        case {"thinkingBudget": 0, **rest} if not rest:
            options["reasoning"] = False
        case {"thinkingBudget": int(budget), "includeThoughts": True} if budget > 0:
            options["reasoning"] = budget
        case {"thinkingLevel": str(level), "includeThoughts": True}:
            options["reasoning"] = level
        case {"includeThoughts": True, **rest} if not rest:
            options["reasoning"] = True
        case {**own} if own:
            extra = options.setdefault("extra", {})
            extra.setdefault("generationConfig", {})["thinkingConfig"] = own


def _messages(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Contents as messages. Gemini gives calls no ids, so they get some here, as the library would have given them."""
    messages = []
    made = 0
    waiting: list[tuple[str, str]] = []
    for content in contents:
        role = {"model": "assistant", "user": "user", "function": "user"}.get(content.get("role", "user"))
        if role is None:
            raise NotExpressible(f"the role {content['role']}")
        parts: list[Any] = []
        for part in content["parts"]:
            match part:
                case {"functionCall": call}:
                    identity = call.get("id") or f"call_{made}"
                    made += 1
                    waiting.append((call["name"], identity))
                    block = {"type": "tool_use", "id": identity, "name": call["name"], "input": call.get("args", {})}
                    if "thoughtSignature" in part:
                        block["signature"] = part["thoughtSignature"]
                    parts.append(block)
                case {"functionResponse": response}:
                    match = next((pair for pair in waiting if pair[0] == response["name"]), None)
                    if match is not None:
                        waiting.remove(match)
                    identity = response.get("id") or (match[1] if match else f"call_{made}")
                    parts.append(_result(identity, response))
                case {"text": text, "thought": True}:
                    thought = {"type": "thinking", "thinking": text}
                    if "thoughtSignature" in part:
                        thought["signature"] = part["thoughtSignature"]
                    parts.append(thought)
                case {"text": text}:
                    if "thoughtSignature" in part:
                        parts.append({"type": "thinking", "thinking": "", "signature": part["thoughtSignature"]})
                    parts.append({"type": "text", "text": text})
                case {"inlineData": blob}:
                    parts.append(_blob(**blob))
                case {"fileData": file}:
                    parts.append(_file(file))
                case {"thoughtSignature": signature, **rest} if rest.keys() <= {"thought"}:
                    parts.append({"type": "thinking", "thinking": "", "signature": signature})
                case _:
                    # Gemini's own: code that it ran, and what came of it.
                    parts.append(part)
        messages.append({"role": role, "content": parts})
    return messages


def _blob(*, mimeType: str, data: str) -> dict[str, Any]:  # noqa: N803
    kind, _, form = mimeType.partition("/")
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": f"data:{mimeType};base64,{data}"}}
    if kind == "audio":
        return {"type": "input_audio", "input_audio": {"format": form, "data": data}}
    return {"type": "document", "source": {"type": "base64", "media_type": mimeType, "data": data}}


def _file(file: dict[str, Any]) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "url", "url": file["fileUri"]}}


def _result(identity: str, response: dict[str, Any]) -> dict[str, Any]:
    said = response["response"]
    match said:
        case {"result": str(text), **rest} if not rest:
            pass
        case {"result": value, **rest} if not rest and not isinstance(value, dict):
            text = json.dumps(value)
        case _:
            # What a tool returned that is an object.
            text = json.dumps(said, ensure_ascii=False)
    content = [{"type": "text", "text": text}]
    content += [_blob(**part["inlineData"]) for part in camel(response.get("parts", []))]
    return {"type": "tool_result", "tool_use_id": identity, "name": response["name"], "content": content}


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what makes no difference."""
    body = without_nulls(camel(body))
    body.pop("model", None)  # Stands in the path.
    if "systemInstruction" in body:
        # Instructions have no speaker.
        body["systemInstruction"] = {"parts": [_part(part) for part in body["systemInstruction"]["parts"]]}
    body["contents"] = [
        {"role": content.get("role", "user"), "parts": [_part(part) for part in content["parts"]]}
        for content in body["contents"]
    ]
    for field in ("generationConfig", "toolConfig"):
        if body.get(field) == {}:
            del body[field]
    # Names of modes are read in either case.
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    if "mode" in calling:
        calling["mode"] = calling["mode"].upper()
    # A tool without functions is none; several objects of tools are as good as one.
    tools: dict[str, Any] = {}
    for tool in body.pop("tools", []):
        for key, value in tool.items():
            if key == "functionDeclarations":
                tools.setdefault(key, []).extend(_declaration(function) for function in value)
            else:
                tools[key] = value
    if tools.get("functionDeclarations") == []:
        del tools["functionDeclarations"]
    if tools:
        body["tools"] = tools
    return body


def _declaration(function: dict[str, Any]) -> dict[str, Any]:
    # Where no type is given it can only be an object.
    name = "parameters" if "parameters" in function else "parametersJsonSchema"
    return {**function, name: function.get(name, {})}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    # A part is no thought unless it says so.
    return {key: value for key, value in part.items() if not (key == "thought" and value is False)}


def read_embed(_path: str, request: dict[str, Any]) -> EmbedCall:
    """Turn a batch into a call: all its texts must want the same."""
    items = camel(request["requests"])
    texts = [item["content"]["parts"][0]["text"] for item in items]
    wanted = {json.dumps({key: value for key, value in item.items() if key != "content"}) for item in items}
    if len(wanted) > 1 or any(len(item["content"]["parts"]) > 1 for item in items):
        raise NotExpressible("several parts that get one vector, or texts that want different things")
    known = {"model": "model", "outputDimensionality": "dimensions", "taskType": "task_type"}
    return EmbedCall(texts, split(json.loads(wanted.pop()), known, {"title"}))


def normal_embed(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what makes no difference."""
    items = without_nulls(camel(body["requests"]))
    # A text has no speaker.
    contents = [{"parts": item["content"]["parts"]} for item in items]
    return {"requests": [{**item, "content": content} for item, content in zip(items, contents, strict=True)]}
