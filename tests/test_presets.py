"""Presets: addresses, keys, and what each server wants otherwise. All from one table."""

from __future__ import annotations

import json

import pytest

from edgequake_llm import (
    AuthenticationError,
    ConfigurationError,
    OpenAIProvider,
    OverloadedError,
    ProviderFactory,
    ProviderType,
    UnsupportedOption,
    _core,
)

NAMES = _core.preset_names()
HOSTED = [name for name in NAMES if _core.preset(name).key_required]
LOCAL = [name for name in NAMES if name not in HOSTED]


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch):
    for name in NAMES:
        preset = _core.preset(name)
        for variable in (*preset.key_variables, *preset.base_url_variables):
            monkeypatch.delenv(variable, raising=False)
    for variable in ("OPENAI_API_VERSION", "AZURE_OPENAI_API_VERSION"):
        monkeypatch.delenv(variable, raising=False)


def make(name, **settings):
    if name == "azure":
        settings.setdefault("base_url", "https://mine.openai.azure.com")
    return OpenAIProvider.preset(name, settings.pop("api_key", "k"), **settings)


def body(llm, **fields):
    fields.setdefault("model", "m")
    path, sent = llm._core.encode("hi", None, fields, stream=fields.pop("stream", False))
    sent = json.loads(sent)
    return path, {key: value for key, value in sent.items() if key not in {"model", "messages", "stream"}}


def test_the_servers_that_the_guide_promises():
    assert {
        *("azure", "openrouter", "groq", "mistral", "deepseek", "xai", "together", "fireworks", "nvidia"),
        *("huggingface", "vllm", "lmstudio", "llamacpp"),
    } <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_knows_its_address_and_its_name(name):
    llm = make(name, model="m")
    preset = _core.preset(name)
    assert (llm.name, llm.model, llm.embedding_model) == (name, "m", None)
    assert name == "azure" or llm.base_url == preset.default_base_url
    assert isinstance(llm, OpenAIProvider)
    assert OpenAIProvider.name == "openai", "the class keeps its own"
    made, embedding = ProviderFactory.create(name.upper(), api_key="k", base_url="https://example.com/v1")
    assert (made.name, made.base_url) == (
        name,
        "https://example.com/v1",
    )
    assert embedding is (made if preset.has_embeddings else None)


@pytest.mark.parametrize("name", HOSTED)
def test_keys_come_from_the_variables_that_people_have(name, monkeypatch):
    settings = {"base_url": "https://mine.openai.azure.com"} if name == "azure" else {}
    with pytest.raises(ConfigurationError, match=_core.preset(name).key_variables[0]) as caught:
        OpenAIProvider.preset(name, **settings)
    assert caught.value.provider == name
    monkeypatch.setenv("OPENAI_API_KEY", "of another")
    with pytest.raises(ConfigurationError):
        OpenAIProvider.preset(name, **settings)
    for variable in _core.preset(name).key_variables:
        monkeypatch.setenv(variable, "secret")
        assert "secret" not in repr(OpenAIProvider.preset(name, **settings))
        monkeypatch.delenv(variable)


@pytest.mark.parametrize("name", LOCAL)
def test_local_servers_need_no_key(name, monkeypatch):
    assert "localhost" in OpenAIProvider.preset(name).base_url
    monkeypatch.setenv(_core.preset(name).base_url_variables[0], "http://gpu:9000/v1")
    assert OpenAIProvider.preset(name).base_url == "http://gpu:9000/v1"


@pytest.mark.parametrize(
    ("alias", "name"),
    [("hf", "huggingface"), ("llama.cpp", "llamacpp"), ("LM-Studio", "lmstudio"), ("together_ai", "together")],
)
def test_other_names(alias, name):
    assert OpenAIProvider.preset(alias, "k").name == name


