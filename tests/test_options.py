"""Options: everything wrong with them is said before anything is sent, by every provider and in every kind of call."""

from __future__ import annotations

import copy
import datetime as dt
import json
import math
import pickle
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgequake_llm
from edgequake_llm import (
    CompletionOptions,
    ConfigurationError,
    HTTPConfig,
    InvalidRequestError,
    LLMError,
    OpenAIProvider,
    ProviderFactory,
    RetryPolicy,
    Simulator,
    Timeouts,
    UnsupportedOption,
)

# (option, bad value, what the message must tell besides the option's name)
BAD = [
    ("max_tokens", -1, "-1"),
    ("max_tokens", 0, "at least 1"),
    ("max_tokens", 2.5, "float"),
    ("max_tokens", "100", "str"),
    ("max_tokens", True, "bool"),
    ("max_tokens", 10**30, "whole number"),
    ("temperature", math.nan, "NaN"),
    ("temperature", math.inf, "inf"),
    ("temperature", -math.inf, "inf"),
    ("temperature", -0.1, "-0.1"),
    ("temperature", 2.1, "2.1"),
    ("temperature", "hot", "str"),
    ("temperature", True, "bool"),
    ("temperature", 10**400, "number"),
    ("top_p", 1.01, "1.01"),
    ("top_p", math.nan, "NaN"),
    ("top_k", -1, "-1"),
    ("top_k", 1.0, "float"),
    ("stop", 5, "int"),
    ("stop", [1], "int"),
    ("stop", ["END", ""], "empty"),
    ("stop", b"END", "bytes"),
    ("stop", {"END": 1}, "dict"),
    ("seed", 1.5, "float"),
    ("seed", 2**63, "64 bits"),
    ("presence_penalty", 2.5, "2.5"),
    ("frequency_penalty", -3, "-3"),
    ("user", 7, "int"),
    ("metadata", "a=b", "dict"),
    ("metadata", {"a": 1}, "int"),
    ("metadata", {1: "a"}, "int"),
    ("tools", 7, "list of tools"),
    ("tools", [{"name": "f"}, 7], "tools[1] must be a function"),
    ("tools", [{"description": "nameless"}], "name"),
    ("tool_choice", 7, "auto"),
    ("tool_choice", "no_such_tool", "no_such_tool"),
    ("parallel_tool_calls", 1, "int"),
    ("response_format", "xml", "json"),
    ("reasoning", -1, "budget"),
    ("extra", [1], "dict"),
    ("extra", {"x": math.nan}, "NaN"),
    ("extra", {"x": object()}, "object"),
    ("extra", {1: "x"}, "keys"),
    ("model", "", "empty"),
    ("model", 5, "int"),
    ("system", 5, "int"),
    ("timeout", 0, "more than 0"),
    ("timeout", True, "bool"),
    ("timeout", -1, "more than 0"),
    ("timeout", math.nan, "more than 0"),
    ("timeout", "5", "str"),
    ("timeout", 10**400, "number"),
    ("timeout", Timeouts(idle=-1), "Timeouts.idle"),
    ("extra_headers", "x: y", "dict"),
    ("extra_headers", {"x": 5}, "header"),
]


def says(error: BaseException, *words: str) -> None:
    for word in words:
        assert word in str(error), f"{word!r} is not in {error}"


@pytest.mark.parametrize(("name", "value", "word"), BAD, ids=[f"{name}={str(value)[:20]}" for name, value, _ in BAD])
@pytest.mark.parametrize("given_as", ["keyword", "options", "dict"])
async def test_bad_values_are_refused_in_every_form(name, value, word, given_as):
    with Simulator() as sim:
        llm = sim.provider("openai")
        if given_as == "keyword":
            arguments, keywords = (), {name: value}
        else:
            arguments, keywords = (
                ((CompletionOptions(**{name: value}) if given_as == "options" else {name: value}),),
                {},
            )
        subject = {"extra": "", "extra_headers": "header", "tools": "tool", "timeout": "imeout"}.get(name, name)
        for call in (llm.complete, llm.chat):
            with pytest.raises(InvalidRequestError) as caught:
                await call("hi", *arguments, **keywords)
            says(caught.value, subject, word)
        with pytest.raises(InvalidRequestError) as caught:
            llm.stream("hi", *arguments, **keywords)
        says(caught.value, subject, word)
        for call in (llm.sync.complete, llm.sync.chat, llm.sync.stream):
            with pytest.raises(InvalidRequestError) as caught:
                call("hi", *arguments, **keywords)
            says(caught.value, subject, word)
        assert sim.stats().connections == 0


