"""`ChatMessage`, and the other forms in which people give messages."""

from __future__ import annotations

import copy
import enum
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgequake_llm import (
    AnthropicProvider,
    ChatMessage,
    GeminiProvider,
    InvalidRequestError,
    OllamaProvider,
    OpenAIProvider,
)

CLOSED = "http://127.0.0.1:9"


def body_of(provider, messages, **options):
    """The request's body as a call would send it."""
    return json.loads(provider._core.encode(messages, None, options)[1])


@pytest.fixture
def openai():
    return OpenAIProvider(api_key="k", base_url=CLOSED)


@pytest.fixture
def anthropic():
    return AnthropicProvider(api_key="k", base_url=CLOSED)


def test_roles():
    assert ChatMessage.system("s").role == "system"
    assert ChatMessage.user("u").role == "user"
    assert ChatMessage.assistant("a").role == "assistant"
    assert ChatMessage.tool("id", "t").role == "tool"
    assert ChatMessage("developer", "d").role == "developer"
    assert ChatMessage("user", "u") == ChatMessage.user("u")
    assert ChatMessage("user", "u") != ChatMessage("assistant", "u")

    class Role(str, enum.Enum):
        USER = "user"

    assert ChatMessage(Role.USER, "u").role == "user"


@pytest.mark.parametrize("role", ["bot", "", "User", "человек"])
def test_a_bad_role_is_refused_and_the_good_ones_named(role, openai):
    for attempt in (
        lambda: ChatMessage(role, "x"),
        lambda: ChatMessage.from_dict({"role": role, "content": "x"}),
        lambda: openai._core.encode([{"role": role, "content": "x"}]),
        lambda: openai._core.encode([{"role": role, "content": "x", "name": "n"}]),
    ):
        with pytest.raises(InvalidRequestError, match="system, developer, user, assistant or tool"):
            attempt()


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"content": "x"}, "needs a role"),
        ({"role": None, "content": "x"}, "needs a role"),
        ({"role": 5, "content": "x"}, "needs a role"),
        ({"role": "user"}, "no content"),
        ({"role": "user", "content": 5}, "text or a list"),
        ({"role": "user", "content": [5]}, "content part"),
        ({"role": "user", "content": [{"text": "x"}]}, "type"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "url"),
        ({"role": "user", "content": "caf\udce9"}, "lone surrogates"),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "name"),
        ({"role": "assistant", "tool_calls": ["f"]}, "tool call"),
        ({"role": "user", 5: "x"}, "keys"),
        ("hi", "str"),
        (5, "int"),
        (None, "NoneType"),
    ],
)
def test_a_bad_message_is_refused_with_what_is_wrong(message, words, openai):
    with pytest.raises(InvalidRequestError, match=words):
        openai._core.encode([ChatMessage.user("hi"), message])
    if isinstance(message, dict):
        with pytest.raises(InvalidRequestError, match=words):
            ChatMessage.from_dict(message)


@pytest.mark.parametrize(
    "arguments",
    [
        {"tool_calls": 5},
        {"tool_calls": [5]},
        {"tool_calls": [{"id": "1"}]},
        {"name": 5},
        {"name": "\udce9"},
        {"tool_call_id": 5},
        {"content": object()},
    ],
)
def test_wrong_types_of_arguments_are_bad_requests(arguments):
    with pytest.raises(InvalidRequestError):
        ChatMessage("assistant", **{"content": "x", **arguments})
    with pytest.raises(InvalidRequestError):
        ChatMessage(5, "x")
    with pytest.raises(InvalidRequestError):
        ChatMessage.user(5)
    with pytest.raises(InvalidRequestError):
        ChatMessage.from_dict([])


def test_messages_must_be_a_list_of_them(openai):
    for messages in (5, None, object()):
        with pytest.raises(InvalidRequestError, match="list of ChatMessage"):
            openai._core.encode(messages)
    with pytest.raises(InvalidRequestError, match="no message"):
        openai._core.encode([])


def test_any_iterable_of_messages_will_do(openai):
    expected = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    mixed = [ChatMessage.user("a"), {"role": "assistant", "content": "b"}, {"content": "c", "role": "user"}]
    for messages in (mixed, tuple(mixed), iter(mixed), (message for message in mixed)):
        assert body_of(openai, messages)["messages"] == expected
    assert body_of(openai, "a")["messages"] == expected[:1]
    assert body_of(openai, ChatMessage.user("a"))["messages"] == expected[:1]


def test_an_iterable_that_fails_raises_its_own_error(openai):
    def broken():
        yield ChatMessage.user("a")
        raise LookupError("history is gone")

    with pytest.raises(LookupError, match="history is gone"):
        openai._core.encode(broken())


def test_all_system_messages_are_kept_in_order(openai, anthropic):
    messages = [
        {"role": "system", "content": "first"},
        {"role": "user", "content": "hi"},
        {"role": "developer", "content": "second"},
    ]
    assert [m["content"] for m in body_of(openai, messages, system="zeroth")["messages"]] == [
        "zeroth",
        "first",
        "hi",
        "second",
    ]
    body = body_of(anthropic, messages, system="zeroth")
    assert [part["text"] for part in body["system"]] == ["zeroth", "first", "second"]
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    gemini = body_of(GeminiProvider(api_key="k", base_url=CLOSED), messages, system="zeroth")
    assert [part["text"] for part in gemini["systemInstruction"]["parts"]] == ["zeroth", "first", "second"]
    ollama = body_of(OllamaProvider(base_url=CLOSED), messages, system="zeroth")
    texts = "\n".join(m["content"] for m in ollama["messages"] if m["role"] == "system")
    assert [word for word in texts.split() if word in {"zeroth", "first", "second"}] == ["zeroth", "first", "second"]