@pytest.mark.parametrize("name", NAMES)
async def test_each_may_speak_the_responses_api(sim, name):
    llm = make(name, model="m", base_url=sim.base_url(ProviderType.OPENAI), api="responses")
    response = await llm.complete("hi", max_tokens=20)
    assert (response.provider, response.finish_reason) == (name, "length")
    async with llm.stream("hi") as stream:
        assert "".join([piece async for piece in stream]) == stream.response.content != ""
    request = sim.requests()[-1]
    header, prefix = ("api-key", "") if name == "azure" else ("authorization", "Bearer ")
    assert (request["path"], request["headers"][header]) == ("/v1/responses", f"{prefix}k")


def test_azures_responses_api_has_no_deployment_in_its_path():
    llm = make("azure", model="m", api="responses", api_version="2025-04-01-preview")
    assert llm.base_url == "https://mine.openai.azure.com/openai?api-version=2025-04-01-preview"
    assert llm._core.encode("hi", None, {})[0] == "/responses"
    assert llm._core.encode_embed(["a"], {"model": "e"})[0] == "/deployments/e/embeddings"


def test_an_api_that_is_not_there():
    with pytest.raises(ConfigurationError, match=r"chat.*responses"):
        make("groq", api="assistants")


def test_an_unknown_name_is_told_what_there_is():
    with pytest.raises(ConfigurationError, match="groq"):
        OpenAIProvider.preset("grok")
    with pytest.raises(ConfigurationError, match="groq"):
        ProviderFactory.create("grok")
    with pytest.raises(ConfigurationError, match="Azure's"):
        OpenAIProvider.preset("groq", "k", api_version="2024-10-21")


def test_the_environment_may_name_a_preset(monkeypatch):
    monkeypatch.setenv("EDGEQUAKE_LLM_PROVIDER", "groq")
    monkeypatch.setenv("GROQ_API_KEY", "k")
    llm, embedding = ProviderFactory.from_env(model="m")
    assert (llm.name, embedding) == ("groq", None)


@pytest.mark.parametrize("name", NAMES)
async def test_each_speaks_with_a_server(sim, name):
    base_url = sim.base_url(ProviderType.OPENAI)
    llm = make(name, model="m", base_url=base_url)
    response = await llm.complete("hi", max_tokens=20, temperature=0)
    assert (response.provider, response.finish_reason) == (name, "length")
    async with llm.stream("hi") as stream:
        text = "".join([piece async for piece in stream])
    assert text == stream.response.content != ""
    request = sim.requests()[0]
    header, prefix = ("api-key", "") if name == "azure" else ("authorization", "Bearer ")
    assert request["headers"][header] == f"{prefix}k"
    assert request["path"] == "/v1/chat/completions"
    if _core.preset(name).has_embeddings:
        vectors = await llm.embed(["a", "b"], model="e")
        assert (len(vectors), vectors.provider) == (2, name)
    else:
        with pytest.raises(UnsupportedOption) as caught:
            await llm.embed(["a"], model="e")
        assert caught.value.provider == name


@pytest.mark.parametrize("name", NAMES)
def test_what_each_wants_for_max_tokens_seed_and_usage(name):
    _, sent = body(make(name), max_tokens=5, seed=1, stream=True)
    longer = {"azure", "groq", "xai"}
    assert sent.pop("max_completion_tokens" if name in longer else "max_tokens") == 5
    assert sent.pop("random_seed" if name == "mistral" else "seed") == 1
    usage = {} if name in {"mistral", "perplexity"} else {"stream_options": {"include_usage": True}}
    assert sent == usage


