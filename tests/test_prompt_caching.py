"""Prompt caching: marks where they belong, never more than four, and counters in the usage."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgequake_llm import (
    AnthropicProvider,
    CachePromptConfig,
    ChatMessage,
    ConfigurationError,
    GeminiProvider,
    InvalidRequestError,
    OllamaProvider,
    OpenAIProvider,
    UnsupportedOption,
    apply_cache_control,
)

LONG = "All work and no play makes a dull prompt. " * 400
TOOL = {"name": "f", "description": LONG, "parameters": {"type": "object"}}
MARK = {"type": "ephemeral"}


def body(provider, messages, **fields):
    return json.loads(provider._core.encode(messages, None, fields)[1])


def claude(**settings):
    return AnthropicProvider("k", model="claude-sonnet-4-5", **settings)


def marks(sent):
    """Every cache mark in a request's body: where, and for how long."""
    found = []

    def look(value, path):
        if isinstance(value, dict):
            if "cache_control" in value:
                found.append((path, value["cache_control"].get("ttl", "5m")))
            for key, inner in value.items():
                if key != "cache_control":
                    look(inner, f"{path}/{key}")
        elif isinstance(value, list):
            for n, inner in enumerate(value):
                look(inner, f"{path}/{n}")

    for part in ("tools", "system", "messages"):
        look(sent.get(part), part)
    return found


def talk(turns=3):
    roles = itertools.cycle(["user", "assistant"])
    return [
        {"role": "system", "content": LONG},
        *({"role": next(roles), "content": LONG} for _ in range(2 * turns - 1)),
    ]


def test_one_flag_marks_tools_system_prompt_and_the_last_two_turns():
    sent = body(claude(prompt_cache=True), talk(), tools=[TOOL])
    assert marks(sent) == [
        ("tools/0", "5m"),
        ("system/0", "5m"),
        ("messages/2/content/0", "5m"),
        ("messages/4/content/0", "5m"),
    ]
    assert sent["system"] == [{"type": "text", "text": LONG, "cache_control": MARK}]
    assert marks(body(claude(), talk(), tools=[TOOL])) == []
    assert marks(body(claude(prompt_cache=False), talk())) == []
    assert marks(body(claude(prompt_cache=CachePromptConfig(enabled=False)), talk())) == []


def test_one_hour_comes_before_five_minutes():
    sent = body(claude(prompt_cache=CachePromptConfig(ttl="1h")), talk(), tools=[TOOL])
    assert [ttl for _, ttl in marks(sent)] == ["1h", "1h", "5m", "5m"]
    assert sent["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    own = talk()
    own[3] = {
        "role": "user",
        "content": [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    }
    sent = body(claude(prompt_cache=True), own, tools=[TOOL])
    assert [ttl for _, ttl in marks(sent)] == ["1h", "1h", "1h", "5m"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (CachePromptConfig(turns_ttl="1h"), "1h"),
        (CachePromptConfig(ttl="2h"), "5m"),
        (CachePromptConfig(cache_last_turns=5), "4"),
        (CachePromptConfig(cache_last_turns=-1), "cache_last_turns"),
        ("yes", "CachePromptConfig"),
    ],
)
def test_a_config_without_meaning_is_refused_when_the_provider_is_made(config, says):
    with pytest.raises(ConfigurationError, match=says):
        claude(prompt_cache=config)


def test_apply_cache_control_as_in_the_guide():
    config = CachePromptConfig()
    given = [ChatMessage.system(LONG), ChatMessage.user(LONG)]
    messages = apply_cache_control(config, given)
    assert [message.to_dict()["cache_control"] for message in messages] == [MARK, MARK]
    assert all("cache_control" not in message.to_dict() for message in given), "the ones given stay as they are"
    assert marks(body(claude(), messages)) == [("system/0", "5m"), ("messages/0/content/0", "5m")]
    assert apply_cache_control(config, messages) == messages, "marking again changes nothing"
    assert apply_cache_control(CachePromptConfig(enabled=False), given) == given
    with pytest.raises(InvalidRequestError):
        apply_cache_control(config, [{"role": "nobody", "content": "x"}])


def test_marked_messages_survive_pickling_and_dicts():
    (message,) = apply_cache_control(CachePromptConfig(min_tokens=0), "hi")
    assert ChatMessage.from_dict(message.to_dict()) == message
    sent = body(claude(), [message.to_dict()])
    assert sent["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": MARK}]}]


