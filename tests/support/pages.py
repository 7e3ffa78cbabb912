"""Reads Markdown pages: runs their examples, and compares what a request holds with what their tables say of it."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys

CODE = re.compile(r"`([^`]+)`")
ANYTHING = "…"

_FENCE = re.compile(
    r"^(?P<before>[^\n]*)\n(?:[ \t]*\n)*^(?P<indent>[ \t]*)```(?:python|py)\b[^\n]*\n(?P<code>.*?)^(?P=indent)```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_SKIP = re.compile(r"<!--\s*not run:\s*(?P<reason>\S.*?)\s*-->")


def examples(text):
    """The examples of a page: the line they begin at, their code, and why they are not run, if so."""
    for match in _FENCE.finditer("\n" + text):
        line = text.count("\n", 0, match.start("code") - 1) + 1
        skip = _SKIP.search(match["before"])
        code = inspect.cleandoc("\n" + match["code"]) if match["indent"] else match["code"]
        yield line, code, skip and skip["reason"]


async def run_example(path, line, code, names):
    """Run one example; its line numbers are those of the page."""
    tree = ast.parse("\n" * (line - 1) + code, str(path))
    compiled = compile(tree, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    outcome = eval(compiled, names)
    if inspect.iscoroutine(outcome):
        await outcome


def checking_print(text, told):
    """A `print` that compares what it prints with the comment in its line, where that is what comes: `# True 0`.

    `told` gets the number of each line that was compared.
    """
    lines = text.splitlines()

    def checked(*values, sep=" ", **_):
        number = sys._getframe(1).f_lineno
        found = re.search(r"\)  # ((?:(?:True|False|None|-?[\d.]+)(?: |$|(?=:)))+)(?::.*)?$", lines[number - 1])
        if found:
            assert sep.join(map(str, values)) == found[1].strip(), f"line {number}: {lines[number - 1].strip()}"
            told.append(number)

    return checked


def keys(path, kind):
    """The names and annotations of a class of a source file that is there for type checkers only."""
    classes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef))
    fields = next(node.body for node in classes if node.name == kind)
    return {node.target.id: ast.unparse(node.annotation) for node in fields if isinstance(node, ast.AnnAssign)}


def headings(text):
    """The headings of a page, without what looks like one in an example."""
    plain = re.sub(r"^[ \t]*```.*?^[ \t]*```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ +(.+?) *$", plain, re.MULTILINE)


def anchor(heading):
    """The name under which a heading is linked to."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def section(text, heading):
    """What stands under a heading, up to the next one."""
    lines, inside, fenced = [], False, False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if line.startswith("#") and not fenced:
            inside = line.lstrip("#").strip() == heading
        elif inside:
            lines.append(line)
    assert lines, f"there is no section {heading!r}"
    return "\n".join(lines)


def tables(text):
    """The tables of a text, for each a list with a dict for each row by the names of the columns."""
    found = []
    before = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        before = line
    for head, _, *rows in found:
        assert all(len(row) == len(head) for row in rows), f"a row under {head} has too few or too many cells"
    return [[dict(zip(head, row, strict=True)) for row in rows] for head, _, *rows in found]


def table(text, heading):
    """The first table of a section."""
    found = tables(section(text, heading))
    assert found, f"there is no table under {heading!r}"
    return found[0]


def code(cell):
    """The pieces of code in a cell."""
    return CODE.findall(cell)


def patch(base, now):
    """What `now` has that `base` has not, as a JSON merge patch (RFC 7396)."""
    if not (isinstance(base, dict) and isinstance(now, dict)):
        return now
    changed = {key: patch(base.get(key), value) for key, value in now.items() if base.get(key, ANYTHING) != value}
    return {**changed, **{key: None for key in base if key not in now}}


def fits(said, found):
    """Whether JSON is as a page says, where an ellipsis stands for anything."""
    if said == ANYTHING:
        return True
    if isinstance(said, dict) and isinstance(found, dict):
        return said.keys() == found.keys() and all(fits(value, found[key]) for key, value in said.items())
    if isinstance(said, list) and isinstance(found, list):
        return len(said) == len(found) and all(map(fits, said, found))
    return type(said) is type(found) and said == found


def shown(value):
    """JSON as pages write it."""
    return json.dumps(value, ensure_ascii=False)
