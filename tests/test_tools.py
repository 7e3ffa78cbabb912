"""Tools: schemas from functions and classes, arguments back into values, and what each provider is sent."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import json
import pathlib
import sys
import types
import typing
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict, Union

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgequake_llm import ChatMessage, ConfigurationError, InvalidRequestError, Tool, tool
from edgequake_llm._core import decode_chat
from edgequake_llm.schema import Mismatch, shape_of, to_json
from support import processes


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


@dataclasses.dataclass
class Place:
    """A place on earth.

    Args:
        city: Its name.
    """

    city: str
    country: str = "IT"
    around: list[Place] = dataclasses.field(default_factory=list)


class Filter(TypedDict):
    field: str
    value: typing.NotRequired[int] if sys.version_info >= (3, 11) else int


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str = pydantic.Field(description="The full name.")
    age: int = pydantic.Field(ge=0)
    born: dt.date | None = None


class Node(pydantic.BaseModel):
    value: int
    children: list[Node] = []


def schema(annotation: Any) -> dict[str, Any]:
    return shape_of(annotation).schema


def load(annotation: Any, value: Any) -> Any:
    return shape_of(annotation).load(value, "$")


# ---- schemas


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (Any, {}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045 - the old spelling
        (Union[int, str], {"anyOf": [{"type": "integer"}, {"type": "string"}]}),  # noqa: UP007 - the old spelling
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (list, {"type": "array", "items": {}}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (Sequence[str], {"type": "array", "items": {"type": "string"}}),
        (set[str], {"type": "array", "items": {"type": "string"}}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        ),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Mapping[str, Any], {"type": "object", "additionalProperties": True}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal[1, "a", None], {"enum": [1, "a", None]}),  # noqa: PYI061 - null among others
        (Unit, {"type": "string", "enum": ["celsius", "fahrenheit"]}),
        (Annotated[int, "How many."], {"type": "integer", "description": "How many."}),
        (dt.date, {"type": "string", "format": "date"}),
        (dt.datetime, {"type": "string", "format": "date-time"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (pathlib.Path, {"type": "string"}),
        (decimal.Decimal, {"type": "number"}),
        (typing.NewType("UserId", int), {"type": "integer"}),
        (
            Point,
            {
                "type": "object",
                "properties": {"x": {"type": "number"}, "y": {"type": "number", "default": 0.0}},
                "required": ["x"],
            },
        ),
    ],
)
def test_types_become_schemas(annotation, expected):
    assert schema(annotation) == expected


def test_a_dataclass_that_contains_itself_refers_to_its_definition():
    place = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its name."},
            "country": {"type": "string", "default": "IT"},
            "around": {"type": "array", "items": {"$ref": "#/$defs/Place"}, "default": []},
        },
        "required": ["city"],
        "description": "A place on earth.",
    }
    assert schema(Place) == {**place, "$defs": {"Place": place}}
    assert load(Place, {"city": "Rome", "around": [{"city": "Ostia"}]}) == Place("Rome", around=[Place("Ostia")])


def test_pydantic_models_are_inlined_unless_they_contain_themselves():
    class Team(pydantic.BaseModel):
        lead: Person
        members: list[Person]

    got = schema(Team)
    assert "$defs" not in got
    assert got["properties"]["lead"]["properties"]["name"]["description"] == "The full name."
    assert schema(Node)["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert "Node" in schema(Node)["$defs"]
    assert load(Node, {"value": 1, "children": [{"value": 2}]}) == Node(value=1, children=[Node(value=2)])
    assert load(list[Person], [{"name": "Ann", "age": 3, "born": "2020-01-02"}])[0].born == dt.date(2020, 1, 2)


def test_bounds_of_annotated_types_are_in_the_schema_and_checked():
    import annotated_types

    number = Annotated[int, annotated_types.Ge(1), annotated_types.Lt(10)]
    assert schema(number) == {"type": "integer", "minimum": 1, "exclusiveMaximum": 10}
    assert load(number, 9) == 9
    for bad in (0, 10):
        with pytest.raises(Mismatch, match="must be"):
            load(number, bad)
    texts = Annotated[list[str], annotated_types.MinLen(1)]
    assert schema(texts)["minItems"] == 1
    assert schema(Annotated[int, pydantic.Field(gt=0, description="n")]) == {
        "type": "integer",
        "exclusiveMinimum": 0,
        "description": "n",
    }


@pytest.mark.parametrize("annotation", [bytes, complex, dict[int, str], type, "Nowhere", typing.TypeVar("T"), object()])
def test_types_that_json_cannot_carry_are_refused(annotation):
    with pytest.raises(ConfigurationError):
        shape_of(annotation)


# ---- values


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (float, 3, 3.0),
        (int, 3.0, 3),
        (int | float, 3, 3),
        (float | int, 3, 3),
        (bool | int, 1, 1),
        (Unit | None, None, None),
        (Unit, "fahrenheit", Unit.F),
        (Literal[1, True], True, True),
        (set[int], [1, 1, 2], {1, 2}),
        (frozenset[str], ["a"], frozenset({"a"})),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[()], [], ()),
        (Point, {"x": 1}, Point(1.0)),
        (Filter, {"field": "a"}, {"field": "a"}),
        (
            dt.datetime,
            "2025-01-02T03:04:05Z",
            dt.datetime(2025, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc),
        ),
        (decimal.Decimal, 0.1, decimal.Decimal("0.1")),
        (list[dict[str, Unit]], [{"u": "celsius"}], [{"u": Unit.C}]),
    ],
)
def test_values_become_those_of_their_types(annotation, value, expected):
    if annotation is Filter and sys.version_info < (3, 11):
        pytest.skip("NotRequired is of Python 3.11")
    got = load(annotation, value)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "where"),
    [
        (int, "3", "$"),
        (int, True, "$"),
        (int, 3.5, "$"),
        (str, None, "$"),
        (bool, 1, "$"),
        (list[int], [1, "x"], "$[1]"),
        (dict[str, int], {"a": {}}, "$.a"),
        (Unit, "kelvin", "$"),
        (Literal[1], True, "$"),
        (Point, {}, "$"),
        (Point, {"x": 1, "z": 2}, "$"),
        (Place, {"city": "a", "around": [{"city": 3}]}, "$.around[0].city"),
        (tuple[int, str], [1], "$"),
        (list[int] | None, ["x"], "$[0]"),
        (dt.date, "soon", "$"),
        (list[Person], [{"name": "Ann", "age": -1}], "$[0].age"),
    ],
)
def test_what_does_not_fit_says_where(annotation, value, where):
    with pytest.raises(Mismatch) as caught:
        load(annotation, value)
    assert caught.value.where == where


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a type, made without the code under test."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list:
        return st.lists(values_of(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(st.text(max_size=3), values_of(arguments[1]), max_size=3)
    if origin is tuple:
        return st.tuples(*(values_of(item) for item in arguments))
    if origin in {Union, types.UnionType}:
        return st.one_of(*(values_of(item) for item in arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    return {
        str: st.text(max_size=5),
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        type(None): st.none(),
        Unit: st.sampled_from(Unit),
        dt.date: st.dates(),
        uuid.UUID: st.uuids(),
    }[annotation]


def annotations() -> st.SearchStrategy[Any]:
    leaves = st.sampled_from(
        [str, int, float, bool, Unit, dt.date, uuid.UUID, Literal["a", "b"], Literal[1, 2], type(None)]
    )

    def wider(inner):
        return st.one_of(
            inner.map(lambda item: list[item]),
            inner.map(lambda item: dict[str, item]),
            st.tuples(inner, inner).map(lambda items: tuple[items]),
            inner.map(lambda item: item | None),
        )

    return st.recursive(leaves, wider, max_leaves=5)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_value_survives_the_way_through_json_and_pydantic_agrees_with_the_schema(data):
    annotation = data.draw(annotations())
    value = data.draw(values_of(annotation))
    shape = shape_of(annotation)
    written = json.loads(to_json(value))
    assert shape.load(written, "$") == value
    # The oracle: pydantic, which reads the same JSON by the same annotation with code of its own.
    adapter = pydantic.TypeAdapter(annotation)
    assert adapter.validate_json(to_json(value)) == value
    assert _plain(shape.schema) == _plain(adapter.json_schema())


def _plain(schema: Any) -> Any:
    """A schema without what is worded differently: titles, definitions in place or apart, order, const for one value."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return "reference"
        if schema.get("enum") == ["celsius", "fahrenheit"]:
            return "reference"
        schema = {key: value for key, value in schema.items() if key not in {"title", "$defs"}}
        return {key: _plain(value) for key, value in schema.items()}
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema


