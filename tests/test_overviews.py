"""The tables that set providers side by side (tools, structured output, reasoning, attribution) say what is sent."""

from __future__ import annotations

import json
import pathlib

import pytest

from edgequake_llm import (
    AnthropicProvider,
    BedrockProvider,
    ChatMessage,
    ContentPart,
    GeminiProvider,
    OllamaProvider,
    OpenAIProvider,
    UnsupportedOption,
    _core,
)
from support.pages import code, table

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"
TOOLS = table((DOCS / "tools.md").read_text(), "On the wire")
FORMS = table((DOCS / "structured-output.md").read_text(), "On the wire")
WHO = table((DOCS / "attribution.md").read_text(), "Who a request is for")
ROLES = table((DOCS / "conversations.md").read_text(), "Conversations")
REASONING = table((DOCS / "content-parts.md").read_text(), "Reasoning")

TOOL = {"name": "now"}
PICTURE = ContentPart.image(b"\x89PNG\r\n\x1a\n" + bytes(8))


def sent(llm, messages="Hi", **options):
    """The text of a body, or the error in place of it."""
    try:
        return llm._core.encode(messages, None, options)[1].decode()
    except UnsupportedOption as error:
        return type(error).__name__


def keys_and_words(value):
    """Every key and every text of a JSON value."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_and_words, value.values()))
    if isinstance(value, list):
        return set().union(*map(keys_and_words, value))
    return {value} if isinstance(value, str) else set()


def words(body):
    return {body} if body == "UnsupportedOption" else keys_and_words(json.loads(body))


def result(**fields):
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": {"name": "now"}}]}
    return [ChatMessage.user("Hi"), call, ChatMessage.tool("a", **fields)]


SHOWN = {
    '`tool_choice="auto"`, `"none"`': [{"tools": [TOOL], "tool_choice": choice} for choice in ("auto", "none")],
    '`"required"`': [{"tools": [TOOL], "tool_choice": "required"}],
    "a tool": [{"tools": [TOOL], "tool_choice": "now"}],
    "`parallel_tool_calls=False`": [{"tools": [TOOL], "parallel_tool_calls": False}],
    "`strict`": [{"tools": [{**TOOL, "strict": True}]}],
    "a result's `is_error`": [{"messages": result(content="no", is_error=True)}],
    "pictures in a result": [{"messages": result(content=[PICTURE])}],
}


@pytest.mark.parametrize("provider", ["OpenAI", "Anthropic", "Gemini", "Ollama"])
@pytest.mark.parametrize("row", TOOLS, ids=lambda row: row[""])
def test_tools(row, provider, sim):
    assert [row[""] for row in TOOLS] == list(SHOWN)
    llm = sim.provider(provider.lower())
    found = set().union(*(words(sent(llm, **example)) for example in SHOWN[row[""]]))
    says = row[provider]
    if says.startswith("same"):
        expected = {word.strip('"').split("=")[0] for word in code(row[""])} or {"image"}
        if row[""].startswith('`"req'):
            expected = {"required"}
        assert expected <= found
    elif says.startswith('`"none"` sends no tools'):
        assert "tools" not in words(sent(llm, tools=[TOOL], tool_choice="none"))
        assert "tools" in words(sent(llm, tools=[TOOL], tool_choice="auto"))
    elif says.startswith("–"):
        assert not {"is_error", "error"} & found
    elif code(says):
        assert {word for word in code(says) if word != "result"} <= found
        if "in place of" in says:
            assert "result" not in found
    else:
        assert {"image_url", "inlineData"} & found, says
    assert ("UnsupportedOption" in found) == ("UnsupportedOption" in says)


MODELS = {
    "OpenAI": [("openai", None)],
    "Anthropic, 4.5 and later": [("anthropic", "claude-haiku-4-5"), ("anthropic", "claude-opus-4-7")],
    "Anthropic before, and for open or recursive schemas": [("anthropic", "claude-3-7-sonnet-latest")],
    "Gemini": [("gemini", None)],
    "Ollama": [("ollama", None)],
    "Anthropic up to 4.5": [("anthropic", "claude-3-7-sonnet-latest"), ("anthropic", "claude-haiku-4-5")],
    "Anthropic 4.6": [("anthropic", "claude-sonnet-4-6")],
    "Anthropic 4.7 and later": [("anthropic", "claude-opus-4-7"), ("anthropic", "claude-opus-5")],
    "Gemini 2.5": [("gemini", "gemini-2.5-flash")],
    "Gemini 3": [("gemini", "gemini-3-pro-preview")],
}


@pytest.mark.parametrize("row", FORMS, ids=lambda row: row[""])
@pytest.mark.parametrize(("column", "form"), [("with a schema", list[int]), ('`"json"`', "json")])
def test_forms(row, column, form, sim):
    for provider, model in MODELS[row[""]]:
        found = words(sent(sim.provider(provider), model=model, response_format=form))
        says = row["with a schema"] if row[column] == "the same" else row[column]
        if "tool that must be called" in says:
            assert "edgequake_answer_in_json" in found
        else:
            assert set(code(says)[0].split(".")) <= found
            assert "edgequake_answer_in_json" not in found
    if row[""].startswith("Anthropic before"):
        found = words(sent(sim.provider("anthropic"), response_format={"type": "object", "additionalProperties": {}}))
        assert "edgequake_answer_in_json" in found


@pytest.mark.parametrize("n", range(len(REASONING)), ids=[row[""] for row in REASONING])
@pytest.mark.parametrize(("column", "reasoning"), [("an effort", ["low", "medium", "high"]), ("a budget", [2000])])
def test_reasoning(n, column, reasoning, sim):
    row = REASONING[n]
    says = row[column]
    if says.startswith("the same"):
        says = REASONING[n - 1][column]
    for provider, model in MODELS[row[""]]:
        bodies = [sent(sim.provider(provider), model=model, reasoning=given) for given in reasoning]
        for body in bodies:
            found = words(body)
            named = [word for word in code(says) if not word.startswith("max_tokens")]
            expected = {part for word in named for part in word.replace(": ", ".").split(".")}
            assert expected <= found, body
        if "1,024, 8,192 or 24,576" in says:
            assert [number for number in (1024, 8192, 24576) if str(number) in "".join(bodies)] == [1024, 8192, 24576]
        if "shown" in row[column]:
            assert all("summarized" in body for body in bodies)


def test_reasoning_true(sim):
    switch = {"anthropic": ["claude-sonnet-4-6", "claude-opus-4-7"], "gemini": [None], "ollama": [None]}
    for provider, models in switch.items():
        for model in models:
            body = sent(sim.provider(provider), model=model, reasoning=True)
            assert "budget" not in body.lower()
            assert {"thinking", "thinkingConfig", "think"} & words(body)
    earlier = [sent(sim.provider("anthropic"), model="claude-haiku-4-5", reasoning=given) for given in (True, "medium")]
    assert earlier[0] == earlier[1]
    assert sent(sim.provider("openai"), reasoning=True) == "UnsupportedOption"


def preset(name):
    return OpenAIProvider.preset(name, "k", base_url="http://localhost/v1", model="m")


PROVIDERS = {
    "OpenAI (chat)": [OpenAIProvider("k")],
    "OpenAI (Responses)": [OpenAIProvider("k", api="responses")],
    "Azure, OpenRouter": [preset("azure"), preset("openrouter")],
    "Mistral": [preset("mistral")],
    "other compatible servers": [
        preset(name) for name in _core.preset_names() if name not in {"azure", "openrouter", "mistral"}
    ],
    "Anthropic": [AnthropicProvider("k")],
    "Gemini": [GeminiProvider("k")],
    "Ollama": [OllamaProvider()],
    "Bedrock": [BedrockProvider("k", region="us-east-1")],
}


@pytest.mark.parametrize("row", WHO, ids=lambda row: row["provider"])
@pytest.mark.parametrize(
    ("column", "option"), [("`user=`", {"user": "u1"}), ("`metadata=`", {"metadata": {"user_id": "u1"}})]
)
def test_who_a_request_is_for(row, column, option):
    assert [row["provider"] for row in WHO] == list(PROVIDERS)
    says = row[column]
    for llm in PROVIDERS[row["provider"]]:
        body = sent(llm, **option)
        if says.startswith("–"):
            assert body == "UnsupportedOption", llm
            continue
        place = json.loads(body)
        for name in code(says)[0].split("."):
            place = place.get("metadata", place)[name] if name == "user_id" else place[name]
        assert place in ("u1", {"user_id": "u1"})


TALK = [
    {"role": "system", "content": "in system"},
    {"role": "developer", "content": "in developer"},
    {"role": "user", "content": "in user", "name": "ann"},
    {"role": "assistant", "content": "in assistant", "tool_calls": [{"id": "a", "function": {"name": "now"}}]},
    {"role": "tool", "tool_call_id": "a", "content": "in tool"},
]


def holding(value, text):
    """The objects around a text in JSON, the innermost last."""
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            found = holding(inner, text)
            if found is not None:
                return [value, *found] if isinstance(value, dict) else found
        return None
    return [] if value == text else None


@pytest.mark.parametrize("row", ROLES, ids=lambda row: row["role"])
@pytest.mark.parametrize("column", ["OpenAI (chat)", "OpenAI (Responses)", "Anthropic", "Gemini", "Ollama"])
def test_roles(row, column):
    assert [row["role"] for row in ROLES] == [f"`{message['role']}`" for message in TALK]
    [llm] = PROVIDERS[column]
    body = json.loads(sent(llm, TALK))
    around = holding(body, f"in {code(row['role'])[0]}")
    says = code(row[column])
    if row[column].startswith("the field"):
        assert holding(body[says[0]], f"in {code(row['role'])[0]}") is not None
        return
    kinds = {value for one in around for key, value in one.items() if key in {"role", "type"}}
    kinds |= {"functionResponse"} if any("functionResponse" in one for one in around) else set()
    assert set(says) <= kinds
    if row["role"] == "`user`":
        assert any(one.get("name") == "ann" for one in around) == (column == "OpenAI (chat)")


def test_system_messages_keep_their_order():
    for llms in PROVIDERS.values():
        body = sent(llms[0], TALK[:3], system="in front")
        places = [body.index(text) for text in ("in front", "in system", "in developer", "in user")]
        assert places == sorted(places)
