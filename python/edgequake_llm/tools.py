"""`Tool` and `@tool`: functions that the model may call.

@tool
async def weather(city: str, unit: Literal["C", "F"] = "C") -> dict:
    '''Tell the weather of a city.'''
    ...

result = await llm.run("How is the weather in Rome?", tools=[weather])
"""

from __future__ import annotations

from edgequake_llm import _core
from edgequake_llm._exceptions import ConfigurationError, InvalidRequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias, overload

    from edgequake_llm.schema import Shape, Signature

    ToolLike: TypeAlias = "Tool | Mapping[str, Any] | Callable[..., Any] | type"
    """What may stand in `tools`: a tool, a JSON schema in a provider's form, a typed function, or a class."""


class Tool:
    """A function that the model may call: its name, what it does, and the JSON schema of its arguments.

    `Tool.of(function)` (or `@tool`) reads them from a typed function and its docstring, or from a pydantic model, a
    dataclass or a `TypedDict`, whose fields are the arguments then. `Tool(name, description, parameters, function=...)`
    takes them as they are; the function gets the arguments by keyword, unchecked. A tool without a function can be
    offered to the model, and its calls are left to the caller. `strict` makes the provider keep to the schema (OpenAI,
    Anthropic; Gemini as a whole); a schema whose optional fields a strict mode does not take is adapted to it.

    A tool is made once and is cheap to send any number of times. Calling it calls the function.

    Raises `ConfigurationError` for a function or schema that cannot be a tool.
    """

    __slots__ = {
        **dict.fromkeys(("__weakref__", "_definition", "_shape", "_signature")),
        "description": "What it does, for the model.",
        "function": "What is called; `None` leaves the calls to the caller.",
        "name": "Its name, for the model.",
        "parameters": "The JSON schema of its arguments.",
        "strict": "Whether the provider must keep to the schema; `None` leaves it to the provider.",
    }

    def __init__(
        self,
        name: str,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        function: Callable[..., Any] | None = None,
        strict: bool | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Make a tool of its parts. `extra`: fields of the provider's own, as Anthropic's `input_examples`."""
        if function is not None and not callable(function):
            raise ConfigurationError(f"the function of a tool must be callable, not {type(function).__name__}")
        _check_name(name)
        self.name = name
        self.description = description or None
        self.parameters = {"type": "object", "properties": {}} if parameters is None else dict(parameters)
        self.function = function
        self.strict = strict
        self._signature: Signature | None = None
        self._shape: Shape | None = None
        self._definition = _core.ToolDefinition({**(extra or {}), **self.to_dict()})

    @classmethod
    def of(
        cls,
        what: Callable[..., Any] | type,
        *,
        name: str | None = None,
        description: str | None = None,
        strict: bool | None = None,
    ) -> Tool:
        """Make a tool of a typed function, or of a class whose fields are the arguments.

        A function's docstring may describe its parameters (Google, NumPy or Sphinx style); so may `Annotated[int,
        "what it is"]`. Arguments are checked against the annotations and converted to them before the call. A class
        makes a tool without a function; `tool.parse(call.arguments)` makes an instance of it.
        """
        from edgequake_llm import schema

        if not callable(what):
            raise ConfigurationError(f"a tool is a function, a class or a JSON schema, not {type(what).__name__}")
        if schema.is_data(what):
            shape = schema.shape_of(what)
            fields = dict(shape.schema)
            text = fields.pop("description", None)
            made = cls(name or what.__name__, text if description is None else description, fields, strict=strict)
            made._shape = shape
            return made._adapted()
        signature = schema.signature_of(what)
        text = signature.description if description is None else description
        made = cls(name or signature.name, text, signature.schema, function=what, strict=strict)
        made._signature = signature
        return made._adapted()

    def _adapted(self) -> Tool:
        """Allow strict modes to adapt the schema: it was made here, and what it makes of null is known here."""
        self._definition = _core.ToolDefinition(self.to_dict(), fit=True)
        return self

    @property
    def definition(self) -> _core.ToolDefinition:
        """What is sent to providers."""
        return self._definition

    def to_dict(self) -> dict[str, Any]:
        """Return the tool as JSON: `name`, `description`, `parameters` and `strict`, the unset ones left out."""
        fields = {"description": self.description, "parameters": self.parameters, "strict": self.strict}
        return {"name": self.name, **{key: value for key, value in fields.items() if value is not None}}

    def parse(self, arguments: str | Mapping[str, Any]) -> Any:
        """Check a call's arguments and convert them.

        Returns an instance for a tool made of a class, else the arguments by name. Raises `InvalidRequestError`, which
        says what should have been written, if they do not fit.
        """
        given = self._object(arguments)
        try:
            if self._shape is not None:
                return self._shape.load(given, "$")
            return given if self._signature is None else self._signature.values(given)
        except ValueError as error:
            raise self._unfit(error) from error

    def invoke(self, arguments: str | Mapping[str, Any]) -> Any:
        """Call the function with a call's arguments, checked and converted; await the result if it is async.

        Raises `InvalidRequestError` if the arguments do not fit, `ConfigurationError` if there is no function, and
        whatever the function raises.
        """
        if self.function is None:
            raise ConfigurationError(f"the tool {self.name!r} has no function to call")
        given = self._object(arguments)
        if self._signature is None:
            return self.function(**given)
        try:
            positional, named = self._signature.bind(given)
        except ValueError as error:
            raise self._unfit(error) from error
        return self.function(*positional, **named)

    def _object(self, arguments: str | Mapping[str, Any]) -> dict[str, Any]:
        import json

        try:
            given = json.loads(arguments or "{}") if isinstance(arguments, str) else dict(arguments)
        except ValueError as error:
            raise self._unfit(error) from error
        if not isinstance(given, dict):
            raise self._unfit(f"they must be an object, not {type(given).__name__}")
        return given

    def _unfit(self, problem: object) -> InvalidRequestError:
        return InvalidRequestError(f"the arguments of {self.name} do not fit: {problem}")

    @property
    def is_async(self) -> bool:
        """Whether what the function returns has to be awaited."""
        import inspect

        function = self.function
        of_object = getattr(type(function), "__call__", None)  # noqa: B004 - it may be async
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(of_object)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as it is."""
        if self.function is None:
            raise ConfigurationError(f"the tool {self.name!r} has no function to call")
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"


if TYPE_CHECKING:

    @overload
    def tool(function: Callable[..., Any], /) -> Tool: ...
    @overload
    def tool(
        *, name: str | None = None, description: str | None = None, strict: bool | None = None
    ) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of the function below: `@tool`, or `@tool(name=..., description=..., strict=...)`. See `Tool.of`."""
    if function is None:
        return lambda function: Tool.of(function, name=name, description=description, strict=strict)
    return Tool.of(function)


def as_tool(item: ToolLike, place: int | None = None) -> Tool | Mapping[str, Any]:
    """Make a tool of whatever may stand in `tools`, there at `place`; JSON stays as it is."""
    from collections.abc import Mapping

    if isinstance(item, Tool | Mapping):
        return item
    if not callable(item):
        what = "a tool" if place is None else f"tools[{place}]"
        message = f"{what} must be a function, a class, a Tool or a JSON schema, not {type(item).__name__}"
        raise InvalidRequestError(message, param="tools")
    return Tool.of(item)


def result_content(value: object) -> str | list[Any]:
    """Say what a tool returned: text as it is, content parts as parts, anything else as JSON.

    Raises `InvalidRequestError` for what JSON cannot hold.
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        raise InvalidRequestError("a tool returned bytes; return text, or an image or document as a content part")
    if _is_part(value):
        return [value]
    if isinstance(value, list | tuple) and any(map(_is_part, value)):
        items: list[Any] = list(value)
        if all(isinstance(item, str) or _is_part(item) for item in items):
            return items
    from edgequake_llm.schema import to_json

    return to_json(value)


_PARTS = frozenset({"text", "image", "image_url", "document", "file", "input_audio", "search_result"})


def _is_part(value: object) -> bool:
    """Whether this is a content part, and no data of one's own that has a type."""
    if not isinstance(value, dict) or value.get("type") not in _PARTS:
        return False
    kind = value["type"]
    return kind in value or "source" in value


def _check_name(name: str) -> None:
    """Refuse a name that no provider takes. The strictest take 64 letters, digits, `_` and `-`."""
    if not isinstance(name, str) or not name:
        raise ConfigurationError("a tool needs a name")
    if not all(letter.isascii() and (letter.isalnum() or letter in "_-.:") for letter in name):
        raise ConfigurationError(
            f"the tool name {name!r} may hold only letters, digits, '_', '-', '.' and ':'; give name=..."
        )
