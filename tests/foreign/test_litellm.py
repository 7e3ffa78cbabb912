"""LiteLLM's proxy, which speaks OpenAI's two formats and Anthropic's by other hands.

On request: `tests/foreign/run litellm`. Half of its models answer by mock. The others ask this library's own simulator, in
each provider's format, so that what arrives has been read and written again by LiteLLM on the way: it is a client of the
simulator that no one here wrote, and a server of streams that its mocks do not have.
"""

from __future__ import annotations

import json

import pydantic
import pytest
from serving import environment, free_port, serve

from edgequake_llm import (
    AnthropicProvider,
    InvalidRequestError,
    OpenAIProvider,
    OverloadedError,
    RateLimitError,
    ServerError,
    Simulator,
    TextDelta,
)

COMMANDS = environment("litellm")
KEY = "sk-a-key-of-its-own"
SENTENCE = "Once upon a time there stood some café by the sea."
CALL = {"id": "call_7", "type": "function", "function": {"name": "book", "arguments": '{"rooms": 2}'}}
MOCKS = {
    "story": {"mock_response": SENTENCE},
    "caller": {"mock_response": "Let me see.", "mock_tool_calls": [CALL]},
    "busy": {"mock_response": "litellm.RateLimitError"},
    "full": {"mock_response": "litellm.ContextWindowExceededError"},
    "broken": {"mock_response": "litellm.InternalServerError"},
    "overloaded": {"mock_response": "Exception: mock_streaming_error"},
    "vectors": {"mock_response": [0.25, -0.5, 1.0], "model": "openai/text-embedding-3-small"},
}
UPSTREAMS = {
    "openai": "openai/gpt-4o-mini",
    "anthropic": "anthropic/claude-haiku-4-5",
    "gemini": "gemini/gemini-2.5-flash",
    "ollama": "ollama_chat/llama3.2",
}


@pytest.fixture(scope="module")
def upstream():
    with Simulator(record=True) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def address(upstream, tmp_path_factory):
    directory, port = tmp_path_factory.mktemp("litellm"), free_port()
    models = {name: {"model": f"openai/{name}", "api_key": "none", **settings} for name, settings in MOCKS.items()}
    models |= {
        f"via-{name}": {"model": model, "api_key": "none", "api_base": upstream.base_url(name), "max_retries": 0}
        for name, model in UPSTREAMS.items()
    }
    models["via-vectors"] = {**models["via-openai"], "model": "openai/text-embedding-3-small"}
    config = {
        "model_list": [{"model_name": name, "litellm_params": settings} for name, settings in models.items()],
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "litellm_settings": {"num_retries": 0},
        "general_settings": {"master_key": KEY},
    }
    (directory / "config.yaml").write_text(json.dumps(config))  # JSON is YAML.
    command = [COMMANDS / "litellm", "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    # Its list of prices would come from the network, and what it is used for would go there.
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "NO_PROXY": "127.0.0.1"}
    url = f"http://127.0.0.1:{port}"
    with serve([*command, "--telemetry", "False"], f"{url}/health/liveliness", directory / "log", **quiet):
        yield url


@pytest.fixture(autouse=True)
def nothing_queued(upstream):
    upstream.clear()


def chat(address):
    return OpenAIProvider(KEY, base_url=f"{address}/v1", model="story", embedding_model="vectors", retry=0)


def responses(address):
    return OpenAIProvider(KEY, base_url=f"{address}/v1", model="story", api="responses", retry=0)


def anthropic(address):
    return AnthropicProvider(KEY, base_url=address, model="story", retry=0)


FORMATS = [chat, responses, anthropic]
MOCKED = [chat, anthropic]
"""Its mocks are no answers of the Responses API's own: errors come as texts."""


@pytest.fixture(params=FORMATS, ids=lambda make: make.__name__)
def llm(request, address):
    return request.param(address)


@pytest.fixture(params=MOCKED, ids=lambda make: make.__name__)
def mocked(request, address):
    return request.param(address)


@pytest.fixture(params=UPSTREAMS)
def model(request):
    """A model that asks the simulator in this provider's format."""
    return f"via-{request.param}"


def book(rooms: int) -> str:
    """Book rooms."""
    return f"{rooms} booked"


async def streamed(llm, **options):
    async with llm.stream("hi", **options) as stream:
        events = [event async for event in stream.events()]
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(pieces) == stream.response.content
    return stream.response, pieces


async def test_a_mocked_answer(mocked):
    whole = await mocked.complete("hi")
    assert (whole.content, whole.finish_reason, whole.model) == (SENTENCE, "stop", "story")
    assert whole.usage.prompt_tokens > 0
    assert whole.usage.completion_tokens > 0
    response, pieces = await streamed(mocked)
    assert (response.content, response.finish_reason) == (SENTENCE, "stop")
    assert response.usage.completion_tokens > 0
    # The mocks of Anthropic's format answer whole though a stream is asked for.
    assert (len(pieces) > 1) == isinstance(mocked, OpenAIProvider)


