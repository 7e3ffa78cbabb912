"""The shapes of Python types.

Understood: `str`, `int`, `float`, `bool`, `None`, `Any`, lists, sets, tuples, dicts and their abstract forms, unions,
`Literal`, `Enum`, `TypedDict`, dataclasses, named tuples, `Annotated`, `NewType` and type aliases, dates and times,
`UUID`, `Decimal` and `Path`; and, where pydantic is installed, its models and whatever has its hooks.
"""

from __future__ import annotations

from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm.schema._docstring import Docstring
from edgequake_llm.schema._nulls import without_nulls
from edgequake_llm.schema._shape import Mismatch, Shape, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from edgequake_llm.schema._shape import Load


def shape_of(annotation: Any) -> Shape:
    """Return the shape of a type. Raises `ConfigurationError` for a type that JSON cannot carry."""
    builder = Builder()
    shape = builder.shape(annotation, getattr(annotation, "__name__", "the type"))
    schema = dict(shape.schema)
    # A type that contains itself is a reference at first sight; providers want to see an object.
    if name := str(schema.get("$ref", "")).removeprefix("#/$defs/"):
        schema = dict(builder.definitions[name])
    return Shape(builder.whole(schema), shape.load)


def is_data(annotation: Any) -> bool:
    """Whether this is a class of named fields: a pydantic model, a dataclass, a `TypedDict` or a named tuple."""
    import dataclasses

    if not isinstance(annotation, type):
        return False
    named_tuple = issubclass(annotation, tuple) and hasattr(annotation, "_fields")
    model = hasattr(annotation, "model_json_schema")
    return model or dataclasses.is_dataclass(annotation) or _is_typed_dict(annotation) or named_tuple