def test_usage_that_comes_unasked_is_read(sim):
    """Mistral's and Perplexity's chunks have it without `stream_options`."""
    chunk = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
    last = {
        "id": "1",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
    text = "".join(f"data: {json.dumps(part)}\n\n" for part in (chunk, last)) + "data: [DONE]\n\n"
    for name in ("mistral", "perplexity"):
        sim.push(body=text.encode(), headers={"content-type": "text/event-stream"})
        with make(name, model="m", base_url=sim.base_url("openai")).sync.stream("hi") as stream:
            assert "".join(stream) == "Hi"
        assert stream.response.usage.total_tokens == 4
        assert stream.response.finish_reason == "stop"


def test_dialects_of_streams_are_read_from_everyone(sim):
    """No [DONE]; comments; `reasoning` or `reasoning_content`; usage in every chunk."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    for field in ("reasoning", "reasoning_content"):
        deltas = [{field: "hm"}, {"content": "Hi"}]
        chunks = [{"choices": [{"index": 0, "delta": delta}], "usage": usage} for delta in deltas]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
        text = ": OPENROUTER PROCESSING\n\n" + "".join(f"data: {json.dumps(chunk)}\n\n: ping\n\n" for chunk in chunks)
        sim.push(body=text.encode(), headers={"content-type": "text/event-stream"})
        llm = make("openrouter", model="m", base_url=sim.base_url("openai"))
        with llm.sync.stream("hi") as stream:
            assert "".join(stream) == "Hi"
        response = stream.response
        assert (response.thinking, response.content, response.usage.total_tokens) == ("hm", "Hi", 5)


def test_an_error_inside_a_stream_of_status_200(sim):
    text = 'data: {"error": {"code": 503, "message": "no provider is free"}}\n\n'
    sim.push(body=text.encode(), headers={"content-type": "text/event-stream"})
    llm = make("openrouter", model="m", base_url=sim.base_url("openai"), retry=0)
    with pytest.raises(OverloadedError, match="openrouter: no provider is free"), llm.sync.stream("hi") as stream:
        list(stream)


def test_options_that_a_server_refuses_are_refused_here():
    with pytest.raises(UnsupportedOption, match="user is not supported by mistral"):
        body(make("mistral"), user="u")
    assert body(make("groq"), user="u")[1] == {"user": "u"}


async def test_embeddings_are_asked_for_in_each_ones_words(sim):
    url = sim.base_url("openai")

    async def sent(name, **fields):
        await make(name, base_url=url).embed(["a"], model="e", **fields)
        return json.loads(sim.requests()[-1]["body"])

    assert await sent("mistral", dimensions=8) == {"model": "e", "input": ["a"], "output_dimension": 8}
    assert (await sent("nvidia", task_type="query"))["input_type"] == "query"
    assert (await sent("vllm"))["encoding_format"] == "base64", "a quarter of the bytes"
    assert "encoding_format" not in await sent("together")
    with pytest.raises(UnsupportedOption, match="task_type"):
        await sent("together", task_type="query")


def test_azure_by_its_newer_address():
    llm = OpenAIProvider.preset("azure", "k", base_url="https://mine.openai.azure.com/", model="my-deployment")
    assert llm.base_url == "https://mine.openai.azure.com/openai/v1"
    assert body(llm, max_tokens=3) == ("/chat/completions", {"max_completion_tokens": 3})
    whole = OpenAIProvider.preset("azure", "k", base_url="https://mine.openai.azure.com/openai/v1")
    assert whole.base_url == "https://mine.openai.azure.com/openai/v1"


async def test_azure_by_its_older_address(sim, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", sim.url)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "secret")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    llm = OpenAIProvider.preset("azure", model="my deployment")
    response = await llm.complete("hi")
    request = sim.requests()[-1]
    assert request["path"] == "/openai/deployments/my%20deployment/chat/completions"
    assert request["query"] == "api-version=2024-10-21"
    assert request["headers"]["api-key"] == "secret"
    assert "authorization" not in request["headers"]
    assert response.provider == "azure"
    await llm.embed(["a"], model="vectors")
    assert sim.requests()[-1]["path"] == "/openai/deployments/vectors/embeddings"
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT")
    with pytest.raises(ConfigurationError, match="AZURE_OPENAI_ENDPOINT"):
        OpenAIProvider.preset("azure", model="m")


def test_errors_name_the_server(sim):
    sim.push(status=401)
    llm = make("groq", model="m", base_url=sim.base_url("openai"))
    with pytest.raises(AuthenticationError, match=r"^groq: ") as caught:
        llm.sync.complete("hi")
    assert caught.value.provider == "groq"