# ---- functions


def weather(
    city: str, /, unit: Unit = Unit.C, *, days: Annotated[int, "How far ahead."] = 1, near: Place | None = None
) -> str:
    """Tell the weather.

    It is only a forecast.

    Args:
        city: The city's name,
            as people write it.
        unit (Unit): Of temperatures.

    Returns:
        A sentence.
    """
    return f"{city} {unit.name} {days} {near.city if near else '-'}"


def test_a_function_becomes_a_tool():
    made = Tool.of(weather)
    assert made.name == "weather"
    assert made.description == "Tell the weather.\n\nIt is only a forecast."
    properties = made.parameters["properties"]
    assert properties["city"] == {"type": "string", "description": "The city's name, as people write it."}
    assert properties["unit"] == {
        "type": "string",
        "enum": ["celsius", "fahrenheit"],
        "description": "Of temperatures.",
    }
    assert properties["days"] == {"type": "integer", "description": "How far ahead.", "default": 1}
    assert made.parameters["required"] == ["city"]
    arguments = '{"near": {"city": "Ostia"}, "city": "Rome", "unit": "fahrenheit"}'
    assert made.invoke(arguments) == "Rome F 1 Ostia"
    assert made.parse(arguments)["unit"] is Unit.F
    assert made("Rome") == "Rome C 1 -"