async def test_a_mocked_call(address):
    response = await chat(address).complete("hi", model="caller")
    (call,) = response.tool_calls
    assert (response.content, response.finish_reason) == ("Let me see.", "tool_calls")
    assert (call.id, call.name, call.parse()) == ("call_7", "book", {"rooms": 2})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("name", "error", "status"),
    [("busy", RateLimitError, 429), ("full", InvalidRequestError, 400), ("broken", ServerError, 500)],
)
async def test_mocked_errors(mocked, name, error, status, stream):
    with pytest.raises(error, match="this is a mock") as caught:
        await (streamed(mocked, model=name) if stream else mocked.complete("hi", model=name))
    assert (caught.value.status, caught.value.retryable) == (status, status != 400)


async def test_an_overload_before_a_stream(address):
    with pytest.raises(OverloadedError, match="mid-stream"):
        await streamed(chat(address), model="overloaded")


async def test_an_error_of_the_responses_api_before_a_stream(address):
    # Status 500 with a body that is framed like a stream.
    with pytest.raises(ServerError, match=r"^openai: Error processing stream start \[status 500"):
        await streamed(responses(address))


async def test_a_model_that_is_not_there(llm):
    with pytest.raises(InvalidRequestError, match="Invalid model name"):
        await llm.complete("hi", model="nobody")


async def test_embeddings(address):
    vectors = await chat(address).embed(["a"])
    assert (list(vectors[0]), vectors.dimensions) == ([0.25, -0.5, 1.0], 3)
    passed = await chat(address).embed(["a", "b", "a"], model="via-vectors")
    assert (len(passed), passed.dimensions) == (3, 1536)
    assert list(passed[0]) == list(passed[2]) != list(passed[1])


async def test_the_list_of_models(address):
    assert {model.id for model in await chat(address).list_models()} >= {*MOCKS, "via-openai"}


async def test_a_count_of_tokens(address):
    assert await anthropic(address).count_tokens("hi there", model="via-anthropic") > 0


async def test_an_answer_passed_on(upstream, llm, model):
    upstream.push(text=SENTENCE)
    whole = await llm.complete("hi", model=model, max_tokens=100)
    upstream.push(text=SENTENCE)
    response, pieces = await streamed(llm, model=model, max_tokens=100)
    for answer in (whole, response):
        assert (answer.content, answer.finish_reason) == (SENTENCE, "stop")
        assert answer.usage.completion_tokens == 11
        assert answer.usage.prompt_tokens > 0
    assert len(pieces) == 11


async def test_an_answer_that_is_cut(upstream, llm, model):
    # OpenAI's Responses API takes no limit below 16; LiteLLM raises lower ones.
    upstream.push(text="one two three four", tokens=30)
    response, pieces = await streamed(llm, model=model, max_tokens=16)
    assert (response.content, response.finish_reason) == (" ".join(["one two three four"] * 4), "length")
    assert len(pieces) == 16


@pytest.mark.parametrize("stream", [False, True])
async def test_thinking_and_calls_passed_on(upstream, llm, model, stream):
    upstream.push(text="I see.", thinking="Two, then.", tool_calls=[("book", '{"rooms": 2}')])
    if stream:
        response, _ = await streamed(llm, model=model, tools=[book])
    else:
        response = await llm.complete("hi", model=model, tools=[book])
    (call,) = response.tool_calls
    assert (call.name, call.parse()) == ("book", {"rooms": 2})
    assert call.id
    assert (response.content, response.thinking, response.finish_reason) == ("I see.", "Two, then.", "tool_calls")


@pytest.mark.parametrize("upstream_name", ["openai", "anthropic"])
async def test_a_tool_loop_passed_on(upstream, llm, upstream_name):
    upstream.push(tool_calls=[("book", '{"rooms": 2}')])
    upstream.push(text="Booked.")
    result = await llm.run("Two rooms.", model=f"via-{upstream_name}", tools=[book])
    assert result.content == "Booked."
    assert "2 booked" in upstream.requests()[-1]["body"].decode()


@pytest.mark.parametrize("stream", [False, True])
async def test_forms_passed_on(upstream, llm, model, stream):
    class Place(pydantic.BaseModel):
        name: str
        rooms: int

    if stream:
        response, _ = await streamed(llm, model=model, response_format=Place)
    else:
        response = await llm.complete("hi", model=model, response_format=Place)
    assert response.parsed == Place(name="simulated", rooms=1)


async def test_refusals_passed_on(upstream, llm, model):
    upstream.push(status=429)
    with pytest.raises(RateLimitError, match="simulated error 429") as caught:
        await llm.complete("hi", model=model)
    assert caught.value.retryable


@pytest.mark.parametrize("fault", ["error", "cut"])
async def test_what_goes_wrong_in_the_middle(upstream, llm, model, fault):
    # LiteLLM takes an error in Ollama's stream for a bad request.
    taken_for_bad = (fault, model) == ("error", "via-ollama")
    # A pause between the events, so that those before the fault are passed on.
    upstream.push(text=SENTENCE, fault=fault, after_events=9, gap=0.02)
    with pytest.raises(InvalidRequestError if taken_for_bad else ServerError) as caught:
        await streamed(llm, model=model)
    # Overloaded or broken: it may be tried again, but not by itself, as some of it has been seen.
    assert caught.value.retryable is not taken_for_bad
    assert 0 < len(caught.value.partial.content) < len(SENTENCE)
    assert SENTENCE.startswith(caught.value.partial.content)