def test_several_turns(openai, anthropic):
    turns = [ChatMessage.user("a"), ChatMessage.assistant("b"), ChatMessage.user("c")]
    assert [(m["role"], m["content"]) for m in body_of(openai, turns)["messages"]] == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]
    gemini = body_of(GeminiProvider(api_key="k", base_url=CLOSED), turns)
    assert [(m["role"], m["parts"]) for m in gemini["contents"]] == [
        ("user", [{"text": "a"}]),
        ("model", [{"text": "b"}]),
        ("user", [{"text": "c"}]),
    ]


def test_content_of_parts():
    message = ChatMessage.user(
        [
            {"type": "text", "text": "What is "},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "text", "text": "this?"},
        ]
    )
    assert message.content == "What is this?"
    assert [part["type"] for part in message.to_dict()["content"]] == ["text", "image_url", "text"]


def test_a_tool_call_and_its_result():
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    asking = ChatMessage("assistant", tool_calls=[call])
    assert asking.content == ""
    (made,) = asking.tool_calls
    assert (made.id, made.name, made.arguments) == ("call_1", "add", '{"a": 1, "b": 2}')
    assert made.parse() == {"a": 1, "b": 2}
    assert made.to_dict() == call
    assert ChatMessage("assistant", tool_calls=[made]) == asking
    answer = ChatMessage.tool("call_1", "3", name="add")
    assert (answer.content, answer.tool_call_id, answer.name, answer.tool_calls) == ("3", "call_1", "add", [])
    with pytest.raises(ValueError, match="Expecting"):
        ChatMessage("assistant", tool_calls=[{"name": "f", "arguments": "{"}]).tool_calls[0].parse()


def test_messages_are_immutable():
    message = ChatMessage.user("a")
    for name in ("role", "content", "other"):
        with pytest.raises(AttributeError):
            setattr(message, name, "x")
    with pytest.raises(TypeError):
        hash(message)


def test_a_long_repr_is_cut_and_keeps_to_whole_characters():
    text = repr(ChatMessage.user("é" * 100))
    assert text.startswith("ChatMessage(role='user', content=")
    assert text.count("é") == 60
    assert "…" in text
    assert "…" not in repr(ChatMessage.user("é" * 60))
    assert repr(ChatMessage.user("it's\n")) == """ChatMessage(role='user', content="it's\\n")"""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# Arguments as models write them: any layout, in any order, and sometimes no JSON at all.
arguments = st.one_of(
    st.builds(json.dumps, st.dictionaries(texts, json_values, max_size=3)),
    st.builds(lambda value: json.dumps(value, separators=(",", ":")), json_values),
    texts.filter(bool),
)
calls = st.builds(
    lambda identity, name, text: {"id": identity, "type": "function", "function": {"name": name, "arguments": text}},
    texts,
    texts.filter(bool),
    arguments,
)
part = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, texts),
    st.builds(lambda url: {"type": "image_url", "image_url": {"url": url}}, texts),
    st.builds(lambda value: {"type": "of_tomorrow", "value": value}, json_values),
)
messages = st.one_of(
    st.builds(ChatMessage, st.sampled_from(["system", "developer", "user", "assistant"]), texts),
    st.builds(ChatMessage, st.just("user"), st.lists(part, min_size=1, max_size=3), name=st.none() | texts),
    st.builds(ChatMessage, st.just("assistant"), st.none() | texts, tool_calls=st.lists(calls, max_size=3)),
    st.builds(ChatMessage.tool, texts, texts, name=st.none() | texts, is_error=st.booleans()),
)


@given(message=messages)
def test_a_message_survives_being_stored_sent_and_copied(message):
    as_json = json.loads(json.dumps(message.to_dict()))
    for again in (ChatMessage.from_dict(as_json), pickle.loads(pickle.dumps(message)), copy.deepcopy(message)):
        assert again == message
        assert again.to_dict() == message.to_dict()
        assert [call.arguments for call in again.tool_calls] == [call.arguments for call in message.tool_calls]


@given(text=texts.filter(lambda text: text.strip()))
def test_text_arrives_as_it_was_written(text):
    sent = {
        "openai": lambda body: body["messages"][-1]["content"],
        "anthropic": lambda body: body["messages"][-1]["content"],
        "gemini": lambda body: body["contents"][-1]["parts"][0]["text"],
        "ollama": lambda body: body["messages"][-1]["content"],
    }
    for cls in (OpenAIProvider, AnthropicProvider, GeminiProvider, OllamaProvider):
        provider = cls(api_key="k", base_url=CLOSED)
        assert sent[cls.name](body_of(provider, text)) == text
        assert sent[cls.name](body_of(provider, [{"role": "user", "content": text}])) == text