def test_a_mark_stands_at_a_block_that_can_carry_it():
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    conversation = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": "t2"}]},
        {"role": "tool", "tool_call_id": "t1", "content": LONG},
        {"role": "tool", "tool_call_id": "t2", "content": LONG},
    ]
    sent = body(claude(prompt_cache=True), conversation)
    assert marks(sent) == [("messages/0/content/1", "5m"), ("messages/2/content/1", "5m")]
    assert sent["messages"][2]["content"][1]["type"] == "tool_result"
    # Given in Anthropic's own form, behind any kind of part.
    image = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}, "cache_control": MARK}
    assert marks(body(claude(), [{"role": "user", "content": [image]}])) == [("messages/0/content/0", "5m")]


def test_more_than_four_marks_are_refused_before_anything_is_sent():
    marked = {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": MARK}]}
    with pytest.raises(InvalidRequestError, match="9 cache marks, and 4 are allowed") as caught:
        body(claude(), [marked] * 9)
    assert caught.value.param == "cache_control"
    assert len(marks(body(claude(prompt_cache=True), [marked] * 4))) == 4
    late = {
        "role": "user",
        "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    }
    with pytest.raises(InvalidRequestError, match="1h stands behind one of 5m"):
        body(claude(), [marked, late])


def test_what_is_surely_too_short_is_not_marked():
    short = [{"role": "system", "content": "x" * 1000}, {"role": "user", "content": "y" * 1000}]
    assert marks(body(claude(prompt_cache=True), short)) == []
    haiku = AnthropicProvider("k", model="claude-haiku-4-5", prompt_cache=True)
    middling = [{"role": "system", "content": "x" * 6000}, {"role": "user", "content": "y"}]
    assert marks(body(haiku, middling)) == [], "4,096 tokens at least"
    assert marks(body(claude(prompt_cache=True), middling)) != [], "1,024 tokens at least"
    assert marks(body(haiku, middling, model="claude-opus-5")) != [], "the call's model counts"
    assert marks(body(claude(prompt_cache=CachePromptConfig(min_tokens=100)), short)) != []


_ROLES = st.sampled_from(["user", "assistant", "system"])
_MARKS = st.sampled_from([None, None, "5m", "1h"])
_CONFIG = st.builds(
    CachePromptConfig,
    cache_system_prompt=st.booleans(),
    cache_tools=st.booleans(),
    cache_last_turns=st.integers(0, 4),
    ttl=st.sampled_from(["5m", "1h"]),
    min_tokens=st.sampled_from([None, 0]),
)


@given(st.lists(st.tuples(_ROLES, _MARKS, st.booleans()), min_size=1, max_size=8), _CONFIG, st.booleans())
def test_whatever_is_marked_anthropic_takes_it(shape, config, tools):
    """An independent reading of the rules: at most four marks, in the order read no 1h behind 5m, nothing else changed."""

    def message(role, mark, long):
        text = {"type": "text", "text": LONG if long else "short"}
        control = {} if mark is None else {"cache_control": {"type": "ephemeral", "ttl": mark}}
        return {"role": role, "content": [{**text, **control}]}

    conversation = [*(message(*each) for each in shape), {"role": "user", "content": "and now?"}]
    fields = {"tools": [TOOL]} if tools else {}
    try:
        plain = body(claude(), conversation, **fields)
    except InvalidRequestError:
        return  # The caller's own marks are against the rules.
    sent = body(claude(prompt_cache=config), conversation, **fields)
    ttls = [ttl for _, ttl in marks(sent)]
    assert len(ttls) <= 4
    assert ttls == sorted(ttls), "1h before 5m"
    assert {place for place, _ in marks(plain)} <= {place for place, _ in marks(sent)}

    def bare(value):
        """Without marks, and texts as lists."""
        if isinstance(value, dict):
            return {key: bare(inner) for key, inner in value.items() if key != "cache_control"}
        return [bare(inner) for inner in value] if isinstance(value, list) else value

    def lists(request):
        for each in request["messages"]:
            if isinstance(each["content"], str):
                each["content"] = [{"type": "text", "text": each["content"]}]
        if isinstance(request.get("system"), str):
            request["system"] = [{"type": "text", "text": request["system"]}]
        return request

    assert lists(bare(sent)) == lists(bare(plain))


async def test_the_second_call_reads_what_the_first_one_wrote(sim):
    llm = sim.provider("anthropic", model="claude-sonnet-4-5", prompt_cache=True)
    conversation = [ChatMessage.system(LONG), ChatMessage.user("first question")]
    first = await llm.chat(conversation)
    assert first.usage.cached_tokens == 0
    assert first.usage.cache_write_tokens > len(LONG) // 5
    conversation += [first.message, ChatMessage.user("second question")]
    async with llm.stream(conversation) as stream:
        async for _ in stream:
            pass
    second = stream.response.usage
    assert second.cached_tokens == first.usage.cache_write_tokens
    assert 0 < second.cache_write_tokens < second.cached_tokens
    assert second.prompt_tokens >= second.cached_tokens + second.cache_write_tokens
    hour = sim.provider("anthropic", model="claude-sonnet-4-5", prompt_cache=CachePromptConfig(ttl="1h"))
    other = await hour.chat([ChatMessage.system(LONG + "!"), ChatMessage.user("x")])
    assert 0 < other.usage.cache_write_1h_tokens <= other.usage.cache_write_tokens


def test_openai_prompt_cache_key_and_cached_tokens(sim):
    assert body(OpenAIProvider("k"), "hi", prompt_cache_key="a")["prompt_cache_key"] == "a"
    keyed = OpenAIProvider("k", prompt_cache=CachePromptConfig(key="team"))
    assert body(keyed, "hi")["prompt_cache_key"] == "team"
    assert body(keyed, "hi", prompt_cache_key="mine")["prompt_cache_key"] == "mine"
    assert "prompt_cache_key" not in body(OpenAIProvider("k", prompt_cache=True), "hi")
    assert marks(body(keyed, talk())) == []
    llm = sim.provider("openai", prompt_cache=CachePromptConfig(key="team"))
    counts = [llm.sync.complete(LONG).usage.cached_tokens for _ in range(2)]
    assert counts[0] == 0
    assert counts[1] >= 1024
    assert counts[1] % 128 == 0


def test_openrouter_gets_marks_and_the_key():
    llm = OpenAIProvider.preset(
        "openrouter", "k", model="anthropic/claude-sonnet-4.5", prompt_cache=CachePromptConfig(key="s")
    )
    sent = body(llm, talk())
    assert [place for place, _ in marks(sent)] == [
        "messages/0/content/0",
        "messages/3/content/0",
        "messages/5/content/0",
    ]
    assert sent["prompt_cache_key"] == "s"


@pytest.mark.parametrize("option", ["prompt_cache_key", "cached_content"])
def test_who_has_no_such_thing_says_what_works_instead(option):
    refusing = {
        "prompt_cache_key": [AnthropicProvider("k"), GeminiProvider("k"), OllamaProvider()],
        "cached_content": [AnthropicProvider("k"), OpenAIProvider("k"), OllamaProvider()],
    }
    for llm in refusing[option]:
        with pytest.raises(UnsupportedOption, match=option) as caught:
            body(llm, "hi", **{option: "x"})
        assert caught.value.provider == llm.name


def test_marks_do_not_change_what_others_get():
    messages = apply_cache_control(CachePromptConfig(min_tokens=0), [ChatMessage.system("s"), ChatMessage.user("u")])
    plain = [ChatMessage.system("s"), ChatMessage.user("u")]
    for llm in (OpenAIProvider("k"), GeminiProvider("k"), OllamaProvider()):
        assert body(llm, messages) == body(llm, plain)
