"""Structured output: what each provider is asked for, answers as values, and values while they are written."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
import math
from typing import Any, Literal, TypedDict

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgequake_llm import (
    AnthropicProvider,
    CompletionOptions,
    ConfigurationError,
    InvalidRequestError,
    InvalidResponseError,
    OpenAIProvider,
    ResponseFormat,
    StructuredOutputError,
    UnsupportedOption,
)
from support.raw import CLOSE, RawServer, head, openai_delta, sse

PROVIDERS = ["openai", "anthropic", "gemini", "ollama"]


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Person(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(ge=0)
    mood: Mood = Mood.GOOD
    nick: str | None = None


@dataclasses.dataclass
class City:
    name: str
    people: list[Person]
    twin: City | None = None


class Row(TypedDict):
    kind: Literal["a", "b"]
    values: list[float]


SCHEMA = {
    "title": "Sum",
    "type": "object",
    "properties": {"sum": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["sum"],
}

PERSON = {"name": "Ann", "age": 3, "mood": "bad", "nick": None}


def sent(provider: Any, **options: Any) -> Any:
    _, body = provider._core.encode("hi", None, options)
    return json.loads(body)


# ---- what is asked for


def test_a_model_on_the_wires(sim):
    openai = sent(sim.provider("openai"), response_format=Person)["response_format"]
    assert (openai["type"], openai["json_schema"]["name"], openai["json_schema"]["strict"]) == (
        "json_schema",
        "Person",
        True,
    )
    schema = openai["json_schema"]["schema"]
    assert schema["required"] == ["name", "age", "mood", "nick"]
    assert schema["additionalProperties"] is False
    assert "default" not in json.dumps(schema)
    assert {"type": "null"} in schema["properties"]["mood"]["anyOf"]
    anthropic = sent(sim.provider("anthropic"), response_format=Person)
    assert anthropic["output_config"]["format"]["schema"]["required"] == ["name", "age"]
    assert "tools" not in anthropic
    config = sent(sim.provider("gemini"), response_format=Person)["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["properties"]["age"]["minimum"] == 0
    assert sent(sim.provider("ollama"), response_format=Person)["format"] == config["responseJsonSchema"]


def test_json_without_a_schema_on_the_wires(sim):
    assert sent(sim.provider("openai"), response_format="json")["response_format"] == {"type": "json_object"}
    assert sent(sim.provider("gemini"), response_format="json")["generationConfig"] == {
        "responseMimeType": "application/json"
    }
    assert sent(sim.provider("ollama"), response_format="json")["format"] == "json"
    anthropic = sent(sim.provider("anthropic"), response_format="json")
    assert anthropic["tool_choice"] == {"type": "tool", "name": anthropic["tools"][0]["name"]}


def test_a_schema_written_for_the_provider_stays_as_it_is(sim):
    for strict in ({}, {"strict": True}, {"strict": False}):
        given = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, **strict}}
        assert sent(sim.provider("openai"), response_format=given)["response_format"] == given
    bare = sent(sim.provider("openai"), response_format=SCHEMA)["response_format"]["json_schema"]
    assert (bare["name"], bare["strict"], bare["schema"]["required"]) == ("Sum", True, ["sum", "note"])
    loose = ResponseFormat(SCHEMA, name="mine", strict=False)
    assert sent(sim.provider("openai"), response_format=loose)["response_format"]["json_schema"] == {
        "name": "mine",
        "schema": SCHEMA,
        "strict": False,
    }


def test_older_models_of_anthropic_answer_by_tool(sim):
    old = sent(sim.provider("anthropic"), response_format=Person, model="claude-sonnet-4-20250514")
    assert old["tools"][0]["input_schema"]["properties"].keys() == {"name", "age", "mood", "nick"}
    with pytest.raises(UnsupportedOption, match="together with tools or reasoning"):
        sent(sim.provider("anthropic"), response_format="json", tools=[{"name": "f"}])
    assert "output_config" not in old


def test_a_class_keeps_its_format(sim):
    class Kept(pydantic.BaseModel):
        a: int

    class Child(Kept):
        b: int

    llm = sim.provider()
    for kind, fields in ((Kept, ["a"]), (Child, ["a", "b"]), (Kept, ["a"])):
        schema = sent(llm, response_format=kind)["response_format"]["json_schema"]["schema"]
        assert schema["required"] == fields


# ---- answers as values


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_answers_become_values(sim, provider, streamed):
    llm = sim.provider(provider)

    async def ask(what: Any, text: str | None = None) -> Any:
        if text is not None:
            sim.push(text=text)
        if not streamed:
            return (await llm.complete("hi", response_format=what)).parsed
        async with llm.stream("hi", response_format=what) as stream:
            async for _ in stream:
                pass
            return stream.response.parsed

    ann = Person(name="Ann", age=3, mood=Mood.BAD)
    # What the simulator makes up fits the schema that it is sent.
    for kind in (Person, City, Row):
        made = await ask(kind)
        assert isinstance(made, dict if kind is Row else kind), made
    assert (await ask(SCHEMA))["sum"] == 1
    assert isinstance(await ask("json"), dict)
    if provider == "anthropic":
        return  # There "json" and open schemas are asked for by tool; a scripted text would be no call of it.
    assert await ask(Person, json.dumps(PERSON)) == ann
    assert await ask(City, json.dumps({"name": "Rome", "people": [PERSON], "twin": None})) == City("Rome", [ann])
    assert await ask(list[Person], json.dumps({"value": [PERSON]})) == [ann]
    assert await ask(int | None, '{"value": null}') is None
    assert await ask(SCHEMA, '{"sum": 3, "note": null}') == {"sum": 3}
    assert await ask("json", "[1, null]") == [1, None]


async def test_an_answer_by_tool_is_an_answer(sim):
    llm = sim.provider("anthropic", model="claude-3-5-haiku-latest")
    response = await llm.complete("hi", response_format=Person)
    assert isinstance(response.parsed, Person)
    assert (response.finish_reason, response.raw_finish_reason, response.tool_calls) == ("stop", "tool_use", [])
    async with llm.stream("hi", response_format=Person) as stream:
        text = "".join([piece async for piece in stream])
        assert stream.partial() == json.loads(text)
    assert stream.response.parsed == response.parsed
    assert stream.response.content == text


async def test_nulls_of_strict_modes_mean_left_out(sim):
    sim.push(text='{"name": "Ann", "age": 3, "mood": null, "nick": null}')
    parsed = (await sim.provider().complete("hi", response_format=Person)).parsed
    assert parsed == Person(name="Ann", age=3)
    assert parsed.model_fields_set == {"name", "age", "nick"}


async def test_parsed_is_read_once_and_is_nothing_without_a_format(sim):
    sim.push(text=json.dumps(PERSON))
    response = await sim.provider().complete("hi", CompletionOptions(response_format=Person))
    assert response.parsed is response.parsed
    assert (await sim.provider().complete("hi")).parsed is None
    assert (await sim.provider().complete("hi", response_format="text")).parsed is None
    sim.push(tool_calls=[("f", "{}")])
    assert (await sim.provider().complete("hi", response_format=Person, tools=[{"name": "f"}])).parsed is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Sure! Here it is.", "is no JSON"),
        ('{"name": "Ann"}', "age"),
        ('{"name": "Ann", "age": -1}', r"\$\.age"),
        ('{"name": "Ann", "age": NaN}', "NaN is no JSON"),
        ("", "is no JSON"),
        ("[" * 100_000, "JSON|recursion"),
    ],
)
async def test_answers_of_another_form_raise_and_keep_the_text(sim, text, says):
    sim.push(text=text)
    response = await sim.provider().complete("hi", response_format=Person)
    assert response.content == text
    with pytest.raises(StructuredOutputError, match=says) as caught:
        _ = response.parsed
    error = caught.value
    assert isinstance(error, InvalidResponseError)
    assert (error.text, error.provider, error.partial) == (text, "openai", response)


async def test_cut_and_refused_answers_say_so(sim):
    sim.push(text=json.dumps(PERSON))
    response = await sim.provider().complete("hi", response_format=Person, max_tokens=2)
    assert response.finish_reason == "length"
    with pytest.raises(StructuredOutputError, match="cut at max_tokens"):
        _ = response.parsed
    message = {"role": "assistant", "content": None, "refusal": "I won't."}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    sim.push(body=json.dumps(body).encode())
    with pytest.raises(StructuredOutputError, match="refused to answer: I won't"):
        _ = (await sim.provider().complete("hi", response_format=Person)).parsed


async def test_runs_have_a_form_too(sim):
    def add(a: int, b: int) -> int:
        return a + b

    sim.push(tool_calls=[("add", '{"a": 1, "b": 2}')])
    sim.push(text='{"sum": 3}')
    result = await sim.provider().run("hi", tools=[add], response_format=SCHEMA)
    assert (result.parsed, result.rounds) == ({"sum": 3}, 2)


def test_formats_that_cannot_be(sim):
    for bad in (bytes, dict[int, str], 3):
        with pytest.raises(ConfigurationError):
            sent(sim.provider(), response_format=bad)
    with pytest.raises(InvalidRequestError, match="response_format is text, json"):
        sent(sim.provider(), response_format="yaml")


# ---- while it is written


def closing(text: str) -> Any:
    """What a cut JSON text holds so far, found with Python's own parser: the longest beginning that can be closed."""
    in_text = escaped = False
    stack: list[str] = []
    # Places after which the text can be cut and closed: behind a value, or behind an opening bracket.
    best: tuple[int, str] | None = None
    expects_key: list[bool] = []
    at = 0
    while at < len(text):
        c = text[at]
        if in_text:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == '"':
                in_text = False
                if not (stack and stack[-1] == "}" and expects_key[-1]):
                    best = (at + 1, "".join(reversed(stack)))
        elif c == '"':
            in_text = True
            start = at
        elif c in "{[":
            stack.append("}" if c == "{" else "]")
            expects_key.append(c == "{")
            best = (at + 1, "".join(reversed(stack)))
        elif c in "}]":
            stack.pop()
            expects_key.pop()
            best = (at + 1, "".join(reversed(stack)))
        elif c == ":":
            expects_key[-1] = False
        elif c == ",":
            if stack[-1] == "}":
                expects_key[-1] = True
        elif not c.isspace():
            end = at
            while end < len(text) and text[end] not in ",]} \n\t\r":
                end += 1
            token = text[at:end]
            whole = end < len(text) or token in ("true", "false", "null")
            if whole:
                best = (end, "".join(reversed(stack)))
            at = end
            continue
        at += 1
    if in_text and not (stack and stack[-1] == "}" and expects_key[-1]):
        # A text that is being written counts as far as it goes, half escapes left out.
        for end in range(len(text), max(start, len(text) - 12), -1):
            try:
                piece = json.loads(text[start:end] + '"')
            except ValueError:
                continue
            if any("\ud800" <= letter <= "\udfff" for letter in piece):
                continue
            return json.loads(text[:end] + '"' + "".join(reversed(stack)))
    if best is None:
        return None
    end, rest = best
    return json.loads(text[:end] + rest)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


