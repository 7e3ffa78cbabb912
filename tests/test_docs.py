"""Every Python example of README.md and docs/*.md runs, against simulators in place of the providers.

The examples of a page run in order and share their names, as a reader would type them; `await` works at the top level.
An example that must not run has a comment before it that says why:

    <!-- not run: needs a GPU -->
"""

from __future__ import annotations

import asyncio
import pathlib
import re

import pytest

from support.pages import anchor, checking_print, examples, headings, run_example

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_run(path, world, converse):
    found = list(examples(path.read_text()))
    if path == ROOT / "README.md":
        assert found

    async def page():
        names = {"__name__": "__main__", "__file__": str(path), "print": checking_print(path.read_text(), [])}
        for line, code, skip in found:
            if skip is None:
                await run_example(path.relative_to(ROOT), line, code, names)

    asyncio.run(page())
    asks = any("Provider(" in code for _, code, skip in found if skip is None)
    assert world.stats().requests or converse.stats().requests or not asks


def test_what_examples_say_that_they_print_is_compared():
    page = "# Page\n\n```python\nprint(True, 1.5)  # True 1.5\nprint(3)  # 3: so many\nprint(4)  # some number\nprint(5)  # 6\n```\n"
    [(line, code, _)] = examples(page)
    told = []
    with pytest.raises(AssertionError, match="line 7"):
        asyncio.run(run_example("page.md", line, code, {"print": checking_print(page, told)}))
    assert told == [4, 5]


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
    for target, _, place in re.findall(r"\]\(([^)#\s]*)(#([^)]*))?\)", path.read_text()):
        if "://" not in target:
            page = path.parent / target if target else path
            assert page.exists(), target
            assert not place or place in map(anchor, headings(page.read_text())), f"{target}#{place}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text()
    assert "docs/README.md" in (ROOT / "README.md").read_text()
    for path in PAGES[1:]:
        name = str(path.relative_to(ROOT / "docs"))
        assert name == "README.md" or f"]({name})" in index, name
