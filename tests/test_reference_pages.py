"""The tables of docs/errors.md, streams.md, simulator.md and content-parts.md list what there is, and nothing else."""

from __future__ import annotations

import inspect
import pathlib
import re
import shlex

import pytest

import edgequake_llm
from edgequake_llm import (
    ChatMessage,
    ContentPart,
    InvalidRequestError,
    LLMError,
    OpenAIProvider,
    RetryPolicy,
    Timeouts,
    UnsupportedOption,
)
from edgequake_llm.cli import main
from support.pages import code, table

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"


def public(base):
    found = (getattr(edgequake_llm, name) for name in edgequake_llm.__all__)
    return {thing.__name__: thing for thing in found if isinstance(thing, type) and issubclass(thing, base)}


def test_the_tree_of_errors():
    rows = table((DOCS / "errors.md").read_text(), "The tree")
    classes = public(LLMError)
    assert code(rows[0]["error"]) == ["LLMError"]
    assert {code(row["error"])[0] for row in rows} == set(classes)
    for row in rows:
        cls = classes[code(row["error"])[0]]
        assert [base.__name__ for base in cls.__bases__ if issubclass(base, LLMError)] == code(row["under"])
        for name in code(row["also a"]):
            assert issubclass(cls, getattr(__import__("builtins"), name))
        if not row["also a"]:
            assert not issubclass(cls, (ValueError, RuntimeError, OSError))


@pytest.mark.parametrize(
    ("heading", "cls", "column"), [("Time limits", Timeouts, "limit"), ("Retries", RetryPolicy, "field")]
)
def test_limits_and_retries(heading, cls, column):
    rows = table((DOCS / "errors.md").read_text(), heading)
    stated = {code(row[column])[0]: row["default"] for row in rows}
    defaults = {name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()}
    assert stated == {name: "none" if value is None else f"{value:g}" for name, value in defaults.items()}


def test_the_events_of_a_stream():
    rows = table((DOCS / "streams.md").read_text(), "Events")
    events = {name: thing for name, thing in public(object).items() if name.endswith(("Delta", "Event", "Start"))}
    del events["ToolResultEvent"]  # of runs
    assert {code(row["event"])[0]: tuple(code(row["holds"])) for row in rows} == {
        name: thing.__match_args__ for name, thing in events.items()
    }


def test_the_faults_of_the_simulator(sim):
    stated = [code(row["fault"])[0] for row in table((DOCS / "simulator.md").read_text(), "The simulator")]
    for name in stated:
        sim.push(fault=name)
    with pytest.raises(ValueError, match="there are") as caught:
        sim.push(fault="other")
    listed = str(caught.value).partition("there are ")[2].replace(" and ", ", ").split(", ")
    assert stated == listed


# ---- commands

PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("**/*.md"))]


def commands(text):
    """Every call of our command in the shell examples of a page."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    for line in lines:
        for part in re.split(r"\||&&|;", line):
            words = shlex.split(part.partition("<")[0])
            if words and words[0].endswith("edgequake-llm"):
                yield words[1:]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_of_a_page_is_understood(path, monkeypatch):
    for words in commands(path.read_text()):
        seen = []
        monkeypatch.setattr(f"edgequake_llm.cli._{words[0]}", lambda options, seen=seen: seen.append(options) or 0)
        assert main(words) == 0, words
        assert seen


def test_the_page_of_the_command_line_has_every_command_and_option(monkeypatch, capsys):
    page = (DOCS / "command-line.md").read_text()
    shown = [words[0] for words in commands(page)]
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = re.findall(r"^    (\w+)  ", capsys.readouterr().out, re.MULTILINE)
    assert list(dict.fromkeys(shown)) == listed


# ---- files

MB = 1 << 20
FILES = {
    "pictures": (
        ContentPart.image,
        {
            "PNG": "image/png",
            "JPEG": "image/jpeg",
            "WebP": "image/webp",
            "GIF": "image/gif",
            "HEIC": "image/heic",
            "HEIF": "image/heif",
        },
    ),
    "sounds": (ContentPart.audio, {"WAV": "audio/wav", "MP3": "audio/mpeg", "OGG": "audio/ogg"}),
    "documents": (ContentPart.document, {"PDF": "application/pdf", "text": "text/plain", "zip": "application/zip"}),
}
# What stands for types that the table does not list one by one.
ALL = {"all common": {"WAV", "MP3", "OGG"}, "PDF and more": {"PDF", "text", "zip"}, "files": {"PDF", "text", "zip"}}


@pytest.mark.parametrize("provider", ["OpenAI (chat completions)", "Anthropic", "Gemini", "Ollama"])
@pytest.mark.parametrize("kind", FILES)
def test_files_are_taken_and_refused_as_the_table_says(kind, provider, sim):
    row = next(
        row for row in table((DOCS / "content-parts.md").read_text(), "Pictures, documents, sounds") if row[""] == kind
    )
    says = row[provider]
    part, types = FILES[kind]
    # Its limits are those of OpenAI itself, and hold for no other address.
    llm = OpenAIProvider("k") if provider.startswith("OpenAI") else sim.provider(provider.lower())

    def sent(source, **settings):
        return llm._core.encode([ChatMessage.user(["See:", part(source, **settings)])], None, {})

    if says == "–":
        for media_type in types.values():
            with pytest.raises(UnsupportedOption):
                sent(b"x", media_type=media_type)
        return
    stated = says.partition(";")[0]
    taken = next((names for words, names in ALL.items() if stated.startswith(words)), None)
    for name, media_type in types.items():
        if name in taken if taken else name in stated:
            assert sent(b"x", media_type=media_type)
        else:
            with pytest.raises(InvalidRequestError, match=media_type):
                sent(b"x", media_type=media_type)
    limit = re.search(r"up to (\d+) MB", stated)
    if limit and int(limit[1]) <= 10:  # larger ones take seconds
        first = next(iter(types.values()))
        assert sent(bytes(int(limit[1]) * MB - 2), media_type=first)
        with pytest.raises(InvalidRequestError, match="larger than"):
            sent(bytes(int(limit[1]) * MB + 3), media_type=first)
    url = "https://example.com/file.pdf"
    if "URL" in says or "URI" in says:
        assert sent(url)
    elif kind != "sounds" or provider != "Gemini":
        with pytest.raises(InvalidRequestError):
            sent(url)