async def cut_stream(server: RawServer, pieces: list[str], **settings: Any) -> list[Any]:
    """Read a stream of these pieces of text, and ask for the value after each."""
    llm = OpenAIProvider("key", base_url=server.url, **settings)
    seen = []
    async with llm.stream("hi", response_format="json") as stream:
        assert stream.partial() is None
        async for _ in stream:
            value = stream.partial()
            assert stream.partial() is value
            seen.append(value)
        assert stream.partial() == stream.response.parsed
    await llm.aclose()
    return seen


@settings(max_examples=60, deadline=None)
@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_every_cut_holds_what_a_second_reading_finds(value, ascii_only, indent):
    text = json.dumps({"value": value, "end": 1}, ensure_ascii=ascii_only, indent=indent)
    pieces = list(text)
    events = sse(*map(openai_delta, pieces), openai_delta(finish_reason="stop"), "[DONE]")
    with RawServer([head(connection="close"), events, CLOSE]) as server:
        seen = asyncio.run(cut_stream(server, pieces))
    for n, got in enumerate(seen[:-1], 1):
        assert got == closing(text[:n]), text[:n]
        assert type_of(got) == type_of(closing(text[:n]))
    assert seen[-1] == {"value": value, "end": 1}


def type_of(value: Any) -> Any:
    """The types in a value, which == does not tell apart."""
    if isinstance(value, dict):
        return {key: type_of(item) for key, item in value.items()}
    return [type_of(item) for item in value] if isinstance(value, list) else type(value)


