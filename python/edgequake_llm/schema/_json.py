"""Python values as JSON text: what `shape_of` can load, `to_json` can write."""

from __future__ import annotations

from edgequake_llm._exceptions import InvalidRequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def to_json(value: object) -> str:
    """Write a value as JSON: dataclasses, pydantic models, enumerations, dates, sets and the like included.

    Raises `InvalidRequestError` for NaN, and for what has no form in JSON.
    """
    import json

    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"a {type(value).__name__} cannot be sent as JSON: {error}") from error


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Return something nearer to JSON than the value."""
    import dataclasses
    import datetime as dt
    import decimal
    import enum
    import pathlib
    import uuid
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, uuid.UUID | pathlib.PurePath | decimal.Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, AbstractSet):
        return list(value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")