@pytest.mark.parametrize(
    "docstring",
    [
        "Do it.\n\n    Args:\n        a: First.\n        b (int, optional): Second\n            line.\n",
        "Do it.\n\n    Parameters\n    ----------\n    a : int\n        First.\n    b : int, optional\n        Second\n        line.\n\n    Returns\n    -------\n    int\n",
        "Do it.\n\n    :param a: First.\n    :param int b: Second\n        line.\n    :returns: x\n",
    ],
    ids=["google", "numpy", "sphinx"],
)
def test_docstrings_of_three_styles(docstring):
    def function(a: int, b: int = 2) -> int:
        return a + b

    function.__doc__ = docstring
    made = Tool.of(function)
    assert made.description == "Do it."
    assert [field["description"] for field in made.parameters["properties"].values()] == ["First.", "Second line."]


def test_methods_partials_and_callable_objects():
    class Shop:
        def __init__(self, stock: dict[str, int]) -> None:
            self.stock = stock

        def count(self, item: str) -> int:
            """Count an item."""
            return self.stock[item]

        async def __call__(self, item: str) -> int:
            """Count it, later."""
            return self.stock[item]

    shop = Shop({"pear": 3})
    assert Tool.of(shop.count).invoke('{"item": "pear"}') == 3
    assert Tool.of(shop.count).parameters["required"] == ["item"]
    later = Tool.of(shop)
    assert (later.name, later.is_async, Tool.of(shop.count).is_async) == ("Shop", True, False)

    def add(a: int, b: int) -> int:
        return a + b

    half = Tool.of(functools.partial(add, b=1))
    assert half.name == "add"
    assert half.invoke({"a": 1}) == 2