class Builder:
    """Makes the shapes of one schema; types that contain themselves become definitions in it."""

    def __init__(self) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self._open: dict[Any, _Named] = {}

    def whole(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema with the definitions that it refers to."""
        if not self.definitions:
            return schema
        return {**schema, "$defs": self.definitions}

    def shape(self, annotation: Any, what: str) -> Shape:  # noqa: C901, PLR0911 - one line for each kind of type
        """Return the shape of a type; `what` names it in errors."""
        import types
        import typing

        plain = _PLAIN.get(annotation) if isinstance(annotation, type) or annotation is None else None
        if plain is not None:
            return plain
        if annotation is typing.Any or annotation is object:
            return Shape({}, lambda value, _: value)
        if isinstance(annotation, str | typing.ForwardRef):
            raise ConfigurationError(f"{what}: the name {annotation!r} is not known where it is defined")
        if isinstance(annotation, type) and hasattr(annotation, "__get_pydantic_core_schema__"):
            return self._pydantic(annotation)
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            return self._annotated(arguments, what)
        if origin is typing.Literal:
            return _one_of(list(arguments), {repr(value): value for value in arguments})
        if origin in {typing.Union, types.UnionType}:
            return self._union(arguments, what)
        if _is_typed_dict(annotation) or _is_typed_dict(origin):
            return self._named(annotation, what, self._typed_dict)
        if origin is not None and (container := self._container(origin, arguments, what)) is not None:
            return container
        if isinstance(annotation, type):
            return self._class(annotation, what)
        if (supertype := getattr(annotation, "__supertype__", None)) is not None:  # NewType
            return self.shape(supertype, what)
        if (aliased := getattr(annotation, "__value__", None)) is not None:  # type X = ...
            return self._named(annotation, what, lambda alias, what: self.shape(alias.__value__, what), aliased)
        raise ConfigurationError(f"{what}: {annotation!r} has no JSON schema; use a type that JSON can carry")

    def _class(self, annotation: type, what: str) -> Shape:  # noqa: C901, PLR0911 - one step for each kind of class
        import collections.abc
        import dataclasses
        import datetime as dt
        import decimal
        import enum
        import pathlib
        import uuid
        from typing import cast

        if issubclass(annotation, enum.Enum):
            members = {repr(member.value): member for member in annotation}
            shape = _one_of([member.value for member in annotation], members)
            if (summary := _own_docstring(annotation).summary) and not summary.startswith("An enumeration"):
                shape.schema["description"] = summary
            return shape
        if dataclasses.is_dataclass(annotation):
            return self._named(annotation, what, self._dataclass)
        if issubclass(annotation, tuple) and hasattr(annotation, "_fields"):
            return self._named(annotation, what, self._named_tuple)
        if annotation in {list, set, frozenset, tuple, dict}:
            return self._container(annotation, (), what) or Shape({}, lambda value, _: value)
        if getattr(annotation, "__module__", "") in {"collections.abc", "collections"} and issubclass(
            annotation, collections.abc.Iterable
        ):
            found = self._container(annotation, (), what)
            if found is not None:
                return found
        for kind, name, read in (
            (dt.datetime, "date-time", _datetime),
            (dt.date, "date", dt.date.fromisoformat),
            (dt.time, "time", _time),
            (uuid.UUID, "uuid", uuid.UUID),
            (pathlib.PurePath, None, annotation),
        ):
            if issubclass(annotation, kind):
                return _text_shape(name, read)
        if issubclass(annotation, decimal.Decimal):
            return Shape({"type": "number"}, _decimal)
        base = next((base for base in (int, float, str) if issubclass(annotation, base)), None)
        if base is not None:
            inner, make = _PLAIN[base], cast("Callable[[Any], Any]", annotation)
            return Shape(inner.schema, lambda value, where: make(inner.load(value, where)))
        raise ConfigurationError(
            f"{what}: {annotation.__qualname__} has no JSON schema; use a type that JSON can carry"
        )

    def _annotated(self, arguments: tuple[Any, ...], what: str) -> Shape:
        base, *notes = arguments
        if any(type(note).__module__.partition(".")[0] == "pydantic" for note in notes):
            import typing

            return self._pydantic(typing.Annotated[arguments])
        inner = self.shape(base, what)
        schema = dict(inner.schema)
        for note in notes:
            if isinstance(note, str):
                schema["description"] = note
            elif isinstance(text := getattr(note, "documentation", None), str):  # typing_extensions.Doc
                schema["description"] = text
        checks = [check for note in notes for check in _constraints(note, schema)]
        if not checks:
            return Shape(schema, inner.load)

        def load(value: Any, where: str) -> Any:
            made = inner.load(value, where)
            for problem, holds in checks:
                if not holds(made):
                    raise Mismatch(where, f"must be {problem}, not {shown(value)}")
            return made

        return Shape(schema, load)

    def _union(self, arguments: tuple[Any, ...], what: str) -> Shape:
        shapes = [self.shape(argument, what) for argument in arguments]
        schema = {"anyOf": [shape.schema for shape in shapes]}

        def load(value: Any, where: str) -> Any:
            problems = []
            # The exact type first: True is no 1, and 1 stays whole where both int and float are allowed.
            for shape in sorted(shapes, key=lambda shape: not _is_exact(shape, value)):
                try:
                    return shape.load(value, where)
                except Mismatch as mismatch:  # noqa: PERF203 - whether a member fits is known by trying
                    problems.append(mismatch)
            # The member that got furthest knows best what is wrong.
            raise max(problems, key=lambda mismatch: len(mismatch.where))

        return Shape(schema, load)

    def _container(self, origin: Any, arguments: tuple[Any, ...], what: str) -> Shape | None:
        import collections.abc
        import inspect

        if not isinstance(origin, type):
            return None
        if issubclass(origin, collections.abc.Mapping):
            return self._mapping(arguments, what)
        if issubclass(origin, tuple) and arguments and arguments[-1] is not Ellipsis:
            return self._tuple([] if arguments == ((),) else list(arguments), what)
        if issubclass(origin, collections.abc.Set):
            make: Callable[[list[Any]], Any] = frozenset if origin is frozenset else set
            return self._items(arguments[0] if arguments else None, make, what)
        if issubclass(origin, collections.abc.Iterable):
            make = list if inspect.isabstract(origin) else origin
            return self._items(arguments[0] if arguments else None, make, what)
        return None

    def _items(self, item: Any, make: Callable[[list[Any]], Any], what: str) -> Shape:
        import typing

        inner = self.shape(typing.Any if item is None else item, what)

        def load(value: Any, where: str) -> Any:
            items = _expect(list, "a list", value, where)
            try:
                return make([inner.load(item, f"{where}[{n}]") for n, item in enumerate(items)])
            except TypeError as error:  # A set of what cannot be hashed.
                raise Mismatch(where, str(error)) from error

        return Shape({"type": "array", "items": inner.schema}, load)

    def _tuple(self, items: list[Any], what: str) -> Shape:
        shapes = [self.shape(item, what) for item in items]
        count = len(shapes)

        def load(value: Any, where: str) -> Any:
            given = _expect(list, "a list", value, where)
            if len(given) != count:
                raise Mismatch(where, f"must have {count} items, not {len(given)}")
            return tuple(
                shape.load(item, f"{where}[{n}]") for n, (shape, item) in enumerate(zip(shapes, given, strict=True))
            )

        schema = {
            "type": "array",
            "prefixItems": [shape.schema for shape in shapes],
            "minItems": count,
            "maxItems": count,
        }
        return Shape(schema, load)

    def _mapping(self, arguments: tuple[Any, ...], what: str) -> Shape:
        import typing

        key, item = arguments or (str, typing.Any)
        if key not in {str, typing.Any}:
            raise ConfigurationError(f"{what}: the keys of a JSON object are text; use dict[str, ...]")
        inner = self.shape(item, what)

        def load(value: Any, where: str) -> Any:
            given = _expect(dict, "an object", value, where)
            return {name: inner.load(item, f"{where}.{name}") for name, item in given.items()}

        return Shape({"type": "object", "additionalProperties": inner.schema or True}, load)

    def _named(self, annotation: Any, what: str, make: Callable[[Any, str], Shape], _value: Any = None) -> Shape:
        """Make the shape of a type that may contain itself, at first directly, then by reference."""
        if (named := self._open.get(annotation)) is not None:
            named.referred = True
            return Shape({"$ref": f"#/$defs/{named.name}"}, named.load)
        named = _Named(self._free_name(annotation))
        self._open[annotation] = named
        try:
            shape = make(annotation, what)
        finally:
            del self._open[annotation]
        named.shape = shape
        if not named.referred:
            return shape
        self.definitions[named.name] = shape.schema
        return Shape({"$ref": f"#/$defs/{named.name}"}, shape.load)

    def _free_name(self, annotation: Any) -> str:
        base = getattr(annotation, "__name__", None) or "Type"
        taken = {*self.definitions, *(named.name for named in self._open.values())}
        return next(name for n in range(1, 1000) if (name := base if n == 1 else f"{base}{n}") not in taken)

    def fields(
        self,
        hints: Mapping[str, Any],
        *,
        what: str,
        required: Callable[[str], bool],
        default: Callable[[str], Any],
        descriptions: Mapping[str, str],
    ) -> tuple[dict[str, Any], dict[str, Shape]]:
        """Return the schema of an object with these fields, and the fields' shapes."""
        shapes = {name: self.shape(hint, f"{what}.{name}") for name, hint in hints.items()}
        properties = {}
        for name, shape in shapes.items():
            schema = dict(shape.schema)
            if "description" not in schema and (text := descriptions.get(name)):
                schema["description"] = text
            if not required(name) and (given := default(name)) is not _MISSING and is_json(given):
                schema["default"] = given
            properties[name] = schema
        schema = {"type": "object", "properties": properties}
        if needed := [name for name in shapes if required(name)]:
            schema["required"] = needed
        return schema, shapes

    def _typed_dict(self, annotation: Any, what: str) -> Shape:
        import typing

        base = typing.get_origin(annotation) or annotation
        needed, hints = set(), {}
        for name, hint in _hints(base, what).items():
            # Under postponed annotations `__required_keys__` knows nothing of the qualifiers.
            hints[name], qualifiers = _unqualified(hint)
            if "NotRequired" not in qualifiers and ("Required" in qualifiers or name in base.__required_keys__):
                needed.add(name)
        document = _own_docstring(base)
        schema, shapes = self.fields(
            hints,
            what=base.__name__,
            required=lambda name: name in needed,
            default=lambda _: _MISSING,
            descriptions=document.parameters,
        )
        if document.summary:
            schema["description"] = document.summary
        return Shape(schema, lambda value, where: load_fields(shapes, needed, value, where))

    def _dataclass(self, annotation: Any, what: str) -> Shape:
        import dataclasses

        hints = _hints(annotation, what)
        fields = {field.name: field for field in dataclasses.fields(annotation) if field.init}
        missing = dataclasses.MISSING
        needed = {
            name for name, field in fields.items() if field.default is missing and field.default_factory is missing
        }
        document = _own_docstring(annotation)
        texts = {
            name: str(field.metadata["description"])
            for name, field in fields.items()
            if "description" in field.metadata
        }

        def default(name: str) -> Any:
            field = fields[name]
            if field.default is not missing:
                return field.default
            return field.default_factory() if field.default_factory is not missing else _MISSING

        schema, shapes = self.fields(
            {name: hints[name] for name in fields},
            what=annotation.__name__,
            required=needed.__contains__,
            default=default,
            descriptions={**document.parameters, **texts},
        )
        if document.summary:
            schema["description"] = document.summary
        return Shape(schema, _maker(annotation, shapes, needed))

    def _pydantic(self, annotation: Any) -> Shape:
        """Make the shape of what pydantic knows: its models, its own types, and types with its hook."""
        import json

        import pydantic

        adapter = pydantic.TypeAdapter(annotation)
        plain = adapter.json_schema()
        schema = {key: value for key, value in plain.items() if key != "$defs"}
        definitions = plain.get("$defs", {})
        try:
            schema = _inlined(schema, definitions)
        except _RecursiveError:
            for name, definition in definitions.items():
                if self.definitions.setdefault(name, definition) != definition:
                    message = f"two types of the name {name} refer to themselves; rename one of them"
                    raise ConfigurationError(message) from None

        def load(value: Any, where: str) -> Any:
            try:
                # From JSON, so that strict models take dates and enumerations as text.
                return adapter.validate_json(json.dumps(without_nulls(value, plain)))
            except pydantic.ValidationError as error:
                first = error.errors(include_url=False)[0]
                place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
                more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
                raise Mismatch(f"{where}{place}", f"{first['msg']}{more}") from error

        return Shape(schema, load)

    def _named_tuple(self, annotation: Any, what: str) -> Shape:
        hints = _hints(annotation, what)
        defaults = annotation._field_defaults
        needed = {name for name in annotation._fields if name not in defaults}
        import typing

        schema, shapes = self.fields(
            {name: hints.get(name, typing.Any) for name in annotation._fields},
            what=annotation.__name__,
            required=needed.__contains__,
            default=lambda name: defaults.get(name, _MISSING),
            descriptions=_own_docstring(annotation).parameters,
        )
        return Shape(schema, _maker(annotation, shapes, needed))


class _Named:
    """A type whose shape is being made, and how often it was met inside of itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.referred = False
        self.shape: Shape | None = None

    def load(self, value: Any, where: str) -> Any:
        assert self.shape is not None  # noqa: S101 - nothing is loaded before the whole schema is made
        return self.shape.load(value, where)


class _Missing:
    """No default."""


_MISSING = _Missing()


def load_fields(shapes: Mapping[str, Shape], needed: Any, value: Any, where: str) -> dict[str, Any]:
    """Load an object's fields; a field that nobody knows or that is missing is a mismatch."""
    given = _expect(dict, "an object", value, where)
    for name in given:
        if name not in shapes:
            raise Mismatch(where, f"has an unknown field {name!r}; there are {', '.join(shapes) or 'none'}")
    for name in shapes:
        if name in needed and name not in given:
            raise Mismatch(where, f"the field {name!r} is missing")
    loaded = {}
    for name, item in given.items():
        try:
            loaded[name] = shapes[name].load(item, f"{where}.{name}")
        except Mismatch:  # noqa: PERF203 - whether it fits is known by trying
            # Strict modes have every field filled in, null standing for one that is left out.
            if item is not None or name in needed:
                raise
    return loaded


def is_json(value: object) -> bool:
    """Whether JSON can hold the value as it is."""
    if value is None or isinstance(value, str | bool | int):
        return type(value) in {type(None), str, bool, int}
    if type(value) is float:
        return value == value and value not in {float("inf"), float("-inf")}  # noqa: PLR0124 - NaN is not itself
    if type(value) is list:
        return all(map(is_json, value))
    if type(value) is dict:
        return all(type(key) is str and is_json(item) for key, item in value.items())
    return False


def _maker(make: Callable[..., Any], shapes: Mapping[str, Shape], needed: Any) -> Load:
    def load(value: Any, where: str) -> Any:
        fields = load_fields(shapes, needed, value, where)
        try:
            return make(**fields)
        except (ValueError, TypeError) as error:  # The class checks its values itself.
            raise Mismatch(where, str(error)) from error

    return load


def _hints(annotation: Any, what: str) -> dict[str, Any]:
    import typing

    try:
        return typing.get_type_hints(annotation, include_extras=True)
    except (NameError, TypeError) as error:
        name = getattr(annotation, "__qualname__", repr(annotation))
        raise ConfigurationError(f"{what}: the annotations of {name} cannot be read: {error}") from error


def _own_docstring(annotation: Any) -> Docstring:
    """Read a class's own docstring, not the one that `dataclass` or `NamedTuple` made up or that a base has."""
    text = annotation.__dict__.get("__doc__")
    if not isinstance(text, str) or text.startswith(f"{annotation.__name__}("):
        return Docstring("", {})
    return Docstring.parse(text)


def _is_typed_dict(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, dict) and hasattr(annotation, "__required_keys__")


def _unqualified(hint: Any) -> tuple[Any, set[str]]:
    """Take `Required[...]`, `NotRequired[...]` and `ReadOnly[...]` off; say which there were."""
    import typing

    found = set()
    while (name := getattr(typing.get_origin(hint), "_name", None)) in {"Required", "NotRequired", "ReadOnly"}:
        found.add(name)
        (hint,) = typing.get_args(hint)
    return hint, found


def _expect(kind: type, name: str, value: Any, where: str) -> Any:
    if not isinstance(value, kind):
        raise Mismatch(where, f"must be {name}, not {shown(value)}")
    return value


def _one_of(values: list[Any], members: dict[str, Any]) -> Shape:
    """Return the shape of a choice of values; `members` maps what a value looks like to what it becomes."""
    schema: dict[str, Any] = {"enum": values}
    kinds = {_JSON_TYPES.get(type(value)) for value in values}
    if None in kinds:
        raise ConfigurationError(f"a choice of {values!r} cannot be sent as JSON; use text, numbers or booleans")
    if len(kinds) == 1:
        schema = {"type": kinds.pop(), **schema}

    def load(value: Any, where: str) -> Any:
        if (member := members.get(repr(value), _MISSING)) is _MISSING:
            raise Mismatch(where, f"must be one of {', '.join(map(repr, values))}, not {shown(value)}")
        return member

    return Shape(schema, load)


def _is_exact(shape: Shape, value: Any) -> bool:
    return shape.schema.get("type") == _JSON_TYPES.get(type(value))


_JSON_TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
    list: "array",
    dict: "object",
}


