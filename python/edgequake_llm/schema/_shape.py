"""`Shape`: what a type looks like in JSON, and how a JSON value becomes one of its values."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Load: TypeAlias = Callable[[Any, str], Any]
    """Makes a value of a JSON value that stands at this place; raises `Mismatch`."""


class Mismatch(ValueError):  # noqa: N818 - it is caught by whoever knows what was expected
    """A JSON value does not fit its type. `where` is its place, as `$.items[2].name`."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


class Shape:
    """A type's JSON schema, and the function that makes values of the type."""

    __slots__ = ("load", "schema")

    def __init__(self, schema: dict[str, Any], load: Load) -> None:
        self.schema = schema
        self.load = load


def shown(value: object) -> str:
    """Show a JSON value in a message, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."  # noqa: PLR2004 - a line's worth
