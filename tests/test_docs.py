"""The Python snippets of the pages in docs/ run, against the simulator."""

from __future__ import annotations

import ast
import inspect
import pathlib
import re

import pytest

PAGES = sorted((pathlib.Path(__file__).parent.parent / "docs").glob("*.md"))


def snippets(page: pathlib.Path):
    for n, found in enumerate(re.finditer(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)):
        yield pytest.param(page, found[1], id=f"{page.stem}-{n}")


@pytest.mark.parametrize(("page", "code"), [snippet for page in PAGES for snippet in snippets(page)])
async def test_snippets_run(page, code, sim, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16))
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7\n")
    for name, path in (("OPENAI", "/v1"), ("ANTHROPIC", ""), ("GEMINI", "/v1beta"), ("OLLAMA", "")):
        monkeypatch.setenv(f"{name}_API_KEY", "simulated")
        monkeypatch.setenv(f"{name}_BASE_URL", sim.url + path)
    compiled = compile(code, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    names = {"__name__": page.stem, "print": lambda *_, **__: None}
    outcome = eval(compiled, names)  # noqa: S307 - our own pages
    if inspect.isawaitable(outcome):
        await outcome
    assert sim.stats().requests or "Provider" not in code