def _text(value: Any, where: str) -> str:
    return str(_expect(str, "text", value, where))


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        # 3.0 is a whole number in JSON, and models write it so.
        if isinstance(value, float) and value.is_integer():
            return int(value)
        raise Mismatch(where, f"must be a whole number, not {shown(value)}")
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Mismatch(where, f"must be a number, not {shown(value)}")
    try:
        return float(value)
    except OverflowError as error:
        raise Mismatch(where, "is too large a number") from error


def _flag(value: Any, where: str) -> bool:
    return bool(_expect(bool, "true or false", value, where))


def _null(value: Any, where: str) -> None:
    _expect(type(None), "null", value, where)


def _decimal(value: Any, where: str) -> Any:
    import decimal

    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Mismatch(where, f"must be a number, not {shown(value)}")
    try:
        return decimal.Decimal(str(value))
    except decimal.InvalidOperation as error:
        raise Mismatch(where, f"must be a number, not {shown(value)}") from error


def _datetime(text: str) -> Any:
    import datetime as dt

    # Python 3.10 does not know the Z of RFC 3339.
    return dt.datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in {"Z", "z"} else text)


def _time(text: str) -> Any:
    import datetime as dt

    return dt.time.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in {"Z", "z"} else text)


def _text_shape(name: str | None, read: Callable[[str], Any]) -> Shape:
    def load(value: Any, where: str) -> Any:
        text = _text(value, where)
        try:
            return read(text)
        except ValueError as error:
            raise Mismatch(where, f"must be a {name or 'path'}, not {shown(value)}") from error

    return Shape({"type": "string"} if name is None else {"type": "string", "format": name}, load)


