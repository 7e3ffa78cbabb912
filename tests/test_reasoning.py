"""Reasoning: efforts and budgets on the wires, thinking as it comes, and signatures that go back untouched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgequake_llm import ChatMessage, InvalidRequestError, TextDelta, ThinkingDelta, ToolCallStart, UnsupportedOption
from edgequake_llm._core import decode_chat


def sent(provider: Any, **options: Any) -> Any:
    _, body = provider._core.encode("hi", None, options)
    return json.loads(body)


ENABLED = {"type": "enabled"}
ADAPTIVE = {"type": "adaptive"}


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking", "effort"),
    [
        ("claude-haiku-4-5", "low", {**ENABLED, "budget_tokens": 1024}, None),
        ("claude-haiku-4-5", "medium", {**ENABLED, "budget_tokens": 8192}, None),
        ("claude-haiku-4-5", 2000, {**ENABLED, "budget_tokens": 2000}, None),
        ("claude-haiku-4-5", {"budget_tokens": 2000}, {**ENABLED, "budget_tokens": 2000}, None),
        ("claude-opus-4-5", "high", {**ENABLED, "budget_tokens": 24576}, "high"),
        ("claude-sonnet-4-6", "max", ADAPTIVE, "max"),
        ("claude-sonnet-4-6", 2000, {**ENABLED, "budget_tokens": 2000}, None),
        ("claude-opus-4-7", "low", {**ADAPTIVE, "display": "summarized"}, "low"),
        ("claude-haiku-4-5", "none", {"type": "disabled"}, None),
        ("claude-haiku-4-5", 0, {"type": "disabled"}, None),
    ],
)
def test_anthropic_by_generation(sim, model, reasoning, thinking, effort):
    body = sent(sim.provider("anthropic"), model=model, reasoning=reasoning)
    assert (body["thinking"], body.get("output_config", {}).get("effort")) == (thinking, effort)
    assert body["max_tokens"] == 4096 + thinking.get("budget_tokens", 0)


@pytest.mark.parametrize(
    ("model", "reasoning", "config"),
    [
        ("gemini-2.5-flash", "low", {"includeThoughts": True, "thinkingBudget": 1024}),
        ("gemini-2.5-flash", "high", {"includeThoughts": True, "thinkingBudget": 24576}),
        ("gemini-2.5-flash", 500, {"includeThoughts": True, "thinkingBudget": 500}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-3-pro-preview", "low", {"includeThoughts": True, "thinkingLevel": "low"}),
        ("gemini-3-pro-preview", 500, {"includeThoughts": True, "thinkingBudget": 500}),
    ],
)
def test_gemini_by_generation(sim, model, reasoning, config):
    body = sent(sim.provider("gemini"), model=model, reasoning=reasoning)
    assert body["generationConfig"]["thinkingConfig"] == config


def test_openai_and_ollama(sim):
    assert sent(sim.provider("openai"), reasoning="minimal")["reasoning_effort"] == "minimal"
    for model, reasoning, think in (
        ("qwen3", "low", True),
        ("qwen3", "none", False),
        ("qwen3", 0, False),
        ("gpt-oss:20b", "low", "low"),
    ):
        assert sent(sim.provider("ollama"), model=model, reasoning=reasoning)["think"] == think


@pytest.mark.parametrize(
    ("provider", "model", "reasoning", "nearest"),
    [
        ("openai", None, 500, 'reasoning="low"'),
        ("openai", None, 20_000, 'reasoning="high"'),
        ("anthropic", "claude-opus-4-7", 9000, 'reasoning="medium"'),
        ("anthropic", "claude-sonnet-4-6", "minimal", 'reasoning="low"'),
        ("anthropic", "claude-3-5-haiku-latest", "low", "does not think; leave it out"),
        ("gemini", "gemini-3-pro", "none", 'reasoning="minimal"'),
        ("gemini", "gemini-3-pro", "max", 'reasoning="high"'),
        ("ollama", None, 500, 'reasoning="low"'),
    ],
)
def test_what_a_model_does_not_take_names_the_nearest(sim, provider, model, reasoning, nearest):
    with pytest.raises(UnsupportedOption) as caught:
        sent(sim.provider(provider), model=model, reasoning=reasoning)
    assert nearest in caught.value.message
    assert (caught.value.provider, caught.value.param) == (provider, "reasoning")


def test_budgets_must_fit_into_max_tokens(sim):
    llm = sim.provider("anthropic")
    assert sent(llm, reasoning="high", max_tokens=4000)["thinking"]["budget_tokens"] == 3000
    with pytest.raises(InvalidRequestError, match="must be above the reasoning budget"):
        sent(llm, reasoning=2000, max_tokens=2000)
    with pytest.raises(InvalidRequestError, match="above 1024"):
        sent(llm, reasoning="low", max_tokens=500)


# ---- thinking as it comes

THOUGHT = 'First I "weigh" it, é.'


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "ollama"])
async def test_thinking_has_events_of_its_own(sim, provider):
    llm = sim.provider(provider)
    sim.push(thinking=THOUGHT, text="So it is.")
    whole = await llm.complete("hi")
    sim.push(thinking=THOUGHT, text="So it is.")
    kinds, thought, text = [], "", ""
    async with llm.stream("hi") as stream:
        async for event in stream.events():
            kinds.append(type(event))
            match event:
                case ThinkingDelta(piece):
                    thought += piece
                case TextDelta(piece):
                    text += piece
    assert (thought, text) == (THOUGHT, "So it is.")
    assert kinds.index(ThinkingDelta) < kinds.index(TextDelta)
    for response in (whole, stream.response):
        assert (response.thinking, response.content) == (THOUGHT, "So it is.")
    if provider != "ollama":  # It counts no thinking apart.
        usages = [response.usage for response in (whole, stream.response)]
        assert len({(usage.completion_tokens, usage.reasoning_tokens) for usage in usages}) == 1
        assert 0 < whole.usage.reasoning_tokens < whole.usage.completion_tokens
    sim.push(thinking=THOUGHT, text="So it is.")
    assert "".join([piece async for piece in llm.stream("hi")]) == "So it is."


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "ollama"])
async def test_a_model_that_is_asked_to_think_does(sim, provider):
    llm = sim.provider(provider)
    assert (await llm.complete("hi", reasoning="low")).thinking
    assert (await llm.complete("hi")).thinking is None


# ---- signatures


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
@pytest.mark.parametrize("form", ["run", "stream"])
async def test_tools_and_thinking_over_several_turns(sim, provider, form):
    """The simulator refuses what Anthropic and Gemini refuse: thinking that is missing or changed beside its calls."""
    llm = sim.provider(provider)
    for n in (1, 2):
        sim.push(thinking=f"{THOUGHT} {n}", text="Let me see.", tool_calls=[("add", '{"a": 1, "b": 2}')] * n)
    options = {"tools": [add], "reasoning": "low"}
    if form == "run":
        result = await llm.run("Add.", **options)
    else:
        async with llm.run_stream("Add.", **options) as stream:
            async for _ in stream.events():
                pass
        result = stream.result
    assert (result.rounds, result.response.thinking is not None) == (3, True)
    third = json.loads(sim.requests()[-1]["body"])
    if provider == "anthropic":
        blocks = [message["content"] for message in third["messages"] if message["role"] == "assistant"]
        assert [[block["type"] for block in content] for content in blocks] == [
            ["thinking", "text", "tool_use"],
            ["thinking", "text", "tool_use", "tool_use"],
        ]
        assert [content[0]["thinking"] for content in blocks] == [f"{THOUGHT} 1", f"{THOUGHT} 2"]
        assert all(content[0]["signature"] for content in blocks)
    else:
        parts = [content["parts"] for content in third["contents"] if content["role"] == "model"]
        signed = [["thoughtSignature" in part for part in content if "functionCall" in part] for content in parts]
        assert signed == [[True], [True, False]]


async def test_changed_or_missing_thinking_is_refused_by_the_simulator(sim):
    """So that the test above proves something."""
    llm = sim.provider("anthropic", retry=0)
    sim.push(thinking=THOUGHT, tool_calls=[("add", '{"a": 1, "b": 2}')])
    response = await llm.complete("Add.", tools=[add], reasoning="low")
    (call,) = response.tool_calls
    message = response.message.to_dict()
    for spoil, says in (
        (lambda parts: [part for part in parts if part["type"] != "thinking"], "Expected `thinking`"),
        (
            lambda parts: [{**part, "thinking": "other"} if part["type"] == "thinking" else part for part in parts],
            "Invalid `signature`",
        ),
    ):
        spoilt = {**message, "content": spoil(message["content"])}
        conversation = [ChatMessage.user("Add."), spoilt, ChatMessage.tool(call.id, 3)]
        with pytest.raises(InvalidRequestError, match=says):
            await llm.chat(conversation, tools=[add], reasoning="low")


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
async def test_conversations_survive_being_stored(sim, provider):
    """Through JSON and back, thinking and signatures are the same to the letter."""
    llm = sim.provider(provider)
    sim.push(thinking=THOUGHT, tool_calls=[("add", '{"a": 1, "b": 2}')])
    async with llm.stream("Add.", tools=[add], reasoning="low") as stream:
        events = [type(event) async for event in stream.events()]
    assert ToolCallStart in events
    response = stream.response
    (call,) = response.tool_calls
    stored = json.loads(json.dumps([response.message.to_dict(), ChatMessage.tool(call.id, 3, name="add").to_dict()]))
    told = [ChatMessage.user("Add."), response.message, ChatMessage.tool(call.id, 3, name="add")]
    again = [ChatMessage.user("Add."), *map(ChatMessage.from_dict, stored)]
    assert again[1:] == told[1:]
    encode = llm._core.encode
    assert encode(again, None, {"tools": [add]}) == encode(told, None, {"tools": [add]})
    assert (await llm.chat(again, tools=[add], reasoning="low")).content


def test_hidden_thinking_goes_back_untouched(sim):
    blocks = [
        {"type": "thinking", "thinking": "", "signature": "hidden=="},
        {"type": "redacted_thinking", "data": "opaque=="},
        {"type": "tool_use", "id": "t", "name": "add", "input": {"a": 1, "b": 2}},
    ]
    body = {"id": "m", "model": "c", "content": blocks, "stop_reason": "tool_use"}
    response = decode_chat("anthropic", json.dumps(body).encode())
    messages = [ChatMessage.user("Add."), response.message, ChatMessage.tool("t", 3)]
    _, sent_body = sim.provider("anthropic")._core.encode(messages, None, {})
    assert json.loads(sent_body)["messages"][1]["content"] == blocks


def test_signatures_of_gemini_stay_with_their_parts(sim):
    parts = [
        {"text": "hm", "thought": True},
        {"functionCall": {"id": "c1", "name": "add", "args": {"a": 1, "b": 2}}, "thoughtSignature": "one=="},
        {"functionCall": {"id": "c2", "name": "add", "args": {"a": 3, "b": 4}}},
        {"text": "and", "thoughtSignature": "two=="},
    ]
    body = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    response = decode_chat("gemini", json.dumps(body).encode())
    messages = [ChatMessage.user("Add."), response.message, ChatMessage.tool("c1", 3), ChatMessage.tool("c2", 7)]
    _, sent_body = sim.provider("gemini")._core.encode(messages, None, {})
    assert json.loads(sent_body)["contents"][1]["parts"] == parts
