"""Lists of models, counts of tokens, any other endpoint, and the models of several providers together."""

from __future__ import annotations

import asyncio
import json

import pytest

from edgequake_llm import (
    ChatMessage,
    FirstTokenTimeout,
    InvalidRequestError,
    InvalidResponseError,
    ListedModel,
    ModelCatalog,
    ModelDirectory,
    ModelEntry,
    ModelInfo,
    NotFoundError,
    ServerError,
    Timeouts,
    TokenPrices,
    UnsupportedOption,
)
from support.waiting import aeventually as until

PATHS = {"openai": "/v1/models", "anthropic": "/v1/models", "gemini": "/v1beta/models", "ollama": "/api/tags"}
FIRST = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-2.5-flash",
    "ollama": "llama3.2:latest",
}
TOOL = {"name": "f", "description": "does", "parameters": {"type": "object"}}


async def test_models_of_each_provider(sim, llm, provider_name):
    models = await llm.list_models()
    request = sim.requests()[-1]
    assert (request["method"], request["path"]) == ("GET", PATHS[provider_name])
    assert "content-type" not in request["headers"]
    assert request["body"] == b""
    assert models[0].id == FIRST[provider_name]
    assert all(isinstance(model, ModelInfo) and model.provider == provider_name for model in models)
    assert [model.id for model in llm.sync.list_models()] == [model.id for model in models]


async def test_what_a_provider_tells_of_a_model(sim):
    (claude,) = await sim.provider("anthropic").list_models()
    assert (claude.context_window, claude.max_output_tokens) == (200_000, 64_000)
    assert claude.created == 1_760_486_400
    (gemini,) = await sim.provider("gemini").list_models()
    assert (gemini.context_window, gemini.capabilities) == (1_048_576, ["chat"])
    assert gemini.raw["name"] == "models/gemini-2.5-flash"
    gpt = (await sim.provider("openai").list_models())[0]
    assert (gpt.context_window, gpt.max_output_tokens, gpt.capabilities) == (None, None, [])
    assert repr(gpt) == 'ModelInfo(id="gpt-4o-mini", provider="openai")'


async def test_every_page_is_read(sim):
    pages = [
        {"models": [{"name": "models/a"}], "nextPageToken": "t/1&2"},
        {"models": [{"name": "models/b"}], "nextPageToken": ""},
    ]
    for page in pages:
        sim.push(body=json.dumps(page).encode())
    assert [model.id for model in await sim.provider("gemini").list_models()] == ["a", "b"]
    assert [request["query"] for request in sim.requests()] == ["pageSize=1000", "pageSize=1000&pageToken=t%2F1%262"]
    for more in (True, False):
        sim.push(body=json.dumps({"data": [{"id": f"m{more}"}], "has_more": more, "last_id": "m"}).encode())
    assert len(await sim.provider("anthropic").list_models()) == 2
    assert sim.requests()[-1]["query"] == "limit=1000&after_id=m"


async def test_failures_are_tried_again_and_told_as_with_a_chat(sim, llm):
    sim.push(status=503)
    assert await llm.list_models()
    assert sim.stats().requests == 2
    for status, error in ((404, NotFoundError), (500, ServerError)):
        sim.push(status=status)
        with pytest.raises(error) as caught:
            await sim.provider(llm.name, retry=0).list_models()
        assert (caught.value.provider, caught.value.status, caught.value.attempts) == (llm.name, status, 1)
    for body in (b"<html>", b"", b'{"surprise": 1}'):
        sim.push(body=body)
        with pytest.raises(InvalidResponseError):
            await llm.list_models()


async def test_limits_on_time_hold(sim):
    sim.push(delay=30)
    with pytest.raises(FirstTokenTimeout):
        await sim.provider("openai", timeout=Timeouts(first_token=0.05), retry=0).list_models()


async def test_cancelling_takes_the_request_back(sim, llm):
    sim.push(delay=60)
    task = asyncio.ensure_future(llm.list_models())
    await until(lambda: sim.stats().in_flight == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: sim.stats().in_flight == 0)


@pytest.mark.parametrize("provider_name", ["anthropic", "gemini"], indirect=True)
async def test_tokens_are_counted_by_the_provider(sim, llm, provider_name):
    messages = [ChatMessage.system("be kind"), ChatMessage.user("hi")]
    count = await llm.count_tokens(messages, tools=[TOOL])
    request = sim.requests()[-1]
    body = json.loads(request["body"])
    assert count == len(request["body"]) / 4 or count == len(request["body"]) // 4 + 1
    model = llm.model
    if provider_name == "anthropic":
        assert request["path"] == "/v1/messages/count_tokens"
        assert body == {
            "model": model,
            "system": "be kind",
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"name": "f", "description": "does", "input_schema": {"type": "object"}}],
        }
    else:
        assert request["path"] == f"/v1beta/models/{model}:countTokens"
        assert body["generateContentRequest"] == {
            "model": f"models/{model}",
            "systemInstruction": {"parts": [{"text": "be kind"}]},
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
            "tools": [{"functionDeclarations": [TOOL]}],
        }
    assert llm.sync.count_tokens(messages, tools=[TOOL]) == count
    assert await llm.count_tokens(messages) < count
    assert await llm.count_tokens("hi", system="be kind") == await llm.count_tokens(messages)


@pytest.mark.parametrize("provider_name", ["openai", "ollama"], indirect=True)
async def test_who_does_not_count_names_the_tokenizer(sim, llm):
    with pytest.raises(UnsupportedOption, match=r"Tokenizer") as caught:
        await llm.count_tokens("hi")
    assert caught.value.provider == llm.name
    assert sim.stats().requests == 0


