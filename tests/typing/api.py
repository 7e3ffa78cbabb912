"""The public API as type checkers see it. Never run: mypy must accept every line, and need every ignore."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal, assert_type

import edgequake_llm as eq
from edgequake_llm import (
    AnthropicProvider,
    ChatMessage,
    CompletionOptions,
    Embeddings,
    FinishEvent,
    GeminiProvider,
    HookedProvider,
    Hooks,
    HTTPConfig,
    InferenceMetrics,
    LLMError,
    LLMResponse,
    OllamaProvider,
    OpenAIProvider,
    PartEvent,
    Provider,
    ProviderFactory,
    ProviderType,
    RateLimitError,
    RateLimits,
    RefusalDelta,
    RetryPolicy,
    Simulator,
    StreamInterrupted,
    SyncTextStream,
    TextDelta,
    TextStream,
    ThinkingDelta,
    Timeouts,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    Usage,
    UsageEvent,
    traceparent_header,
)


def providers() -> None:
    """Every provider takes the same settings."""
    assert_type(OpenAIProvider(), OpenAIProvider)
    assert_type(OpenAIProvider("key", model="gpt-4o-mini", embedding_model="e"), OpenAIProvider)
    OpenAIProvider(lambda: "key")
    OpenAIProvider(lambda: 7)  # type: ignore[arg-type]
    AnthropicProvider(timeout=Timeouts(first_token=20, idle=10), retry=3)
    GeminiProvider(timeout=dt.timedelta(seconds=5), retry=RetryPolicy(max_retries=1, base_delay=0.1))
    OllamaProvider(base_url="http://localhost:11434", headers={"x-tenant": "a"}, http=HTTPConfig(protocol="http2"))
    HTTPConfig(proxy=False, ca_pem=b"...", keep_alive=30)
    HTTPConfig(protocol="http3")  # type: ignore[arg-type]
    Timeouts(conect=1)  # type: ignore[call-arg]
    OpenAIProvider(tiemout=1)  # type: ignore[call-arg]
    llm: Provider = OpenAIProvider()
    assert_type(llm.model, str | None)
    assert_type(llm.embedding_model, str | None)
    assert_type(llm.base_url, str)
    assert_type(llm.name, str)
    assert_type(ProviderFactory.create(ProviderType.OPENAI), tuple[Provider, Provider | None])
    assert_type(ProviderFactory.create("openai", model="m"), tuple[Provider, Provider | None])
    assert_type(ProviderFactory.from_env(), tuple[Provider, Provider | None])
    assert_type(eq.__version__, str)


async def calls(llm: Provider) -> None:
    """Options by keyword, as an object, or both."""
    assert_type(await llm.complete("hi"), LLMResponse)
    assert_type(await llm.complete("hi", CompletionOptions(max_tokens=5)), LLMResponse)
    assert_type(await llm.complete("hi", max_tokens=5, temperature=0.2, stop=["END"], seed=1), LLMResponse)
    assert_type(await llm.chat([ChatMessage.user("hi"), {"role": "assistant", "content": "ho"}]), LLMResponse)
    assert_type(await llm.chat({"role": "user", "content": "hi"}, timeout=dt.timedelta(seconds=3)), LLMResponse)
    await llm.complete("hi", tools=[{"name": "f"}], tool_choice="required", response_format={"type": "object"})
    await llm.complete("hi", reasoning="low", extra={"x": 1}, extra_headers={"x": "y"}, timeout=Timeouts(idle=1))
    await llm.complete("hi", max_token=5)  # type: ignore[call-arg]
    await llm.complete("hi", max_tokens="5")  # type: ignore[arg-type]
    await llm.complete([{"role": "user"}])  # type: ignore[arg-type]
    assert_type(await llm.embed(["a", "b"], dimensions=256), Embeddings)
    await llm.embed(["a"], dimension=256)  # type: ignore[call-arg]
    assert_type(llm.sync.complete("hi", max_tokens=5), LLMResponse)
    assert_type(llm.sync.chat([ChatMessage.user("hi")]), LLMResponse)
    assert_type(llm.sync.stream("hi"), SyncTextStream)
    assert_type(llm.sync.embed(["a"]), Embeddings)
    await llm.aclose()


async def streams(llm: OpenAIProvider) -> None:
    """Text, typed events, and what there is after the end."""
    async with OpenAIProvider() as own:
        assert_type(own, OpenAIProvider)
    async for text in llm.stream("hi"):
        assert_type(text, str)
    async with llm.stream([ChatMessage.user("hi")], max_tokens=5) as stream:
        assert_type(stream, TextStream)
        async for event in stream.events():
            match event:
                case TextDelta(text) | ThinkingDelta(text) | RefusalDelta(text):
                    assert_type(text, str)
                case ToolCallStart(index, identity, name):
                    assert_type((index, identity, name), tuple[int, str, str])
                case ToolCallDelta(index, arguments):
                    assert_type((index, arguments), tuple[int, str])
                case PartEvent(part):
                    assert_type(part, dict[str, Any])
                case UsageEvent(usage):
                    assert_type(usage, Usage)
                case FinishEvent(reason):
                    assert_type(reason, str)
    assert_type(await llm.stream("hi"), TextStream)
    assert_type(stream.response, LLMResponse)
    assert_type(stream.metrics, InferenceMetrics)
    await stream.aclose()
    with llm.sync.stream("hi") as sync_stream:
        for text in sync_stream:
            assert_type(text, str)
        assert_type(sync_stream.response, LLMResponse)
    sync_stream.close()


def answers(response: LLMResponse, vectors: Embeddings, metrics: InferenceMetrics) -> None:
    """What an answer tells."""
    assert_type(response.content, str)
    assert_type(response.thinking, str | None)
    assert_type(response.refusal, str | None)
    assert_type(response.finish_reason, str | None)
    assert_type(response.usage, Usage | None)
    assert_type(response.tool_calls, list[ToolCall])
    assert_type(response.rate_limits, RateLimits | None)
    assert_type(response.http_version, Literal["HTTP/1.1", "HTTP/2"])
    assert_type(response.headers, dict[str, str])
    assert_type(response.message, ChatMessage)
    assert_type(response.attempts, int)
    assert_type(response.cached, bool)
    assert_type(response.metrics, InferenceMetrics)
    for call in response.tool_calls:
        assert_type(call.arguments, str)
        assert_type(call.to_dict(), dict[str, Any])
    assert_type(len(vectors), int)
    assert_type(vectors[0], memoryview[float])
    assert_type(vectors.tolist(), list[list[float]])
    assert_type(vectors.dimensions, int)
    for row in vectors:
        assert_type(row, memoryview[float])
    assert_type(metrics.ttft_ms, float | None)
    assert_type(metrics.tokens_per_second, float)
    assert_type(metrics.itl_p99_ms, float | None)
    assert_type(metrics.inter_token_ms(0.9), float | None)
    by_hand = InferenceMetrics(clock=lambda: 1.0)
    by_hand.record_first_token()
    by_hand.add_output_tokens(3)
    by_hand.finish()
    response.content = "x"  # type: ignore[misc]
    assert_type(LLMResponse("x", usage=Usage(prompt_tokens=1), tool_calls=[ToolCall("1", "f", {})]), LLMResponse)
    assert_type(LLMResponse(response_format=list[int]).replay(), TextStream)
    LLMResponse(content=1)  # type: ignore[arg-type]
    TextDelta(1)  # type: ignore[arg-type]


def errors() -> None:
    """What an error tells."""
    try:
        OpenAIProvider().sync.complete("hi")
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
    except StreamInterrupted as error:
        assert_type(error.partial, LLMResponse | None)
    except LLMError as error:
        assert_type(error.message, str)
        assert_type(error.provider, str | None)
        assert_type(error.status, int | None)
        assert_type(error.retryable, bool)
        assert_type(error.embedded, Mapping[int, memoryview])


def values() -> None:
    """Frozen value objects."""
    options = CompletionOptions(max_tokens=5)
    assert_type(options.replace(max_tokens=6), CompletionOptions)
    assert_type(options.max_tokens, int | None)
    options.max_tokens = 6  # type: ignore[misc]
    CompletionOptions(max_tokens="5")  # type: ignore[arg-type]
    CompletionOptions(temprature=0.5)  # type: ignore[call-arg]


async def hooks(llm: OpenAIProvider) -> None:
    """A provider with hooks is one."""
    hooked = HookedProvider(llm, Hooks(on_request=lambda call: call.replace(model="m")))
    assert_type(await hooked.chat("hi"), LLMResponse)
    assert_type(hooked.sync.complete("hi"), LLMResponse)
    async for text in hooked.stream("hi"):
        assert_type(text, str)
    assert_type(traceparent_header("0" * 32, "0" * 16), dict[str, str])
    Hooks(on_request=lambda call: call.answer("x", finish_reason="length"))
    for text in hooked.sync.run_stream("hi", tools=[print]):
        assert_type(text, str)
    HookedProvider(llm, print)  # type: ignore[arg-type]


def simulators() -> None:
    """The simulator's settings are typed, too."""
    with Simulator(ttft=0.2, gap=dt.timedelta(milliseconds=10), tokens=100) as sim:
        assert_type(sim, Simulator)
        sim.push(status=429, retry_after=1.5)
        sim.push(fault="cut", after_events=3)
        assert_type(sim.provider("anthropic", model="m"), Provider)
        assert_type(sim.stats().requests, int)
        assert_type(sim.requests(), list[dict[str, Any]])
        assert_type(sim.cert_pem, str | None)
    Simulator(speed=9)  # type: ignore[call-arg]