async def test_an_empty_prompt_is_refused(provider_name):
    with Simulator() as sim:
        llm = sim.provider(provider_name)
        for prompt in ("", " \n\t", [], [{"role": "user", "content": ""}], [{"role": "user", "content": " "}]):
            with pytest.raises(InvalidRequestError, match=r"empty|no message"):
                await llm.chat(prompt)
        with pytest.raises(InvalidRequestError, match="prompt is empty"):
            await llm.complete("")
        with pytest.raises(InvalidRequestError, match="use chat"):
            await llm.complete([{"role": "user", "content": "hi"}])
        with pytest.raises(InvalidRequestError, match="add a user message"):
            await llm.chat([{"role": "system", "content": "Be brief."}])
        with pytest.raises(InvalidRequestError, match="lone surrogates"):
            await llm.complete("caf\udce9")
        assert sim.stats().connections == 0


async def test_an_unknown_option_is_refused_with_the_nearest_name(provider_name):
    with Simulator() as sim:
        llm = sim.provider(provider_name)
        for given_name, meant in [
            ("temprature", "temperature"),
            ("max_token", "max_tokens"),
            ("maxtokens", "max_tokens"),
            ("stops", "stop"),
            ("top-p", "top_p"),
            ("tool_choise", "tool_choice"),
            ("Seed", "seed"),
        ]:
            with pytest.raises(InvalidRequestError, match=f"did you mean {meant}\\?") as caught:
                await llm.complete("hi", **{given_name: 1})
            says(caught.value, given_name)
        with pytest.raises(InvalidRequestError, match="extra=") as caught:
            await llm.complete("hi", logit_bias={})
        says(caught.value, "logit_bias")
        assert sim.stats().connections == 0


# What a provider does not have: (provider, options, name in the message, the nearest thing that works).
UNSUPPORTED = [
    ("openai", {"top_k": 5}, "top_k", "extra"),
    ("openai", {"reasoning": 2048}, "reasoning", '"low"'),
    ("anthropic", {"seed": 1}, "seed", "temperature=0"),
    ("anthropic", {"presence_penalty": 0.5}, "presence_penalty", "temperature"),
    ("anthropic", {"frequency_penalty": 0.5}, "frequency_penalty", "temperature"),
    ("gemini", {"user": "u1"}, "user", "leave it out"),
    ("anthropic", {"metadata": {"user_id": "u", "team": "a"}}, "metadata", "user="),
    ("gemini", {"metadata": {"team": "a"}}, "metadata", "labels"),
    ("ollama", {"metadata": {"team": "a"}}, "metadata", "extra_headers"),
    ("gemini", {"parallel_tool_calls": False}, "parallel_tool_calls", "first"),
    ("ollama", {"user": "u1"}, "user", "leave it out"),
    ("ollama", {"parallel_tool_calls": False}, "parallel_tool_calls", "first"),
    ("ollama", {"reasoning": 2048}, "reasoning", "effort"),
    ("ollama", {"tools": [{"name": "f"}], "tool_choice": "required"}, "tool_choice", "response_format"),
]