def test_the_decorator():
    @tool
    def one(a: int) -> int:
        """One."""
        return a

    @tool(name="two", description="Two.", strict=True)
    async def other(a: int) -> int:
        return a

    assert (one.name, one.description, one(3), one.is_async) == ("one", "One.", 3, False)
    assert (other.name, other.description, other.strict, other.is_async) == ("two", "Two.", True, True)
    assert repr(one) == "Tool('one')"


def test_classes_become_tools_without_a_function():
    made = Tool.of(Person)
    assert (made.name, made.description, made.function) == ("Person", "Somebody.", None)
    assert made.parse('{"name": "Ann", "age": 3}') == Person(name="Ann", age=3)
    assert Tool.of(Place).parse('{"city": "Rome"}') == Place("Rome")
    assert Tool.of(Filter).name == "Filter"
    with pytest.raises(ConfigurationError, match="no function"):
        made.invoke("{}")


def test_an_optional_argument_given_as_null_keeps_its_default():
    def function(a: int = 5, b: int | None = 6) -> tuple[int, int | None]:
        return a, b

    assert Tool.of(function).invoke('{"a": null, "b": null}') == (5, None)
    with pytest.raises(InvalidRequestError):
        Tool.of(weather).invoke('{"city": null}')


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ('{"city": 3}', r"\$.city: must be text, not 3"),
        ("{}", "'city' is missing"),
        ('{"city": "a", "zip": 1}', "unknown field 'zip'"),
        ("[1]", "must be an object"),
        ('{"city": "a"', "do not fit"),
    ],
)
def test_bad_arguments_say_what_is_wrong(arguments, says):
    with pytest.raises(InvalidRequestError, match=says):
        Tool.of(weather).invoke(arguments)


def test_functions_that_cannot_be_tools():
    def many(*names: str) -> None: ...

    def free(**names: str) -> None: ...

    def unknown(x: Nowhere) -> None: ...  # noqa: F821

    def raw(x: bytes) -> None: ...

    for function, says in ((many, r"\*names"), (free, r"\*\*names"), (unknown, "Nowhere"), (raw, "raw.x")):
        with pytest.raises(ConfigurationError, match=says):
            Tool.of(function)
    for name in ("", "with space", "ä"):
        with pytest.raises(ConfigurationError, match="name"):
            Tool(name)
    with pytest.raises(ConfigurationError, match="callable"):
        Tool("f", function=3)
    with pytest.raises(ConfigurationError, match="not int"):
        Tool.of(3)


# ---- on the wires

ADD = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def sent(provider: Any, messages: Any = "hi", **options: Any) -> Any:
    _, body = provider._core.encode(messages, None, options)
    return json.loads(body)


