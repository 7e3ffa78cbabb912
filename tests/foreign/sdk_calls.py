"""Calls of the providers' own clients to the simulator, run in the environment that has them: sdk_calls.py URL CALL.

Prints what came back as JSON. Each function is one call of `test_sdks`; the clients' own helpers put the streams together.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pydantic

TOOL = {
    "type": "object",
    "properties": {"rooms": {"type": "integer"}},
    "required": ["rooms"],
    "additionalProperties": False,
}


class Place(pydantic.BaseModel):
    """What is asked for in structured form."""

    name: str
    rooms: int


def _openai(url: str) -> Any:
    import openai

    return openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0)


def openai_chat(url: str) -> Any:
    """Chat completions: whole, streamed, structured, vectors."""
    client, messages = _openai(url), [{"role": "user", "content": "hi"}]
    whole = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
    with client.chat.completions.stream(
        model="gpt-4o-mini", messages=messages, stream_options={"include_usage": True}
    ) as stream:
        kinds = {event.type for event in stream}
        streamed = stream.get_final_completion()
    parsed = client.chat.completions.parse(model="gpt-4o-mini", messages=messages, response_format=Place)
    vectors = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8)
    return {
        "whole": whole.choices[0].message.content,
        "streamed": streamed.choices[0].message.content,
        "finish": streamed.choices[0].finish_reason,
        "tokens": streamed.usage.completion_tokens,
        "kinds": sorted(kinds),
        "parsed": parsed.choices[0].message.parsed.model_dump(),
        "dims": [len(item.embedding) for item in vectors.data],
    }


def openai_chat_tools(url: str) -> Any:
    """Chat completions with a call, streamed."""
    tool = {"type": "function", "function": {"name": "book", "parameters": TOOL, "strict": True}}
    with _openai(url).chat.completions.stream(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], tools=[tool], tool_choice="required"
    ) as stream:
        for _ in stream:
            pass
        choice = stream.get_final_completion().choices[0]
    return {
        "finish": choice.finish_reason,
        "calls": [[call.function.name, call.function.parsed_arguments] for call in choice.message.tool_calls],
    }


def openai_responses(url: str) -> Any:
    """The Responses API: streamed with thinking, structured, gone on from, cut."""
    client = _openai(url)
    with client.responses.stream(
        model="gpt-5-mini",
        input="hi",
        reasoning={"effort": "low", "summary": "auto"},
        include=["reasoning.encrypted_content"],
    ) as stream:
        events = list(stream)
        streamed = stream.get_final_response()
    parsed = client.responses.parse(model="gpt-5-mini", input="hi", text_format=Place)
    after = client.responses.create(model="gpt-5-mini", input="and now?", previous_response_id=streamed.id)
    cut = client.responses.create(model="gpt-5-mini", input="hi", max_output_tokens=2)
    return {
        "streamed": streamed.output_text,
        "pieces": "".join(event.delta for event in events if event.type == "response.output_text.delta"),
        "thinking": streamed.output[0].summary[0].text,
        "encrypted": bool(streamed.output[0].encrypted_content),
        "tokens": [streamed.usage.output_tokens, streamed.usage.output_tokens_details.reasoning_tokens],
        "numbers": [event.sequence_number for event in events if hasattr(event, "sequence_number")][-1],
        "parsed": parsed.output_parsed.model_dump(),
        "after": after.usage.input_tokens > streamed.usage.total_tokens,
        "cut": [cut.status, cut.incomplete_details.reason],
    }


def openai_responses_tools(url: str) -> Any:
    """The Responses API with a call, streamed, and its result."""
    client = _openai(url)
    tool = {"type": "function", "name": "book", "parameters": TOOL, "strict": True}
    with client.responses.stream(model="gpt-5-mini", input="hi", tools=[tool], tool_choice="required") as stream:
        for _ in stream:
            pass
        first = stream.get_final_response()
    call = first.output[0]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "booked"}
    after = client.responses.create(model="gpt-5-mini", input=[result], previous_response_id=first.id)
    return {"calls": [[call.name, call.parsed_arguments]], "after": after.status}


def openai_errors(url: str) -> Any:
    """Errors of both APIs, as the classes that the client makes of them."""
    import openai

    found = {}
    for status in (400, 401, 404, 429, 500):
        client = openai.OpenAI(
            api_key="k", base_url=f"{url}/v1", max_retries=0, default_headers={"x-simulator": f"status={status}"}
        )
        for name, ask in (
            ("chat", lambda: client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])),  # noqa: B023
            ("responses", lambda: client.responses.create(model="m", input="x")),  # noqa: B023
        ):
            try:
                ask()
            except openai.APIStatusError as error:
                found[f"{name} {status}"] = [type(error).__name__, error.type, error.request_id is not None]
    return found


def anthropic_messages(url: str) -> Any:
    """Messages: whole, streamed with thinking, counted."""
    import anthropic

    client = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0)
    common: Any = {"model": "claude-haiku-4-5", "max_tokens": 4096, "messages": [{"role": "user", "content": "hi"}]}
    whole = client.messages.create(**common)
    with client.messages.stream(**common, thinking={"type": "enabled", "budget_tokens": 1024}) as stream:
        pieces = list(stream.text_stream)
        streamed = stream.get_final_message()
    counted = client.messages.count_tokens(model=common["model"], messages=common["messages"])
    return {
        "whole": whole.content[0].text,
        "streamed": streamed.content[1].text,
        "pieces": "".join(pieces),
        "thinking": streamed.content[0].thinking,
        "signed": bool(streamed.content[0].signature),
        "finish": streamed.stop_reason,
        "tokens": streamed.usage.output_tokens,
        "counted": counted.input_tokens > 0,
    }


def anthropic_tools(url: str) -> Any:
    """A call of a tool, streamed, and an error."""
    import anthropic

    client = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0)
    common: Any = {"model": "claude-haiku-4-5", "max_tokens": 4096, "messages": [{"role": "user", "content": "hi"}]}
    tool: Any = {"name": "book", "input_schema": TOOL}
    with client.messages.stream(**common, tools=[tool], tool_choice={"type": "any"}) as stream:
        for _ in stream:
            pass
        message = stream.get_final_message()
    try:
        client.messages.create(**common, extra_headers={"x-simulator": "status=529"})
    except anthropic.APIStatusError as error:
        refused = [type(error).__name__, error.status_code]
    return {
        "calls": [[block.name, block.input] for block in message.content],
        "finish": message.stop_reason,
        "refused": refused,
    }


def gemini_generate(url: str) -> Any:
    """Generated content: whole, streamed with thinking, structured, called, counted, vectors."""
    from google import genai
    from google.genai import types

    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=url))
    model = "gemini-2.5-flash"
    whole = client.models.generate_content(model=model, contents="hi")
    think = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    chunks = list(client.models.generate_content_stream(model=model, contents="hi", config=think))
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
    form = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Place)
    declared = types.FunctionDeclaration(name="book", parameters_json_schema=TOOL)
    calling = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY)
    called = client.models.generate_content(
        model=model,
        contents="hi",
        config=types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[declared])],
            tool_config=types.ToolConfig(function_calling_config=calling),
        ),
    )
    vectors = client.models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
    return {
        "whole": whole.text,
        "streamed": "".join(part.text for part in parts if part.text and not part.thought),
        "thinking": "".join(part.text for part in parts if part.text and part.thought),
        "finish": chunks[-1].candidates[0].finish_reason.value,
        "tokens": chunks[-1].usage_metadata.candidates_token_count,
        "parsed": client.models.generate_content(model=model, contents="hi", config=form).parsed.model_dump(),
        "calls": [[call.name, call.args] for call in called.function_calls],
        "counted": client.models.count_tokens(model=model, contents="hi").total_tokens > 0,
        "vectors": len(vectors.embeddings),
    }


def ollama_chat(url: str) -> Any:
    """Ollama: whole, streamed with thinking, structured, vectors, models, an error."""
    import ollama

    client = ollama.Client(host=url)
    messages = [{"role": "user", "content": "hi"}]
    chunks = list(client.chat(model="llama3.2", messages=messages, stream=True, think=True))
    form = client.chat(model="llama3.2", messages=messages, format=Place.model_json_schema())
    failing = ollama.Client(host=url, headers={"x-simulator": "status=404"})
    try:
        failing.chat(model="llama3.2", messages=messages)
    except ollama.ResponseError as error:
        refused = error.status_code
    return {
        "whole": client.chat(model="llama3.2", messages=messages).message.content,
        "streamed": "".join(chunk.message.content or "" for chunk in chunks),
        "thinking": "".join(chunk.message.thinking or "" for chunk in chunks),
        "finish": chunks[-1].done_reason,
        "tokens": chunks[-1].eval_count,
        "parsed": Place.model_validate_json(form.message.content or "").model_dump(),
        "vectors": len(client.embed(model="nomic-embed-text", input=["a", "b"]).embeddings),
        "models": [model.model for model in client.list().models],
        "refused": refused,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(globals()[sys.argv[2]](sys.argv[1])))