@pytest.mark.parametrize(("provider_name", "options", "name", "instead"), UNSUPPORTED)
async def test_what_a_provider_lacks_is_refused_with_what_works(provider_name, options, name, instead):
    with Simulator() as sim:
        llm = sim.provider(provider_name)
        with pytest.raises(UnsupportedOption) as caught:
            await llm.complete("hi", **options)
        says(caught.value, provider_name, name, instead)
        assert caught.value.provider == provider_name
        assert caught.value.param
        assert not caught.value.retryable
        assert caught.value.attempts == 0
        with pytest.raises(UnsupportedOption):
            async for _ in llm.stream("hi", **options):
                pass
        with pytest.raises(UnsupportedOption):
            llm.sync.complete("hi", **options)
        assert sim.stats().connections == 0


async def test_anthropic_takes_temperature_up_to_1():
    with Simulator() as sim:
        with pytest.raises(InvalidRequestError, match="from 0 to 1") as caught:
            await sim.provider("anthropic").complete("hi", temperature=1.5)
        assert caught.value.provider == "anthropic"
        assert sim.stats().connections == 0


async def test_keywords_win_over_options_and_none_sends_nothing():
    with Simulator(record=True) as sim:
        llm = sim.provider("openai")
        await llm.complete("hi", CompletionOptions(max_tokens=5, temperature=0.5, seed=1), max_tokens=7, seed=None)
        body = json.loads(sim.requests()[0]["body"])
        assert body["max_tokens" if "max_tokens" in body else "max_completion_tokens"] == 7
        assert body["temperature"] == 0.5
        assert body["seed"] == 1
        assert "top_p" not in body
        assert "stop" not in body
        assert "tools" not in body


@pytest.mark.parametrize("stream", [False, True])
async def test_every_option_reaches_the_request(provider_name, stream):
    """Options accepted and then ignored are the field's commonest fault: each must show in the bytes, streamed or not."""
    unsupported = {
        "openai": {"top_k"},
        "anthropic": {"seed", "presence_penalty", "frequency_penalty", "metadata"},
        "gemini": {"user", "metadata"},
        "ollama": {"user", "metadata"},
    }
    marked = {
        "max_tokens": (4321, "4321"),
        "temperature": (0.123, "0.123"),
        "top_p": (0.456, "0.456"),
        "top_k": (789, "789"),
        "stop": ("STOPHERE", "STOPHERE"),
        "seed": (987654, "987654"),
        "presence_penalty": (0.321, "0.321"),
        "frequency_penalty": (0.654, "0.654"),
        "user": ("user-4711", "user-4711"),
        "metadata": ({"team": "team-4711"}, "team-4711"),
        "model": ("model-4711", "model-4711"),
        "system": ("Be brief 4711.", "Be brief 4711."),
        "response_format": ({"type": "object", "properties": {"p4711": {"type": "string"}}}, "p4711"),
        "tools": ([{"name": "tool_4711", "parameters": {"type": "object"}}], "tool_4711"),
        "extra": ({"field_4711": 1}, "field_4711"),
    }
    with Simulator() as sim:
        llm = sim.provider(provider_name)
        for name, (value, mark) in marked.items():
            if name in unsupported[provider_name]:
                continue
            path, body = llm._core.encode("hi", None, {name: value}, stream=stream)
            assert mark in path + body.decode(), name
        together = {name: value for name, (value, _) in marked.items() if name not in unsupported[provider_name]}
        path, body = llm._core.encode("hi", None, together, stream=stream)
        for name in together:
            assert marked[name][1] in path + body.decode(), name


async def test_headers_and_timeouts_of_one_call():
    with Simulator(record=True) as sim:
        llm = sim.provider("openai", headers={"x-tenant": "a"})
        await llm.complete("hi", extra_headers=types.MappingProxyType({"x-tenant": "b", "x-trace": "1"}), timeout=30)
        await llm.complete("hi", timeout=dt.timedelta(seconds=30))
        await llm.complete("hi", timeout=Timeouts(total=30))
        first, second, _ = (request["headers"] for request in sim.requests())
        assert (first["x-tenant"], first["x-trace"]) == ("b", "1")
        assert second["x-tenant"] == "a"
        assert "x-trace" not in second


