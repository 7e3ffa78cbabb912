"""What a function takes, as a JSON schema, and how to call it with JSON arguments."""

from __future__ import annotations

from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm.schema._docstring import Docstring
from edgequake_llm.schema._shape import Mismatch
from edgequake_llm.schema._types import _MISSING, Builder, load_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Signature:
    """A function's name, description and parameters as the model sees them."""

    __slots__ = ("_needed", "_positional", "_shapes", "description", "name", "schema")

    def __init__(
        self, name: str, document: Docstring, schema: dict[str, Any], *, shapes: Any, needed: Any, positional: Any
    ) -> None:
        self.name = name
        self.description = document.summary
        self.schema = schema
        self._shapes = shapes
        self._needed = needed
        self._positional = positional

    def values(self, arguments: Any) -> dict[str, Any]:
        """Check JSON arguments and convert them. Raises `Mismatch` if they do not fit."""
        return load_fields(self._shapes, self._needed, arguments, "$")

    def bind(self, arguments: Any) -> tuple[list[Any], dict[str, Any]]:
        """Turn JSON arguments into positional and keyword arguments. Raises `Mismatch` if they do not fit."""
        values = self.values(arguments)
        # A positional-only parameter that is left out ends them: those behind it keep their defaults, too.
        positional = []
        for name in self._positional:
            if name not in values:
                if values.keys() & set(self._positional):
                    raise Mismatch("$", f"the field {name!r} is missing")
                break
            positional.append(values.pop(name))
        return positional, values


def signature_of(function: Callable[..., Any]) -> Signature:
    """Read a function's signature and docstring.

    Raises `ConfigurationError` for a function whose parameters JSON cannot carry: `*args`, `**kwargs`, or a type that
    has no JSON schema.
    """
    import functools
    import inspect
    import typing

    name = _name_of(function)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the signature of {name} cannot be read: {error}") from error
    plain: Any = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    if not (inspect.isroutine(plain) or isinstance(plain, type)):
        plain = type(plain).__call__  # An object that can be called.
    try:
        annotated = getattr(plain, "__init__") if isinstance(plain, type) else plain  # noqa: B009 - of the class as it is
        hints = typing.get_type_hints(annotated, include_extras=True)
    except (NameError, TypeError) as error:
        message = f"the annotations of {name} cannot be read: {error}; types must be defined outside of functions"
        raise ConfigurationError(message) from error
    for parameter in parameters.values():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            message = f"{name} takes {parameter}, which a schema cannot say; name its parameters, or give a JSON schema"
            raise ConfigurationError(message)
    document = Docstring.parse(inspect.getdoc(plain))
    builder = Builder()
    needed = {key for key, parameter in parameters.items() if parameter.default is parameter.empty}

    def default(key: str) -> Any:
        value = parameters[key].default
        return _MISSING if value is inspect.Parameter.empty else value

    schema, shapes = builder.fields(
        {key: hints.get(key, typing.Any) for key in parameters},
        what=name,
        required=needed.__contains__,
        default=default,
        descriptions=document.parameters,
    )
    positional = [key for key, parameter in parameters.items() if parameter.kind is parameter.POSITIONAL_ONLY]
    whole = builder.whole(schema)
    return Signature(name, document, whole, shapes=shapes, needed=needed, positional=positional)


def _name_of(function: Any) -> str:
    import functools

    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None) or type(function).__name__
    return str(name)
