"""What a docstring says about a function and its parameters: Google, NumPy and Sphinx style."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sys
    from collections.abc import Iterator

    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self

_PARAMETERS = frozenset({"args", "arguments", "parameters", "params", "attributes", "fields"})
_OTHERS = frozenset(
    {
        *(
            "returns",
            "return",
            "yields",
            "yield",
            "raises",
            "raise",
            "exceptions",
            "examples",
            "example",
            "notes",
            "note",
        ),
        *("see also", "references", "warnings", "warning", "todo", "keyword args", "other parameters"),
    }
)


class Docstring:
    """A docstring taken apart: `summary` is all text before the sections, `parameters` maps names to descriptions."""

    __slots__ = ("parameters", "summary")

    def __init__(self, summary: str, parameters: dict[str, str]) -> None:
        self.summary = summary
        self.parameters = parameters

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Take a docstring apart. What has no known form is summary."""
        import inspect

        summary: list[str] = []
        parameters: dict[str, list[str]] = {}
        for title, numpy, lines in _sections(inspect.cleandoc(text or "").splitlines()):
            if title in _PARAMETERS:
                rest = _read_entries(lines, parameters, numpy=numpy)
            elif title in _OTHERS:
                continue
            else:
                rest = _read_fields(lines, parameters)
            summary.extend(rest)
        joined = {name: " ".join(filter(None, parts)) for name, parts in parameters.items()}
        return cls("\n".join(summary).strip(), {name: text for name, text in joined.items() if text})


def _sections(lines: list[str]) -> Iterator[tuple[str, bool, list[str]]]:
    """Split at the titles of sections: title, whether it is underlined as NumPy has it, and the lines below."""
    title, numpy, body = "", False, list[str]()
    skip = False
    for line, below in zip(lines, [*lines[1:], ""], strict=False):
        if skip:
            skip = False
            continue
        underlined = bool(below.strip()) and not below.strip().strip("-") and not line.startswith((" ", "\t"))
        name = line.rstrip().removesuffix(":").lower()
        if name in _PARAMETERS | _OTHERS and (underlined or line.rstrip().endswith(":")):
            yield title, numpy, body
            title, numpy, body = name, underlined, []
            skip = underlined
        else:
            body.append(line)
    yield title, numpy, body


def _read_entries(lines: list[str], parameters: dict[str, list[str]], *, numpy: bool) -> list[str]:
    """Read the entries of a section of parameters; return the lines at the margin behind it, which are none."""
    import re

    # `name (type): text`, or `name : type` with the text on the lines below.
    pattern = r"\s*\*{0,2}(\w+)\s*(?::.*)?$" if numpy else r"\s*\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:\s*(.*)"
    margin = next((_indent(line) for line in lines if line.strip()), 0)
    name = None
    for at, line in enumerate(lines):
        if not line.strip():
            continue
        if _indent(line) < margin:
            return lines[at:]
        entry = re.match(pattern, line) if _indent(line) == margin else None
        if entry is not None:
            name = entry[1]
            parameters[name] = [] if numpy else [entry[2]]
        elif name is not None:
            parameters[name].append(line.strip())
    return []


def _read_fields(lines: list[str], parameters: dict[str, list[str]]) -> list[str]:
    """Read Sphinx's `:param type name: text`; return the lines that belong to no field."""
    import re

    rest = []
    field: list[str] | None = None
    for line in lines:
        if found := re.match(r"\s*:(?:param|parameter|arg|argument)\s+(?:[^:]*?\s)?\*{0,2}(\w+)\s*:\s*(.*)", line):
            field = parameters[found[1]] = [found[2]]
        elif re.match(r"\s*:\w[^:]*:(?:\s|$)", line):
            field = []  # Another field, whose lines nobody wants.
        elif field is None or not line.strip():
            field = None
            rest.append(line)
        else:
            field.append(line.strip())
    return rest


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