def test_the_second_reading_itself():
    for text, expected in [
        ('{"a', {}),
        ('{"a":', {}),
        ('{"a": 12', {}),
        ('{"a": 12,', {"a": 12}),
        ('{"a": "x\\u00', {"a": "x"}),
        ('{"a": "\\ud83d\\ude0', {"a": ""}),
        ('[{"a": tru', [{}]),
        ('[{"a": true', [{"a": True}]),
        ("", None),
    ]:
        assert closing(text) == expected


async def test_typed_answers_grow(sim):
    sim.push(text='{"value": [{"name": "Ann", "age": 3}, {"name": "Bo"')
    async with sim.provider().stream("hi", response_format=list[Person]) as stream:
        seen = [stream.partial() async for _ in stream]
    assert seen[-1] == [{"name": "Ann", "age": 3}, {"name": "Bo"}]
    assert seen[0] in (None, [])
    lengths = [len(value or []) for value in seen]
    assert lengths == sorted(lengths)


def test_partial_without_an_event_loop_and_without_a_format(sim):
    sim.push(text='{"a": [1, 2]}')
    with sim.provider().sync.stream("hi", response_format="json") as stream:
        for _ in stream:
            pass
        assert stream.partial() == {"a": [1, 2]}
    with sim.provider().sync.stream("hi") as stream, pytest.raises(InvalidRequestError, match="response_format"):
        stream.partial()


