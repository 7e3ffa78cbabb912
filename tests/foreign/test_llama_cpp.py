"""llama-cpp-python's server, an implementation of OpenAI's format by other hands, on a model that this test makes.

On request: `tests/foreign/run llama_cpp`. What the model says is known (`tiny_model`), so is what must arrive.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pydantic
import pytest
from serving import environment, free_port, serve
from tiny_sentence import EMBED, SENTENCE, TOKENS

from edgequake_llm import (
    AuthenticationError,
    ChatMessage,
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    OpenAIProvider,
    ServerError,
    TextDelta,
)

PYTHON = environment("llama_cpp") / "python"
KEY = "a-key-of-its-own"


@pytest.fixture(scope="module")
def base_url(tmp_path_factory):
    directory = tmp_path_factory.mktemp("llama_cpp")
    model, port = directory / "tiny.gguf", free_port()
    maker = Path(__file__).with_name("tiny_model.py")
    subprocess.run([PYTHON, maker, model], check=True)
    shared = {"model": str(model), "n_ctx": 512, "n_threads": 1, "chat_format": "chatml", "verbose": False}
    models = [
        {**shared, "model_alias": "tiny"},
        {**shared, "model_alias": "tiny-embed", "embedding": True},
    ]
    config = directory / "config.json"
    config.write_text(json.dumps({"host": "127.0.0.1", "port": port, "api_key": KEY, "models": models}))
    command = [PYTHON, "-m", "llama_cpp.server", "--config_file", config]
    with serve(command, f"http://127.0.0.1:{port}/v1", directory / "log") as url:
        yield url


@pytest.fixture
def llm(base_url):
    return OpenAIProvider.preset(
        "llama-cpp-python", KEY, base_url=base_url, model="tiny", embedding_model="tiny-embed", retry=0
    )


class Place(pydantic.BaseModel):
    name: str
    open: bool
    rooms: int


def book(rooms: int) -> str:
    """Book rooms."""
    return f"{rooms} booked"


async def test_a_whole_answer(llm):
    response = await llm.complete("Tell me a story.", temperature=0)
    assert response.content.strip() == SENTENCE
    assert (response.finish_reason, response.model) == ("stop", "tiny")
    assert response.id.startswith("chatcmpl-")
    # Each byte of the prompt is a token, but for those of the template's that have one of their own.
    assert response.usage.completion_tokens == TOKENS
    assert response.usage.prompt_tokens > len("Tell me a story.")


async def test_a_stream_comes_to_the_same(llm):
    whole = await llm.complete("Tell me a story.", temperature=0)
    async with llm.stream("Tell me a story.", temperature=0) as stream:
        events = [event async for event in stream.events()]
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    # The é is two tokens of half a character each; the server joins them.
    assert len(pieces) == TOKENS - 1
    assert "".join(pieces) == stream.response.content == whole.content
    assert stream.response.finish_reason == "stop"
    # It counts no tokens in a stream, asked or not.
    assert stream.response.usage is None
    assert stream.metrics.ttft_ms > 0


async def test_without_an_event_loop(llm):
    import asyncio

    assert (await asyncio.to_thread(lambda: llm.sync.complete("Go on.", temperature=0))).content.strip() == SENTENCE


@pytest.mark.parametrize("streamed", [False, True])
async def test_where_it_ends(llm, streamed):
    async def ask(**options):
        if not streamed:
            return await llm.complete("Tell me a story.", temperature=0, **options)
        async with llm.stream("Tell me a story.", temperature=0, **options) as stream:
            async for _ in stream:
                pass
        return stream.response

    stopped = await ask(stop=[" café", "never said"])
    assert (stopped.content.strip(), stopped.finish_reason) == (SENTENCE.partition(" café")[0], "stop")
    cut = await ask(max_tokens=4)
    assert (cut.content.strip(), cut.finish_reason) == ("Once upon a time", "length")


async def test_a_seed_makes_chance_repeatable(llm):
    async def ask(seed):
        # Without its own limits, which leave the model nothing but its sentence.
        free = {"top_p": 1, "extra": {"min_p": 0}}
        return (await llm.complete("Tell me a story.", temperature=2, seed=seed, max_tokens=30, **free)).content

    said = [await ask(seed) for seed in range(6)]
    assert len(set(said)) > 1
    assert [await ask(seed) for seed in range(6)] == said


async def test_json(llm):
    response = await llm.complete("Give me JSON.", temperature=0, response_format="json")
    assert response.parsed == json.loads(response.content) == {}


@pytest.mark.parametrize("streamed", [False, True])
async def test_json_of_a_schema(llm, streamed):
    options = {"temperature": 0, "response_format": Place, "max_tokens": 200}
    if streamed:
        async with llm.stream("Where?", **options) as stream:
            async for _ in stream:
                pass
        response = stream.response
    else:
        response = await llm.complete("Where?", **options)
    assert isinstance(response.parsed, Place)
    assert response.parsed == Place.model_validate_json(response.content)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_that_must_be_called(llm, streamed):
    options = {"temperature": 0, "tools": [book], "tool_choice": "book"}
    if streamed:
        async with llm.stream("A room, please.", **options) as stream:
            async for _ in stream:
                pass
        response = stream.response
    else:
        response = await llm.complete("A room, please.", **options)
    (call,) = response.tool_calls
    assert (call.name, list(call.parse())) == ("book", ["rooms"])
    assert isinstance(call.parse()["rooms"], int)
    assert response.finish_reason == "tool_calls"


async def test_the_turn_after_a_call(llm):
    first = await llm.complete("A room, please.", temperature=0, tools=[book], tool_choice="book")
    (call,) = first.tool_calls
    result = ChatMessage.tool(call.id, "1 booked")
    # The server fails if a message that only calls tools has no field for its content.
    after = await llm.chat([ChatMessage.user("A room, please."), first.message, result], temperature=0)
    assert after.finish_reason == "stop"


async def test_embeddings(llm):
    texts = ["a", "the sea", "a"]
    vectors = await llm.embed(texts)
    assert (len(vectors), vectors.dimensions, vectors.model) == (3, EMBED, "tiny-embed")
    assert list(vectors[0]) == list(vectors[2]) != list(vectors[1])
    assert vectors.usage.prompt_tokens > 0
    alone = await llm.embed(["the sea"])
    assert list(alone[0]) == pytest.approx(list(vectors[1]), rel=1e-3, abs=1e-5)


async def test_the_list_of_models(llm):
    assert {model.id for model in await llm.list_models()} == {"tiny", "tiny-embed"}


async def test_errors(llm, base_url):
    def other(key=KEY, url=base_url, **settings):
        return OpenAIProvider(key, base_url=url, model="tiny", retry=0, **settings)

    with pytest.raises(AuthenticationError, match="Invalid API key") as refused:
        await other("another").complete("hi")
    assert (refused.value.status, KEY in str(refused.value)) == (401, False)
    with pytest.raises(ContextLengthError, match="512 tokens") as too_long:
        await llm.complete("a" * 1000)
    assert (too_long.value.status, too_long.value.code) == (400, "context_length_exceeded")
    with pytest.raises(NotFoundError):
        await other(url=base_url.replace("/v1", "/v2")).complete("hi")
    with pytest.raises(NotFoundError):
        await other(api="responses").complete("hi")
    # It calls its own complaints about a request errors of the server.
    with pytest.raises(ServerError, match="valid number"):
        await llm.complete("hi", extra={"top_p": "much"})
    with pytest.raises(InvalidRequestError):
        await llm.complete("hi", temperature=-1)


async def test_many_at_once(llm):
    import asyncio

    answers = await asyncio.gather(*(llm.complete(f"Story {n}.", temperature=0) for n in range(8)))
    assert {answer.content.strip() for answer in answers} == {SENTENCE}