FORMS = [
    add,
    Tool.of(add),
    Tool("add", "Add.", ADD),
    {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": ADD}},
    {"name": "add", "description": "Add.", "input_schema": ADD},
]


@pytest.mark.parametrize("form", FORMS, ids=["function", "tool", "parts", "openai", "anthropic"])
def test_every_form_of_a_tool_is_the_same_on_the_wire(sim, form):
    assert sent(sim.provider("openai"), tools=[form])["tools"] == [FORMS[3]]
    assert sent(sim.provider("anthropic"), tools=[form])["tools"] == [FORMS[4]]
    declared = {"name": "add", "description": "Add.", "parameters": ADD}
    assert sent(sim.provider("gemini"), tools=[form])["tools"] == [{"functionDeclarations": [declared]}]
    assert sent(sim.provider("ollama"), tools=[form])["tools"] == [FORMS[3]]


def test_choices_on_the_wires(sim):
    named = {
        "openai": {"type": "function", "function": {"name": "add"}},
        "anthropic": {"type": "tool", "name": "add"},
    }
    for choice in ("add", add, Tool.of(add), {"type": "function", "function": {"name": "add"}}):
        for name, expected in named.items():
            assert sent(sim.provider(name), tools=[add], tool_choice=choice)["tool_choice"] == expected
        calling = sent(sim.provider("gemini"), tools=[add], tool_choice=choice)["toolConfig"]["functionCallingConfig"]
        assert calling == {"mode": "ANY", "allowedFunctionNames": ["add"]}
    assert sent(sim.provider("openai"), tools=[add], tool_choice="required")["tool_choice"] == "required"
    assert sent(sim.provider("anthropic"), tools=[add], tool_choice="required")["tool_choice"] == {"type": "any"}
    assert sent(sim.provider("anthropic"), tools=[add], parallel_tool_calls=False)["tool_choice"] == {
        "type": "auto",
        "disable_parallel_tool_use": True,
    }


def test_a_providers_own_tools_pass_untouched(sim):
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    assert sent(sim.provider("anthropic"), tools=[add, search])["tools"] == [FORMS[4], search]
    tools = sent(sim.provider("gemini"), tools=[{"google_search": {}}, add])["tools"]
    assert [list(entry) for entry in tools] == [["functionDeclarations"], ["google_search"]]
    eager = Tool("add", "Add.", ADD, extra={"eager_input_streaming": True})
    assert sent(sim.provider("anthropic"), tools=[eager])["tools"][0]["eager_input_streaming"] is True


# ---- results

PNG = "iVBORw0KGgo="
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def result_of(provider: Any, content: Any, **more: Any) -> Any:
    """The result as it stands in the body."""
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    messages = [
        ChatMessage.user("hi"),
        ChatMessage("assistant", tool_calls=[call]),
        ChatMessage.tool("c1", content, **more),
    ]
    body = sent(provider, messages)
    return (body["contents"] if "contents" in body else body["messages"])[-1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ({"a": [1, None, "é"]}, '{"a": [1, null, "é"]}'),
        ([1, 2], "[1, 2]"),
        (["a", "b"], '["a", "b"]'),
        ([], "[]"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        (Place("Rome"), '{"city": "Rome", "country": "IT", "around": []}'),
        (Person(name="Ann", age=1), '{"name": "Ann", "age": 1, "born": null}'),
        ([Person(name="Ann", age=1)], '[{"name": "Ann", "age": 1, "born": null}]'),
        ({"when": dt.date(2025, 1, 2), "unit": Unit.C}, '{"when": "2025-01-02", "unit": "celsius"}'),
        ([{"type": "bug", "id": 1}], '[{"type": "bug", "id": 1}]'),
        ({"type": "text", "id": 1}, '{"type": "text", "id": 1}'),
    ],
)
def test_results_of_every_kind(sim, value, text):
    assert result_of(sim.provider("openai"), value) == {"role": "tool", "tool_call_id": "c1", "content": text}
    block = {"type": "tool_result", "tool_use_id": "c1", "content": text}
    assert result_of(sim.provider("anthropic"), value) == {"role": "user", "content": [block]}
    # Gemini takes JSON as it is: an object is the response itself.
    given = text if isinstance(value, str) else json.loads(text)
    response = given if isinstance(given, dict) else {"result": given}
    answer = {"functionResponse": {"id": "c1", "name": "add", "response": response}}
    assert result_of(sim.provider("gemini"), value) == {"role": "user", "parts": [answer]}
    told = {"role": "tool", "content": text, "tool_name": "add", "tool_call_id": "c1"}
    assert result_of(sim.provider("ollama"), value) == told


def test_results_that_are_pictures(sim):
    for value in (IMAGE, [IMAGE], ["see", IMAGE]):
        content = result_of(sim.provider("anthropic"), value)["content"][0]["content"]
        assert content[-1] == {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
        shown = result_of(sim.provider("gemini"), value)["parts"][0]["functionResponse"]["parts"]
        assert shown == [{"inlineData": {"mimeType": "image/png", "data": PNG}}]
        assert result_of(sim.provider("ollama"), value)["images"] == [PNG]


def test_results_that_are_errors(sim):
    message = ChatMessage.tool("c1", ValueError("no such city"))
    assert (message.is_error, message.content) == (True, "ValueError: no such city")
    assert ChatMessage.tool("c1", KeyError()).content == "KeyError"
    assert ChatMessage.tool("c1", "fine").is_error is False
    assert result_of(sim.provider("anthropic"), OSError("x"))["content"][0]["is_error"] is True
    gemini = result_of(sim.provider("gemini"), "broken", is_error=True)["parts"][0]["functionResponse"]
    assert gemini["response"] == {"error": "broken"}


def test_results_that_cannot_be_sent():
    for value in (b"bytes", float("nan"), {1j}, object()):
        with pytest.raises(InvalidRequestError):
            ChatMessage.tool("c1", value)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidRequestError):
        ChatMessage.tool("c1", endless)


# ---- calls in answers


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "ollama"])
@pytest.mark.parametrize("arguments", ["", '{"a": 1, "b": "two words, \\"quoted\\" and é"}'])
async def test_parallel_calls_arrive_whole_streamed_or_not(sim, provider, arguments):
    llm = sim.provider(provider)
    calls = [("add", arguments), ("other", '{"list": [1, [2]]}'), ("add", arguments)]
    sim.push(tool_calls=calls)
    response = await llm.complete("hi", tools=[add])
    sim.push(tool_calls=calls)
    pieces: dict[int, str] = {}
    started = []
    async with llm.stream("hi", tools=[add]) as stream:
        async for event in stream.events():
            match type(event).__name__:
                case "ToolCallStart":
                    started.append((event.index, event.id, event.name))
                case "ToolCallDelta":
                    pieces[event.index] = pieces.get(event.index, "") + event.arguments
    for got in (response, stream.response):
        assert [call.name for call in got.tool_calls] == ["add", "other", "add"]
        wanted = json.loads(arguments) if arguments else {"a": 1, "b": 1}
        assert [call.parse() for call in got.tool_calls] == [wanted, {"list": [1, [2]]}, wanted]
        assert len({call.id for call in got.tool_calls}) == 3
        assert got.finish_reason == "tool_calls"
    streamed = stream.response.tool_calls
    assert started == [(n, call.id, call.name) for n, call in enumerate(streamed)]
    assert [json.loads(pieces[n]) for n in range(3)] == [call.parse() for call in streamed]