async def test_numbers_keep_their_digits(sim):
    text = '{"big": 123456789012345678901234567890, "small": 1e-7, "float": 1.0}'
    sim.push(text=text)
    async with sim.provider().stream("hi", response_format="json") as stream:
        async for _ in stream:
            pass
        partial = stream.partial()
    assert partial == stream.response.parsed
    assert partial["big"] == 123456789012345678901234567890
    assert isinstance(partial["float"], float)
    assert math.isclose(partial["small"], 1e-7)


# ---- what a provider does not have


@pytest.mark.parametrize(
    ("provider", "options", "option", "field"),
    [
        ("openai", {"top_k": 3}, "top_k", "top_k"),
        ("openai", {"reasoning": 2048}, "reasoning", "reasoning_effort"),
        ("anthropic", {"seed": 1}, "seed", "seed"),
        ("anthropic", {"presence_penalty": 1.0}, "presence_penalty", "presence_penalty"),
        ("anthropic", {"reasoning": 2048, "model": "claude-opus-4-7"}, "reasoning", "thinking"),
        ("gemini", {"user": "somebody"}, "user", "somebody"),
        ("gemini", {"parallel_tool_calls": False}, "parallel_tool_calls", "toolConfig"),
        ("gemini", {"reasoning": "max", "model": "gemini-3-pro"}, "reasoning", "thinkingConfig"),
        ("ollama", {"tools": [{"name": "f"}], "tool_choice": "required"}, "tool_choice", "tool_choice"),
        ("ollama", {"tools": [{"name": "f", "strict": True}]}, "strict", "strict"),
        ("ollama", {"reasoning": 64}, "reasoning", "think"),
    ],
)
def test_unsupported_options_are_refused_or_dropped_when_allowed(sim, provider, options, option, field):
    llm = sim.provider(provider)
    with pytest.raises(UnsupportedOption) as caught:
        sent(llm, temperature=0.5, **options)
    error = caught.value
    assert (error.provider, error.param) == (provider, option)
    assert "; " in error.message
    for body in (
        sent(llm, temperature=0.5, drop_unsupported=True, **options),
        sent(sim.provider(provider, drop_unsupported=True), temperature=0.5, **options),
    ):
        assert field not in json.dumps(body)
        assert "0.5" in json.dumps(body)
    with pytest.raises(UnsupportedOption):
        sent(sim.provider(provider, drop_unsupported=True), drop_unsupported=False, **options)


def test_content_is_never_dropped(sim):
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    message = {"role": "user", "content": [audio]}
    llm = AnthropicProvider("key", base_url=sim.url, drop_unsupported=True)
    with pytest.raises(UnsupportedOption, match="audio"):
        llm._core.encode([message], None, {})