async def test_any_mapping_is_a_mapping():
    with Simulator(record=True) as sim:
        llm = sim.provider("openai")
        frozen = types.MappingProxyType
        await llm.chat(
            [frozen({"role": "user", "content": "hi"})],
            frozen({"max_tokens": 5, "extra": frozen({"store": True})}),
        )
        await llm.chat(frozen({"role": "user", "content": "hi"}))
        assert json.loads(sim.requests()[0]["body"])["store"] is True
        assert json.loads(sim.requests()[1]["body"])["messages"] == [{"role": "user", "content": "hi"}]


async def test_numbers_of_numpy_are_numbers():
    with Simulator(record=True) as sim:
        await sim.provider("openai").complete(
            "hi", seed=np.int64(3), temperature=np.float32(0.5), top_p=np.float64(0.25)
        )
        body = json.loads(sim.requests()[0]["body"])
        assert (body["seed"], body["temperature"], body["top_p"]) == (3, 0.5, 0.25)


async def test_a_huge_timeout_is_as_good_as_none():
    with Simulator() as sim:
        for seconds in (1e9, 1e18):
            assert (await sim.provider("openai", timeout=seconds).complete("hi", timeout=seconds)).content
            assert (await sim.provider("openai", http=HTTPConfig(keep_alive=seconds)).complete("hi")).content
            assert [text async for text in sim.provider("openai").stream("hi", timeout=Timeouts(idle=seconds))]


@given(
    name=st.sampled_from(["max_tokens", "temperature", "top_p", "top_k", "seed", "presence_penalty", "timeout"]),
    value=st.one_of(st.floats(), st.integers(), st.text(max_size=3), st.booleans(), st.binary(max_size=3)),
)
def test_no_value_raises_anything_but_an_llm_error(name, value):
    llm = OpenAIProvider(api_key="k", base_url="http://127.0.0.1:9")
    try:
        llm._core.encode("hi", None, {name: value})
    except LLMError as error:
        assert name in str(error)


# The settings of a provider: (settings, words of the message).
BAD_SETTINGS = [
    ({"base_url": "not a url"}, ["base URL"]),
    ({"base_url": "api.example.com/v1"}, ["https://"]),
    ({"base_url": "ftp://api.example.com"}, ["https://"]),
    ({"base_url": 5}, ["base_url", "int"]),
    ({"api_key": 5}, ["api_key", "int"]),
    ({"api_key": "two\nlines"}, ["line break"]),
    ({"api_key": "caf\u00e9 \u2603"}, ["cannot be sent"]),
    ({"model": 5}, ["model", "int"]),
    ({"embedding_model": 5}, ["embedding_model", "int"]),
    ({"headers": {"a b": "c"}}, ["header name"]),
    ({"headers": {"a": "b\r\nc: d"}}, ["line break"]),
    ({"headers": ["a"]}, ["headers"]),
    ({"headers": {"a": 5}}, ["header", "int"]),
    ({"timeout": 0}, ["more than 0"]),
    ({"timeout": "5"}, ["Timeouts.total", "str"]),
    ({"timeout": Timeouts(connect=math.nan)}, ["Timeouts.connect"]),
    ({"retry": -1}, ["max_retries", "-1"]),
    ({"retry": 1.5}, ["max_retries", "float"]),
    ({"retry": "3"}, ["max_retries", "str"]),
    ({"retry": RetryPolicy(base_delay=-1)}, ["RetryPolicy.base_delay"]),
    ({"http": HTTPConfig(protocol="http3")}, ["protocol", "http3"]),
    ({"http": HTTPConfig(proxy="gopher://proxy")}, ["proxy"]),
    ({"http": HTTPConfig(proxy=5)}, ["proxy", "int"]),
    ({"http": HTTPConfig(proxy=True)}, ["proxy", "bool"]),
    ({"http": HTTPConfig(ca_pem=b"no certificate")}, ["certificate"]),
    ({"http": HTTPConfig(ca_pem="text")}, ["ca_pem"]),
    ({"http": HTTPConfig(keep_alive=-1)}, ["keep_alive"]),
    ({"http": 5}, ["http", "int"]),
]