_PLAIN: dict[Any, Shape] = {
    str: Shape({"type": "string"}, _text),
    int: Shape({"type": "integer"}, _whole),
    float: Shape({"type": "number"}, _number),
    bool: Shape({"type": "boolean"}, _flag),
    None: Shape({"type": "null"}, _null),
    type(None): Shape({"type": "null"}, _null),
}


def _constraints(note: Any, schema: dict[str, Any]) -> list[tuple[str, Callable[[Any], bool]]]:
    """Put the bounds of `annotated_types` (by their field names, so that it need not be installed) into the schema."""
    import operator
    from functools import partial

    listed = schema.get("type") == "array"
    checks: list[tuple[str, Callable[[Any], bool]]] = []
    for name, key, words, holds in (
        ("ge", "minimum", "at least {}", operator.le),
        ("gt", "exclusiveMinimum", "above {}", operator.lt),
        ("le", "maximum", "at most {}", operator.ge),
        ("lt", "exclusiveMaximum", "below {}", operator.gt),
        ("multiple_of", "multipleOf", "a multiple of {}", _divides),
        ("min_length", "minItems" if listed else "minLength", "at least {} long", _is_at_least_as_long),
        ("max_length", "maxItems" if listed else "maxLength", "at most {} long", _is_at_most_as_long),
    ):
        bound = getattr(note, name, None)
        if bound is not None and not isinstance(note, str | type) and not callable(bound):
            schema[key] = bound
            checks.append((words.format(bound), partial(holds, bound)))
    return checks


def _divides(bound: Any, value: Any) -> bool:
    return bool(value % bound == 0)


def _is_at_least_as_long(bound: int, value: Any) -> bool:
    return len(value) >= bound


def _is_at_most_as_long(bound: int, value: Any) -> bool:
    return len(value) <= bound


def _inlined(schema: Any, definitions: Mapping[str, Any], within: tuple[str, ...] = ()) -> Any:
    """Put definitions where they are referred to, which every provider understands."""
    if isinstance(schema, list):
        return [_inlined(item, definitions, within) for item in schema]
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if name in definitions:
        if name in within:
            raise _RecursiveError
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return {**_inlined(definitions[name], definitions, (*within, name)), **beside}
    return {key: _inlined(value, definitions, within) for key, value in schema.items()}


class _RecursiveError(Exception):
    """A definition contains itself. Never leaves this module."""
