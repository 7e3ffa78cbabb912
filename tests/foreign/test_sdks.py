"""The providers' own clients, asking the simulator: it is read by whom the providers are read by.

On request: `tests/foreign/run sdks`. The calls are in `sdk_calls`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from serving import environment

from edgequake_llm import Simulator

PYTHON = environment("sdks") / "python"
CALLS = Path(__file__).with_name("sdk_calls.py")
TEXT = "alpha beta gamma"
PLACE = {"name": "simulated", "rooms": 1}
CALL = ["book", {"rooms": 1}]
ANSWERS = {"whole": TEXT, "streamed": TEXT, "tokens": 3}


@pytest.fixture
def ask():
    """Make one of the calls and return what its client made of the answers."""
    with Simulator(text=TEXT) as sim:

        def ask(name):
            command = [PYTHON, CALLS, sim.url, name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        yield ask


def some(found, **expected):
    """Whether these are among what was found."""
    return {name: found.get(name) for name in expected} == expected


def test_openais_chat_completions(ask):
    found = ask("openai_chat")
    assert some(found, **ANSWERS, finish="stop", parsed=PLACE, dims=[8, 8])
    assert {"chunk", "content.delta", "content.done"} <= set(found["kinds"])
    assert ask("openai_chat_tools") == {"finish": "tool_calls", "calls": [CALL]}


def test_openais_responses(ask):
    found = ask("openai_responses")
    assert some(found, streamed=TEXT, pieces=TEXT, encrypted=True, tokens=[14, 11], parsed=PLACE, after=True)
    assert "real model" in found["thinking"]
    assert found["cut"] == ["incomplete", "max_output_tokens"]
    assert ask("openai_responses_tools") == {"calls": [CALL], "after": "completed"}


def test_openais_errors(ask):
    names = {
        400: "BadRequestError",
        401: "AuthenticationError",
        404: "NotFoundError",
        429: "RateLimitError",
        500: "InternalServerError",
    }
    found = ask("openai_errors")
    assert {key: [name, told] for key, (name, _, told) in found.items()} == {
        f"{api} {status}": [name, True] for api in ("chat", "responses") for status, name in names.items()
    }


def test_anthropics_messages(ask):
    found = ask("anthropic_messages")
    assert some(found, whole=TEXT, streamed=TEXT, pieces=TEXT, signed=True, finish="end_turn", counted=True)
    assert "real model" in found["thinking"]
    found = ask("anthropic_tools")
    assert some(found, calls=[CALL], finish="tool_use")
    assert found["refused"][1] == 529


def test_geminis_generated_content(ask):
    found = ask("gemini_generate")
    assert some(found, **ANSWERS, finish="STOP", parsed=PLACE, calls=[CALL], counted=True, vectors=2)
    assert "real model" in found["thinking"]


def test_ollamas_chat(ask):
    found = ask("ollama_chat")
    assert some(found, whole=TEXT, streamed=TEXT, finish="stop", parsed=PLACE, vectors=2, refused=404)
    assert "real model" in found["thinking"]
    assert found["models"] == ["llama3.2:latest"]
