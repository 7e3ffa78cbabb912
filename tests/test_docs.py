"""Every Python example of README.md and docs/*.md runs, against simulators in place of the providers.

The examples of a page run in order and share their names, as a reader would type them; `await` works at the top level.
An example that must not run has a comment before it that says why:

    <!-- not run: needs a GPU -->
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import pathlib
import re

import pytest

from edgequake_llm import Simulator

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]

FENCE = re.compile(
    r"^(?P<before>[^\n]*)\n(?:[ \t]*\n)*^(?P<indent>[ \t]*)```(?:python|py)\b[^\n]*\n(?P<code>.*?)^(?P=indent)```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
SKIP = re.compile(r"<!--\s*not run:\s*(?P<reason>\S.*?)\s*-->")


def examples(text):
    """The examples of a page: the line they begin at, their code, and why they are not run, if so."""
    for match in FENCE.finditer("\n" + text):
        line = text.count("\n", 0, match.start("code") - 1) + 1
        skip = SKIP.search(match["before"])
        code = inspect.cleandoc("\n" + match["code"]) if match["indent"] else match["code"]
        yield line, code, skip and skip["reason"]


@pytest.fixture
def world(monkeypatch, tmp_path):
    """Whatever an example asks is answered by a simulator, at the address where it asks; the files it reads are there."""
    with Simulator(tokens=12, embedding_dims=8) as sim:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16))
        (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7\n")
        for name in ("OPENAI", "ANTHROPIC", "GEMINI"):
            monkeypatch.setenv(f"{name}_API_KEY", "simulated")
            monkeypatch.setenv(f"{name}_BASE_URL", sim.base_url(name.lower()))
        monkeypatch.setenv("OLLAMA_HOST", sim.base_url("ollama"))
        yield sim


async def run(path, line, code, names):
    """Run one example; its line numbers are those of the page."""
    tree = ast.parse("\n" * (line - 1) + code, str(path))
    compiled = compile(tree, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    outcome = eval(compiled, names)
    if inspect.iscoroutine(outcome):
        await outcome


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_run(path, world):
    found = list(examples(path.read_text()))
    if path.name == "README.md":
        assert found

    async def page():
        names = {"__name__": "__main__", "__file__": str(path)}
        for line, code, skip in found:
            if skip is None:
                await run(path.relative_to(ROOT), line, code, names)

    asyncio.run(page())
    asks = any("Provider(" in code for _, code, skip in found if skip is None)
    assert world.stats().requests or not asks


def test_what_is_no_example_is_not_run_and_what_is_one_is():
    page = "Text\n\n```python\na = 1\n```\n\n<!-- not run: it would cost money -->\n```python\nraise SystemExit\n```\n```sh\nrm x\n```\n"
    page += "- a list\n\n  ```python\n  if a:\n      b = 2\n  ```\n"
    assert list(examples(page)) == [
        (4, "a = 1\n", None),
        (9, "raise SystemExit\n", "it would cost money"),
        (17, "if a:\n    b = 2", None),
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target