@pytest.mark.parametrize(("settings", "words"), BAD_SETTINGS, ids=[str(settings)[:60] for settings, _ in BAD_SETTINGS])
def test_bad_settings_are_refused_when_the_provider_is_made(provider_name, settings, words):
    with pytest.raises(LLMError) as caught:
        ProviderFactory.create(provider_name, **{"api_key": "k", **settings})
    assert isinstance(caught.value, (ConfigurationError, InvalidRequestError))
    assert isinstance(caught.value, ValueError)
    says(caught.value, *words)


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("modle", "did you mean model?"),
        ("timeouts", "did you mean timeout?"),
        ("organization", "it has api_key, api, model, embedding_model, base_url, headers, timeout, retry, http,"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(setting, hint):
    for make in (OpenAIProvider, lambda key, **settings: OpenAIProvider.preset("groq", key, **settings)):
        with pytest.raises(TypeError, match=f"^OpenAIProvider has no setting '{setting}'") as caught:
            make("k", **{setting: "x"})
        assert hint in str(caught.value)


def test_retry_may_wait_for_no_time():
    OpenAIProvider(api_key="k", retry=RetryPolicy(base_delay=0, max_delay=0, max_retry_after=0))
    OpenAIProvider(api_key="k", retry=0)


class TestValueObjects:
    def test_they_are_values(self):
        options = CompletionOptions(max_tokens=5, stop=("a",))
        assert options == CompletionOptions(max_tokens=5, stop=("a",))
        assert options != CompletionOptions(max_tokens=6, stop=("a",))
        assert hash(options) == hash(CompletionOptions(max_tokens=5, stop=("a",)))
        assert options.replace(max_tokens=6).max_tokens == 6
        assert options.max_tokens == 5
        assert pickle.loads(pickle.dumps(options)) == options
        assert copy.deepcopy(options) == options
        assert Timeouts(connect=1) != RetryPolicy(max_retries=1)

    def test_they_are_frozen(self):
        options = CompletionOptions()
        with pytest.raises(AttributeError, match=r"replace\(max_tokens"):
            options.max_tokens = 5
        with pytest.raises(AttributeError):
            del options.max_tokens
        with pytest.raises(AttributeError):
            Timeouts().other = 5

    def test_a_wrong_field_is_refused_at_once(self):
        with pytest.raises(TypeError, match="temprature"):
            CompletionOptions(temprature=0.5)
        with pytest.raises(TypeError, match="twice"):
            CompletionOptions(5, max_tokens=5)
        with pytest.raises(TypeError, match="at most"):
            Timeouts(1, 2, 3, 4, 5)

    def test_they_match_by_position(self):
        match Timeouts(1, 2, 3, 4):
            case Timeouts(connect, first_token, idle, total):
                assert (connect, first_token, idle, total) == (1, 2, 3, 4)

    def test_a_class_of_ones_own_keeps_the_fields(self):
        class Mine(CompletionOptions):
            """Options with defaults of one's own."""

            temperature: float | None = 0.25

        class Bare(CompletionOptions):
            """Nothing changed."""

        assert Bare(max_tokens=5).max_tokens == 5
        assert Mine(max_tokens=5) == Mine(max_tokens=5)
        assert Mine(max_tokens=5) != Mine(max_tokens=6)
        llm = OpenAIProvider(api_key="k", base_url="http://127.0.0.1:9")
        body = json.loads(llm._core.encode("hi", Mine(max_tokens=5))[1])
        assert body["temperature"] == 0.25

    @pytest.mark.parametrize("kind", ["CompletionOptions", "Timeouts", "RetryPolicy", "HTTPConfig"])
    def test_repr_makes_the_same_value(self, kind):
        value = getattr(edgequake_llm, kind)()
        assert eval(repr(value), vars(edgequake_llm)) == value


async def test_a_tool_that_is_none_is_refused(llm, sim):
    with pytest.raises(ValueError, match="tool"):
        await llm.complete("hi", tools=[7])
    assert sim.stats().requests == 0
