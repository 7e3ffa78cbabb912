"""Fixtures that every test file may use: a recording simulator, the four providers, an environment without secrets."""

from __future__ import annotations

import itertools

import pytest

from edgequake_llm import HTTPConfig, Simulator
from support.converse import ConverseServer

PROVIDERS = ("openai", "anthropic", "gemini", "ollama")

# Whatever would change where a call goes or which key it carries.
_VARIABLES = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    *("GEMINI_API_KEY", "GOOGLE_API_KEY", "GEMINI_BASE_URL", "OLLAMA_API_KEY", "OLLAMA_BASE_URL", "OLLAMA_HOST"),
    *("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"),
    *("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
    *("EDGEQUAKE_LLM_PROVIDER", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)

_POOLS = itertools.count()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No key, base URL or proxy of the machine's own reaches a test."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def sim():
    """A simulator that answers at once and keeps what it received (`sim.requests()`, `sim.stats()`)."""
    with Simulator(record=True) as simulator:
        yield simulator


@pytest.fixture
def own_pool():
    """Make an `HTTPConfig` that no other test has: a pool of connections of the test's own."""
    return lambda protocol="auto": HTTPConfig(protocol=protocol, keep_alive=1000 + next(_POOLS))


@pytest.fixture(params=PROVIDERS)
def provider_name(request):
    """Each of the four providers in turn."""
    return request.param


@pytest.fixture
def llm(sim, provider_name):
    """A provider of each type in turn that talks to `sim`."""
    return sim.provider(provider_name)


@pytest.fixture
def converse():
    """A server that speaks Bedrock's format, which the simulator does not."""
    with ConverseServer() as server:
        yield server


@pytest.fixture
def world(monkeypatch, tmp_path, converse):
    """Whatever an example asks is answered by a simulator, at the address where it asks; the files it reads are there."""
    with Simulator(tokens=12, embedding_dims=8) as sim:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16))
        (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7\n")
        for name in ("OPENAI", "ANTHROPIC", "GEMINI"):
            monkeypatch.setenv(f"{name}_API_KEY", "simulated")
            monkeypatch.setenv(f"{name}_BASE_URL", sim.base_url(name.lower()))
        monkeypatch.setenv("OLLAMA_HOST", sim.base_url("ollama"))
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "simulated")
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", converse.url)
        monkeypatch.setenv("COHERE_API_KEY", "simulated")
        monkeypatch.setenv("CO_API_URL", sim.url)
        yield sim