async def test_a_forced_tool_is_called_by_the_simulator(sim):
    for provider in ("openai", "anthropic", "gemini"):
        response = await sim.provider(provider).complete("hi", tools=[weather, add], tool_choice=add)
        (call,) = response.tool_calls
        assert Tool.of(add).invoke(call.arguments) == 2


def test_ids_are_made_where_a_provider_has_none():
    gemini = {
        "candidates": [{"content": {"parts": [{"functionCall": {"name": n}} for n in "fg"]}, "finishReason": "STOP"}]
    }
    ollama = {"message": {"tool_calls": [{"function": {"name": n, "arguments": {}}} for n in "fg"]}, "done": True}
    for wire, body in (("gemini", gemini), ("ollama", ollama)):
        response = decode_chat(wire, json.dumps(body).encode())
        assert [(call.id, call.name, call.arguments) for call in response.tool_calls] == [
            ("call_0", "f", "{}"),
            ("call_1", "g", "{}"),
        ]


def test_importing_brings_nothing_heavy_along():
    heavy = "{'inspect', 'typing', 'dataclasses', 'asyncio', 'json', 're', 'pydantic'} & set(sys.modules)"
    bare = processes.run(f"import sys; print(*sorted({heavy}))")
    assert processes.run(f"import sys, edgequake_llm; print(*sorted({heavy}))") == bare
