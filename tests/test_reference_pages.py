"""The tables of docs/errors.md, streams.md and simulator.md list what there is, all of it and nothing else."""

from __future__ import annotations

import inspect
import pathlib
import shlex

import pytest

import edgequake_llm
from edgequake_llm import LLMError, RetryPolicy, Timeouts
from edgequake_llm.cli import main
from support.pages import code, section, table

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


def test_the_command_of_the_page_is_one(monkeypatch):
    text = section((DOCS / "simulator.md").read_text(), "For other programs")
    command = shlex.split(text.partition("```sh\n")[2].partition("\n```")[0])
    assert command[:2] == ["edgequake-llm", "simulate"]
    seen = []
    monkeypatch.setattr("edgequake_llm.cli._simulate", lambda options: seen.append(options) or 0)
    assert main(command[1:]) == 0
    assert (seen[0].port, seen[0].ttft_ms, seen[0].gap_ms, seen[0].requests_per_minute) == (8080, 200, 20, 500)
