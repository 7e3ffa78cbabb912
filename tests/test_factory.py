"""`ProviderFactory`, and what providers take from the environment variables that people already have set."""

from __future__ import annotations

import os

import pytest

from edgequake_llm import (
    AnthropicProvider,
    ConfigurationError,
    GeminiProvider,
    LLMError,
    OllamaProvider,
    OpenAIProvider,
    ProviderFactory,
    ProviderType,
    Simulator,
)

VARIABLES = [
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_API_BASE",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GEMINI_BASE_URL",
    "GOOGLE_GEMINI_BASE_URL",
    "OLLAMA_HOST",
    "OLLAMA_BASE_URL",
    "OLLAMA_API_KEY",
    "AWS_BEARER_TOKEN_BEDROCK",
    "EDGEQUAKE_LLM_PROVIDER",
]


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """Nothing set up."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def key_sent(provider, sim):
    """The key of the last request."""
    provider.sync.complete("hi")
    headers = sim.requests()[-1]["headers"]
    found = [headers.get(name) for name in ("authorization", "x-api-key", "x-goog-api-key")]
    (key,) = [value.removeprefix("Bearer ") for value in found if value]
    return key


@pytest.mark.parametrize(
    ("cls", "variables"),
    [
        (OpenAIProvider, ["OPENAI_API_KEY"]),
        (AnthropicProvider, ["ANTHROPIC_API_KEY"]),
        (GeminiProvider, ["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
        (OllamaProvider, ["OLLAMA_API_KEY"]),
    ],
)
def test_keys(cls, variables, monkeypatch):
    with Simulator(record=True) as sim:
        url = sim.base_url(cls.name)
        for variable in reversed(variables):  # the first one wins once it is set
            monkeypatch.setenv(variable, f" key-of-{variable}\n")
            assert key_sent(cls(base_url=url), sim) == f"key-of-{variable}"
        assert key_sent(cls("given", base_url=url), sim) == "given"
        assert key_sent(cls(api_key="given", base_url=url), sim) == "given"


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (OpenAIProvider, ["OPENAI_API_KEY"]),
        (AnthropicProvider, ["ANTHROPIC_API_KEY"]),
        (GeminiProvider, ["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
    ],
)
def test_a_missing_key_is_said_when_the_provider_is_made(cls, names, monkeypatch):
    for blank in (None, "", "  \n"):
        if blank is not None:
            monkeypatch.setenv(names[0], blank)
        for given in (None, "", "  "):
            with pytest.raises(ConfigurationError) as caught:
                cls(api_key=given)
            for name in ["api_key", *names]:
                assert name in str(caught.value)
            assert caught.value.provider == cls.name


@pytest.mark.parametrize("cls", [OpenAIProvider, AnthropicProvider, GeminiProvider])
@pytest.mark.parametrize("header", ["Authorization", "x-api-key", "api-key", "X-Goog-Api-Key"])
def test_a_gateways_own_header_stands_for_the_key(cls, header):
    with Simulator(record=True) as sim:
        cls(base_url=sim.base_url(cls.name), headers={header: "secret"}).sync.complete("hi")
        headers = sim.requests()[0]["headers"]
        assert headers[header.lower()] == "secret"


@pytest.mark.parametrize(
    ("cls", "variables", "default"),
    [
        (OpenAIProvider, ["OPENAI_BASE_URL", "OPENAI_API_BASE"], "https://api.openai.com/v1"),
        (AnthropicProvider, ["ANTHROPIC_BASE_URL"], "https://api.anthropic.com"),
        (
            GeminiProvider,
            ["GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"],
            "https://generativelanguage.googleapis.com/v1beta",
        ),
        (OllamaProvider, ["OLLAMA_BASE_URL", "OLLAMA_HOST"], "http://localhost:11434"),
    ],
)
def test_base_urls(cls, variables, default, monkeypatch):
    assert cls(api_key="k").base_url == default
    for variable in reversed(variables):
        monkeypatch.setenv(variable, f"https://{variable.replace('_', '-').lower()}.example:8443/v7")
        assert cls(api_key="k").base_url == f"https://{variable.replace('_', '-').lower()}.example:8443/v7"
    assert cls(api_key="k", base_url="https://given.example").base_url == "https://given.example"


@pytest.mark.parametrize(
    ("given", "means"),
    [
        # As Ollama's own clients read it: no scheme means port 11434, http:// means 80, https:// means 443.
        ("127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("gpu-box", "http://gpu-box:11434"),
        ("gpu-box:80", "http://gpu-box:80"),
        ("gpu-box/ollama", "http://gpu-box:11434/ollama"),
        (":5000", "http://127.0.0.1:5000"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:5000", "http://127.0.0.1:5000"),
        ("http://0.0.0.0:5000", "http://127.0.0.1:5000"),
        ("http://gpu-box", "http://gpu-box:80"),
        ("http://gpu-box:5000", "http://gpu-box:5000"),
        ("http://gpu-box:5000/", "http://gpu-box:5000/"),
        ("https://ollama.example", "https://ollama.example:443"),
        ("https://ollama.example:8443/prefix", "https://ollama.example:8443/prefix"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("::1", "http://[::1]:11434"),
        ("[::]:5000", "http://[::1]:5000"),
        ("::", "http://[::1]:11434"),
        ('"gpu-box:5000"', "http://gpu-box:5000"),
        ("  gpu-box  ", "http://gpu-box:11434"),
    ],
)
def test_ollama_host_in_every_spelling(given, means, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", given)
    assert OllamaProvider().base_url == means


def test_ollama_is_reached_by_its_host(monkeypatch):
    with Simulator(record=True) as sim:
        monkeypatch.setenv("OLLAMA_HOST", f"0.0.0.0:{sim.url.rpartition(':')[2]}")
        llm, embedding = ProviderFactory.from_env()
        assert llm.sync.complete("hi").content
        assert len(embedding.sync.embed(["a"])) == 1
        assert "authorization" not in sim.requests()[0]["headers"]


@pytest.mark.parametrize("kind", [*ProviderType])
def test_create(kind):
    for name in (kind, kind.value):
        llm, embedding = ProviderFactory.create(name, api_key="k", model="m", base_url="https://example.com")
        assert (llm.name, llm.model, llm.base_url) == (kind.value, "m", "https://example.com")
        assert embedding is (None if kind in {ProviderType.ANTHROPIC, ProviderType.BEDROCK} else llm)


def test_create_refuses_unknown_names_with_the_known_ones():
    for name in ("opnai", "", None, 5):
        with pytest.raises(ConfigurationError, match="openai, anthropic, gemini, ollama, bedrock"):
            ProviderFactory.create(name)


def test_provider_types_are_their_names():
    assert [str(kind) for kind in ProviderType] == ["openai", "anthropic", "gemini", "ollama", "bedrock"]
    assert f"{ProviderType.GEMINI}" == "gemini"
    assert ProviderType("ollama") is ProviderType.OLLAMA


class TestFromEnv:
    def test_nothing_set_up(self):
        with pytest.raises(ConfigurationError) as caught:
            ProviderFactory.from_env()
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OLLAMA_HOST"):
            assert name in str(caught.value)

    def test_the_first_key_wins(self, monkeypatch):
        for variable, name in [
            ("OLLAMA_HOST", "ollama"),
            ("GOOGLE_API_KEY", "gemini"),
            ("ANTHROPIC_API_KEY", "anthropic"),
            ("OPENAI_API_KEY", "openai"),
        ]:
            monkeypatch.setenv(variable, "x")
            llm, embedding = ProviderFactory.from_env(model="m")
            assert (llm.name, llm.model) == (name, "m")
            assert (embedding is None) == (name == "anthropic")

    def test_a_name_wins_over_keys(self, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
        monkeypatch.setenv("EDGEQUAKE_LLM_PROVIDER", "Anthropic")
        assert ProviderFactory.from_env()[0].name == "anthropic"

    def test_a_name_without_its_key_is_an_error_of_that_provider(self, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setenv("EDGEQUAKE_LLM_PROVIDER", "gemini")
        with pytest.raises(ConfigurationError, match="GEMINI_API_KEY"):
            ProviderFactory.from_env()

    def test_an_unknown_name_is_an_error(self, monkeypatch):
        monkeypatch.setenv("EDGEQUAKE_LLM_PROVIDER", "claude")
        with pytest.raises(ConfigurationError, match="claude"):
            ProviderFactory.from_env()

    def test_the_environment_is_read_when_asked(self, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        assert ProviderFactory.from_env()[0].name == "openai"
        monkeypatch.delenv("OPENAI_API_KEY")
        with pytest.raises(LLMError):
            ProviderFactory.from_env()


def test_making_a_provider_leaves_the_environment_alone(monkeypatch):
    before = dict(os.environ)
    OpenAIProvider("k")
    OllamaProvider()
    assert dict(os.environ) == before
