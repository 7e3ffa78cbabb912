"""`Value`: the base of frozen value objects.

It does what a frozen dataclass does for them. `dataclasses` itself takes longer to import than all the rest of this
package, because it brings `inspect`, `ast` and `tokenize` along.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_: object) -> object:
        """Mean nothing at run time."""
        return lambda cls: cls


class _Signature:
    """The fields with their types and defaults, for `help()` and whoever else asks for a signature."""

    def __get__(self, instance: Value | None, owner: type[Value]) -> object:
        from inspect import Parameter, Signature

        kinds: dict[str, str] = {}
        for cls in reversed(owner.__mro__):
            kinds |= getattr(cls, "__annotations__", {})
        fields = [
            Parameter(
                name,
                Parameter.POSITIONAL_OR_KEYWORD,
                default=getattr(owner, name, Parameter.empty),
                annotation=kinds[name],
            )
            for name in owner.__match_args__
        ]
        return Signature(fields)


@dataclass_transform(frozen_default=True)
class Value:
    """A frozen object whose class lists its fields: compared by value, hashable if its fields are."""

    __hidden__: ClassVar[frozenset[str]] = frozenset()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    __signature__: ClassVar[_Signature] = _Signature()

    def __init_subclass__(cls) -> None:
        """Read the fields off the class: those of its base, then its own annotations, in order."""
        own = (name for name in cls.__annotations__ if not name.startswith("__"))
        names = tuple(dict.fromkeys((*cls.__match_args__, *own)))
        cls.__match_args__ = names  # type: ignore[misc]  # mypy keeps this name to itself in dataclass-likes

    def __init__(self, *arguments: Any, **fields: Any) -> None:
        names = self.__match_args__
        if len(arguments) > len(names):
            raise TypeError(f"{type(self).__name__} takes at most {len(names)} arguments, not {len(arguments)}")
        for name, value in zip(names, arguments, strict=False):
            if name in fields:
                raise TypeError(f"{type(self).__name__} was given {name} twice")
            fields[name] = value
        unknown = fields.keys() - set(names)
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {min(unknown)!r}; it has {', '.join(names)}")
        missing = [name for name in names if name not in fields and not hasattr(type(self), name)]
        if missing:
            raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}")
        self.__dict__.update(fields)

    def replace(self, **changes: Any) -> Self:
        """Return the same value with some fields changed."""
        return type(self)(**{**self._asdict(), **changes})

    def _asdict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__match_args__}

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen; make another with replace({name}=...)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._asdict() == other._asdict()

    def __hash__(self) -> int:
        return hash((type(self), *self._asdict().values()))

    def __repr__(self) -> str:
        fields = (f"{name}={value!r}" for name, value in self._asdict().items() if name not in self.__hidden__)
        return f"{type(self).__name__}({', '.join(fields)})"
