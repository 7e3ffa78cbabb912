"""`ResponseFormat`: the form that an answer must have, and the way from its text to a value of that form.

response = await llm.complete("Who wrote Faust?", response_format=Person)
response.parsed  # a Person
"""

from __future__ import annotations

from edgequake_llm._exceptions import ConfigurationError, StructuredOutputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from edgequake_llm._core import LLMResponse
    from edgequake_llm.schema import Shape

_KEPT = "__edgequake_format__"
"""Where a class keeps its format, so that it is made once and goes with the class."""


class ResponseFormat:
    """The form that an answer must have: a JSON schema, and the type that the answer becomes.

    `ResponseFormat.of(type)` takes a pydantic model, a dataclass, a `TypedDict`, a list of them, or any other type that
    tools take; `ResponseFormat(schema)` a JSON schema. Both stand in `response_format` by themselves, too; a format
    made once saves the making (classes keep theirs). `name` is what OpenAI calls the schema. `strict=False` asks the
    provider for less than it can enforce; `strict=True` and `None` for all it can.

    Raises `ConfigurationError` for a type that JSON cannot carry.
    """

    __slots__ = {
        "_shape": None,
        "definition": "OpenAI's object around the schema, which every provider understands here.",
        "fit": "Whether the schema may be adapted to what the provider's strict mode takes.",
        "name": "What OpenAI calls the schema.",
        "schema": "The JSON schema.",
        "wrapped": "Whether the answer is put into an object for the provider, under `value`, and taken out.",
    }

    def __init__(self, schema: Mapping[str, Any], *, name: str | None = None, strict: bool | None = None) -> None:
        self.schema = dict(schema)
        self.name = name or str(self.schema.get("title") or "response")
        self.fit = True
        self.wrapped = False
        self._shape: Shape | None = None
        inner = {"name": self.name, "schema": self.schema, "strict": strict}
        self.definition: dict[str, Any] = {"type": "json_schema", "json_schema": inner}

    @classmethod
    def of(cls, what: Any, *, name: str | None = None, strict: bool | None = None) -> ResponseFormat:
        """Make the format of a type. What is no object in JSON (a list, a number) is put into one, and out again."""
        from edgequake_llm.schema import shape_of

        shape = shape_of(what)
        wrapped = shape.schema.get("type") != "object"
        schema = shape.schema
        if wrapped:
            inner = {key: value for key, value in schema.items() if key != "$defs"}
            schema = {"type": "object", "properties": {"value": inner}, "required": ["value"]}
            if definitions := shape.schema.get("$defs"):
                schema["$defs"] = definitions
        made = cls(schema, name=name or getattr(what, "__name__", None), strict=strict)
        made._shape = shape
        made.wrapped = wrapped
        return made

    def load(self, value: Any) -> Any:
        """Turn a JSON value into one of the type. Raises `ValueError` if it does not fit."""
        from edgequake_llm.schema import without_nulls

        value = without_nulls(value, self.schema)
        if self._shape is None:
            return value
        if self.wrapped:
            if not isinstance(value, dict) or "value" not in value:
                raise ValueError("$: the field 'value' is missing")
            return self._shape.load(value["value"], "$.value")
        return self._shape.load(value, "$")

    def __repr__(self) -> str:
        return f"ResponseFormat({self.name!r})"


def response_format(given: Any) -> ResponseFormat:
    """Make a format of whatever may stand in `response_format`, but text."""
    from collections.abc import Mapping

    if isinstance(given, ResponseFormat):
        return given
    if isinstance(given, Mapping):
        made = ResponseFormat(given)
        if given.get("type") in {"json_schema", "json_object", "text"}:
            # Written for the provider: it goes there as it is.
            made.definition, made.fit = dict(given), False
            inner = given.get("json_schema", given)
            made.schema = dict(inner.get("schema") or {}) if isinstance(inner, Mapping) else {}
        return made
    if not isinstance(given, type):
        return ResponseFormat.of(given)
    kept = given.__dict__.get(_KEPT)
    if isinstance(kept, ResponseFormat):
        return kept
    made = ResponseFormat.of(given)
    try:
        setattr(given, _KEPT, made)
    except (AttributeError, TypeError):  # A built-in type.
        return made
    return made


def parse(response: LLMResponse, form: ResponseFormat | None) -> Any:
    """Turn an answer's text into what was asked for; `None` where it calls tools instead."""
    import json

    text = response.content
    if not text and response.tool_calls:
        return None

    def failed(problem: str) -> StructuredOutputError:
        return StructuredOutputError(problem, provider=response.provider, partial=response)

    if response.refusal is not None:
        raise failed(f"the model refused to answer: {response.refusal}")
    try:
        value = json.loads(text, parse_constant=_no_number)
        return value if form is None else form.load(value)
    except ConfigurationError:
        raise
    except (ValueError, RecursionError) as error:
        if response.finish_reason == "length":
            raise failed("the answer was cut at max_tokens before it was whole; ask for more tokens") from error
        what = "is no JSON" if isinstance(error, json.JSONDecodeError) else "does not fit response_format"
        raise failed(f"the answer {what}: {error}") from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