async def test_any_other_endpoint(sim, llm):
    sim.push(body=b'{"files": [1, 2.5, null, "\xc3\xa9"]}')
    assert await llm.request("get", "/files?limit=1") == {"files": [1, 2.5, None, "é"]}
    request = sim.requests()[-1]
    assert (request["method"], request["query"]) == ("GET", "limit=1")
    assert request["path"].endswith("/files")
    sim.push(body=b"")
    assert llm.sync.request("DELETE", "/files/1", extra_headers={"x-a": "b"}) is None
    assert sim.requests()[-1]["headers"]["x-a"] == "b"
    sim.push(body=b"[]")
    assert await llm.request("POST", "/batches", {"a": [1]}) == []
    request = sim.requests()[-1]
    assert json.loads(request["body"]) == {"a": [1]}
    assert request["headers"]["content-type"] == "application/json"
    sim.push(body=b"{broken")
    with pytest.raises(InvalidResponseError):
        await llm.request("GET", "/x")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("BREW", "/x", None), ("GET", "x", None), ("GET", "/with space", None), ("POST", "/x", {"a": float("nan")})],
)
def test_bad_requests_raise_before_anything_is_sent(sim, method, path, body):
    with pytest.raises(InvalidRequestError):
        sim.provider("openai").sync.request(method, path, body)
    assert sim.stats().requests == 0


# The models of several providers together.


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def catalog():
    return ModelCatalog(
        {
            "gpt-4o-mini": ModelEntry(
                "gpt-4o-mini", "openai", context_window=128_000, prices=TokenPrices("0.15", "0.6")
            ),
            "claude-haiku-4-5": TokenPrices(1, 5),
            "gemini-2.5-flash": ModelEntry(
                "gemini-2.5-flash", "gemini", deprecated=True, prices=TokenPrices("0.3", "2.5")
            ),
            **{name: ModelEntry(name, "x") for name in ("llama3.2", "llama3.2:latest", "text-embedding-3-small")},
        }
    )


async def test_providers_are_asked_once_in_a_while(sim):
    clock = Clock()
    directory = ModelDirectory([sim.provider(name) for name in PATHS], ttl=60, clock=clock)
    models = await directory.models()
    assert {model.provider for model in models} == set(PATHS)
    assert all(isinstance(model, ListedModel) for model in models)
    assert sim.stats().requests == 4
    clock.now = 59.9
    assert await directory.models() == models
    assert sim.stats().requests == 4
    clock.now = 60.0
    await directory.models()
    assert sim.stats().requests == 8
    await directory.models(refresh=True)
    assert sim.stats().requests == 12


async def test_calls_at_once_ask_once_and_one_cancelled_does_not_harm_the_others(sim):
    directory = ModelDirectory([sim.provider("openai")])
    sim.push(delay=0.3)
    tasks = [asyncio.ensure_future(directory.models()) for _ in range(5)]
    await until(lambda: sim.stats().in_flight == 1)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(len(result) == 5 for result in results[1:])
    assert sim.stats().requests == 1


async def test_a_provider_that_fails_does_not_hide_the_others(sim):
    directory = ModelDirectory([sim.provider("openai", retry=0), sim.provider("gemini", retry=0)])
    sim.push(status=500, path="/v1beta/")
    assert {model.provider for model in await directory.models()} == {"openai"}
    assert isinstance(directory.errors["gemini"], ServerError)
    assert {model.provider for model in await directory.models()} == {"openai", "gemini"}
    assert directory.errors == {}


async def test_filters(sim, catalog):
    directory = ModelDirectory([sim.provider(name) for name in ("openai", "anthropic", "gemini")], catalog=catalog)

    async def ids(**filters):
        return [(model.provider, model.id) for model in await directory.models(**filters)]

    assert await ids(provider="gemini") == [("gemini", "gemini-2.5-flash")]
    assert await ids(capability="chat") == [("gemini", "gemini-2.5-flash")]
    assert await ids(capability=["chat", "vision"]) == []
    assert await ids(provider="openai", min_context=100_000) == [("openai", "gpt-4o-mini")], "the catalog fills in"
    assert ("anthropic", "claude-haiku-4-5") in await ids(min_context=200_000)
    assert await ids(provider="openai", max_input_price=0.15) == [("openai", "gpt-4o-mini")]
    assert await ids(provider="anthropic", max_input_price="0.99") == []
    assert await ids(provider="gemini", deprecated=False) == []
    (claude,) = await directory.models(provider="anthropic")
    assert (claude.context_window, claude.max_output_tokens, claude.prices.output) == (200_000, 64_000, 5)


async def test_fuzzy_search(sim, catalog):
    directory = ModelDirectory([sim.provider(name) for name in PATHS], catalog=catalog)

    async def first(text, **filters):
        found = await directory.search(text, **filters)
        return found[0].id if found else None

    assert await first("claud haiku") == "claude-haiku-4-5"
    assert await first("gemni flash") == "gemini-2.5-flash"
    assert await first("GPT 4o") == "gpt-4o-mini"
    assert await first("embeding") == "text-embedding-3-small"
    assert await first("lama") in {"llama3.2", "llama3.2:latest"}
    assert await first("zebra") is None
    assert await first("") is None
    assert await first("gpt", provider="anthropic") is None
    assert len(await directory.search("3", limit=1)) <= 1
