"""The pages of the providers cannot lie: each row of each table in docs/providers is tried.

A row of options holds an example and what is sent because of it: the JSON that it adds to the body (`…` is anything), a
header (`name: value`), a path (`POST /path`), nothing, or the error that it raises.
"""

from __future__ import annotations

import inspect
import json
import pathlib
import re

import pytest

import edgequake_llm
from edgequake_llm import (
    AnthropicProvider,
    BedrockProvider,
    CachePromptConfig,
    ChatMessage,
    CompletionOptions,
    ContentPart,
    GeminiProvider,
    HTTPConfig,
    LLMError,
    OllamaProvider,
    OpenAIProvider,
    Provider,
    RetryPolicy,
    Simulator,
    UnsupportedOption,
    _core,
)
from edgequake_llm.providers._base import _retry_policy, _timeouts
from support.converse import ConverseServer
from support.pages import code, fits, keys, patch, section, shown, table, tables

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python/edgequake_llm"
NAMES = {name: getattr(edgequake_llm, name) for name in edgequake_llm.__all__}

# The page, whose it is, which of its APIs (a suffix of headings, and settings), by the name that tests are shown under.
PAGES = {
    "openai": ("openai.md", OpenAIProvider, "chat completions", {}),
    "responses": ("openai.md", OpenAIProvider, "Responses", {"api": "responses"}),
    "anthropic": ("anthropic.md", AnthropicProvider, "", {}),
    "gemini": ("gemini.md", GeminiProvider, "", {}),
    "ollama": ("ollama.md", OllamaProvider, "", {}),
    "bedrock": ("bedrock.md", BedrockProvider, "", {}),
}

# How the pages call the types of the annotations.
TYPES = {
    "int": "`int`",
    "float": "`float`",
    "str": "`str`",
    "bool": "`bool`",
    "str | Sequence[str]": "`str` or a list of them",
    "Sequence[ToolLike]": "list of [tools](../tools.md)",
    "ToolChoice": "`str` or a tool",
    "Format": "`str`, schema or [type](../structured-output.md)",
    "str | bool | int | Mapping[str, Any]": "`str`, `bool`, `int` or `dict`",
    "Mapping[str, Any]": "`dict`",
    "Mapping[str, str]": "`dict`",
    "Seconds | Timeouts": "seconds or `Timeouts`",
    "RetryPolicy | int": "`RetryPolicy` or `int`",
    "HTTPConfig": "`HTTPConfig`",
    "CachePromptConfig | bool": "`CachePromptConfig` or `bool`",
    "Literal['chat', 'responses']": '`"chat"` or `"responses"`',
}

CALL_FIELDS = {
    name: kind for name, kind in CompletionOptions.__annotations__.items() if name in CompletionOptions.__match_args__
}


DEFAULTS = {
    **{name: kept.default for name, kept in inspect.signature(Provider._set_up).parameters.items()},
    "api": inspect.signature(OpenAIProvider).parameters["api"].default,
    "timeout": _timeouts(None),
    "retry": _retry_policy(None),
    "http": HTTPConfig(),
}
EMBED_FIELDS = keys(PACKAGE / "_options.py", "EmbedFields")
SETTINGS = {"api_key": "str | None", **keys(PACKAGE / "providers/_base.py", "Settings")}


# What the class takes besides.
OWN_SETTINGS = {
    "openai": {"api": "Literal['chat', 'responses']"},
    "anthropic": {},
    "gemini": {},
    "ollama": {},
    "bedrock": dict.fromkeys(("region", "access_key_id", "secret_access_key", "session_token"), "str | None"),
}
VARIABLES = {
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "access_key_id": ("AWS_ACCESS_KEY_ID",),
    "secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
}


@pytest.fixture
def sim(request):
    """What answers: a simulator, or for Bedrock a server of the tests' own."""
    callspec = getattr(request.node, "callspec", None)
    bedrock = callspec is not None and callspec.params.get("name") == "bedrock"
    with ConverseServer() if bedrock else Simulator(record=True) as server:
        yield server


def read(name):
    return (ROOT / "docs/providers" / PAGES[name][0]).read_text()


def heading(name, what):
    suffix = PAGES[name][2]
    return f"{what}: {suffix}" if suffix else what


def grouped(rows, column):
    """Rows with the first cell of each group filled in."""
    last = ""
    for row in rows:
        last = row[column] or last
        yield {**row, column: last}


def all_rows(what, column, names=PAGES):
    return list(each_row(what, column, names))


def each_row(what, column, names):
    for name in names:
        rows = table(read(name), heading(name, what) if what == "Options of a call" else what)
        for row in grouped(rows, column):
            yield pytest.param(name, row, id=f"{name}-{code(row[column])[0]}-{' '.join(code(row['example']))[:50]}")


def make(name, sim, **settings):
    _, kind, _, own = PAGES[name]
    settings = {"base_url": sim.base_url(kind.__dict__["wire"]), **own, **settings}
    return kind(settings.pop("api_key", "key"), **settings)


def given(cell):
    """The keyword arguments that an example holds."""
    return eval(f"dict({', '.join(code(cell))})", dict(NAMES))


class Sent:
    """The last request that a simulator saw, or the error that kept it from being sent."""

    def __init__(self, sim, call):
        self.error, self.body, self.headers, self.path = None, None, {}, None
        before = sim.stats().requests
        try:
            call()
        except LLMError as error:
            if error.status is None:
                self.error = error
                assert sim.stats().requests == before, error
                return
        request = sim.requests()[-1]
        self.body = json.loads(request["body"])
        self.headers = request["headers"]
        self.path = f"{request['method']} {request['path']}"


def check(says, base, now):
    """What a cell says of a request, beside the same one without the option."""
    words = code(says)
    if now.error is not None:
        assert words[:1] == [type(now.error).__name__], f"it raises {now.error!r}"
        return
    assert base.body is not None
    added = patch(base.body, now.body)
    stated = [json.loads(word) for word in words if word.startswith("{")]
    if stated:
        assert fits(stated[0], added), f"what is sent is `{shown(added)}`"
    else:
        assert added == {}, f"what is sent is `{shown(added)}`"
    others = [word for word in words if re.match(r"POST /|[a-z-]+: ", word)]
    for word in others:
        if word.startswith("POST "):
            assert now.path == word
            assert base.path != word
        else:
            header, value = word.split(": ", 1)
            assert now.headers[header] == value
            assert base.headers.get(header) != value
    if not stated and not others:
        assert says.startswith("nothing"), says
        assert now.path == base.path
        assert now.headers == base.headers


# ---- options of a call


@pytest.mark.parametrize("name", PAGES)
def test_every_option_of_a_call_has_its_row_and_type(name):
    rows = list(grouped(table(read(name), heading(name, "Options of a call")), "option"))
    assert list(dict.fromkeys(code(row["option"])[0] for row in rows)) == list(CALL_FIELDS)
    for row in rows:
        if row["type"]:
            kind = CALL_FIELDS[code(row["option"])[0]].removesuffix(" | None")
            assert row["type"] == TYPES[kind]
    assert all(getattr(CompletionOptions, option) is None for option in CALL_FIELDS), "the pages say so"


@pytest.mark.parametrize("name", PAGES)
def test_a_call_without_options_sends_what_the_page_shows(name, sim):
    stated = re.search(r"```json\n(.*?)```", section(read(name), heading(name, "Options of a call")), re.DOTALL)[1]
    llm = make(name, sim)
    assert Sent(sim, lambda: llm.sync.complete("Hi")).body == json.loads(stated)


@pytest.mark.parametrize(("name", "row"), all_rows("Options of a call", "option"))
def test_an_option_of_a_call_is_sent_as_its_row_says(name, row, sim):
    [option] = code(row["option"])
    fields = given(row["example"])
    assert option in fields
    llm = make(name, sim)
    rest = {key: value for key, value in fields.items() if key != option}
    now = Sent(sim, lambda: llm.sync.complete("Hi", **fields))
    base = Sent(sim, lambda: llm.sync.complete("Hi", **rest))
    if base.error is not None:  # What `drop_unsupported` is for.
        base = Sent(sim, lambda: llm.sync.complete("Hi"))
    check(row["what is sent"], base, now)
    if isinstance(now.error, UnsupportedOption):
        lenient = Sent(sim, lambda: llm.sync.complete("Hi", **fields, drop_unsupported=True))
        if "drop_unsupported" in row["what is sent"]:
            assert lenient.body == base.body
        else:
            assert isinstance(lenient.error, UnsupportedOption)
        return
    if now.error is None:  # The same for a stream.
        streamed = (
            [json.loads(llm._core.encode("Hi", None, kept, stream=True)[1]) for kept in ({}, rest, fields)]
            if option != "drop_unsupported"
            else None
        )
        if streamed:
            assert patch(streamed[1], streamed[2]) == patch(base.body, now.body)


# ---- options of embed

EMBED = [name for name in PAGES if name not in {"responses", "anthropic", "bedrock"}]


@pytest.mark.parametrize("name", EMBED)
def test_every_option_of_embed_has_its_row_and_type(name):
    rows = list(grouped(table(read(name), "Options of `embed`"), "option"))
    assert list(dict.fromkeys(code(row["option"])[0] for row in rows)) == list(EMBED_FIELDS)
    for row in rows:
        assert row["type"] in {TYPES[EMBED_FIELDS[code(row["option"])[0]].removesuffix(" | None")], ""}


@pytest.mark.parametrize(("name", "row"), all_rows("Options of `embed`", "option", EMBED))
def test_an_option_of_embed_is_sent_as_its_row_says(name, row, sim):
    llm = make(name, sim)
    base = Sent(sim, lambda: llm.sync.embed(["Hi"]))
    now = Sent(sim, lambda: llm.sync.embed(["Hi"], **given(row["example"])))
    check(row["what is sent"], base, now)


@pytest.fixture
def small():
    """A simulator whose vectors are short."""
    with Simulator(embedding_dims=2) as simulator:
        yield simulator


def check_split(llm, sim, texts, size):
    """Whether so many texts, and so many bytes, go in one request and more in two."""
    half = "a" * (size // 2)
    for batch, requests in ((["a"] * texts, 1), (["a"] * (texts + 1), 2), ([half, half], 1), ([half, half + "aa"], 2)):
        before = sim.stats().requests
        assert len(llm.sync.embed(batch)) == len(batch)
        assert sim.stats().requests - before == requests


@pytest.mark.parametrize("name", EMBED)
def test_embeddings_are_split_as_the_page_says(name, small):
    [texts, size] = re.search(r"\*\*([\d,]+) texts\*\* and \*\*([\d,]+) bytes\*\*", read(name)).groups()
    texts, size = (int(number.replace(",", "")) for number in (texts, size))
    check_split(make(name, small), small, texts, size)


# ---- settings of a provider


@pytest.mark.parametrize("name", OWN_SETTINGS)
def test_every_setting_has_its_row_type_and_default(name):
    _, kind, _, _ = PAGES[name]
    rows = list(grouped(table(read(name), "Settings"), "setting"))
    settings = {"api_key": SETTINGS["api_key"], **OWN_SETTINGS[name]} | SETTINGS
    assert list(dict.fromkeys(code(row["setting"])[0] for row in rows)) == list(settings)
    variables = {"api_key": kind.key_variables, "base_url": kind.base_url_variables}
    variables |= VARIABLES if name == "bedrock" else {}
    own = {
        "base_url": kind.default_base_url,
        "model": kind.default_model,
        "embedding_model": kind.default_embedding_model,
    }
    for row in rows:
        if not row["type"]:
            continue
        [setting] = code(row["setting"])
        assert row["type"] == TYPES[settings[setting].removesuffix(" | None")], setting
        defaults = code(row["default"])
        if setting in {*variables, *own}:
            expected = [*variables.get(setting, ()), *([own[setting]] if own.get(setting) else [])]
            assert defaults == expected, setting
        elif defaults:
            assert eval(defaults[0], dict(NAMES)) == DEFAULTS[setting], setting


@pytest.mark.parametrize(("name", "row"), all_rows("Settings", "setting", OWN_SETTINGS))
def test_a_setting_is_sent_as_its_row_says(name, row, sim):
    if not code(row["example"]):
        return
    [setting] = code(row["setting"])
    llm, plain = make(name, sim, **given(row["example"])), make(name, sim)

    def call(provider):
        if setting == "embedding_model":
            return provider.sync.embed(["Hi"])
        return provider.sync.complete("Hi")

    check(row["what is sent"], Sent(sim, lambda: call(plain)), Sent(sim, lambda: call(llm)))


# ---- what is supported

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PDF = b"%PDF-1.7\n"
WAV = b"RIFF\x00\x00\x00\x00WAVEfmt "


def part(what):
    return lambda name, sim: make(name, sim).sync.chat([ChatMessage.user(["See:", what])]).content


def calls_a_tool(name, sim):
    sim.push(tool_calls=[("now", "{}")])
    return make(name, sim).sync.complete("Hi", tools=[{"name": "now"}]).tool_calls[0].name


def read_from_cache(name, sim):
    long = "What stays the same. " * 1000
    if name == "gemini":
        llm = make(name, sim)
        cache = llm.sync.caches.create([ChatMessage.system(long)])
        return llm.sync.complete("Hi", cached_content=cache.name).usage.cached_tokens
    cached = make(name, sim, prompt_cache=CachePromptConfig(key="manual"))
    tokens = [cached.sync.complete("Hi", system=long).usage.cached_tokens for _ in range(2)]
    return tokens[1]


FEATURES = {
    "chat": lambda name, sim: make(name, sim).sync.complete("Hi").content,
    "streams": lambda name, sim: "".join(make(name, sim).sync.stream("Hi")),
    "tools": calls_a_tool,
    "structured output": lambda name, sim: make(name, sim).sync.complete("Hi", response_format=list[int]).parsed,
    "images": part(ContentPart.image(PNG)),
    "documents": part(ContentPart.document(PDF)),
    "sounds": part(ContentPart.audio(WAV)),
    "reasoning": lambda name, sim: make(name, sim).sync.complete("Hi", reasoning="low").content,
    "prompt caching": read_from_cache,
    "embeddings": lambda name, sim: make(name, sim).sync.embed(["Hi"]).tolist(),
    "list of models": lambda name, sim: make(name, sim).sync.list_models(),
    "token counts": lambda name, sim: make(name, sim).sync.count_tokens("Hi"),
}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("feature", FEATURES)
def test_what_the_page_says_is_supported_is(name, feature, sim):
    rows = table(read(name), "What it can do")
    assert [row[""] for row in rows] == list(FEATURES)
    column = PAGES[name][2] or "supported"
    says = next(row[column] for row in rows if row[""] == feature)
    try:
        found = FEATURES[feature](name, sim)
    except UnsupportedOption:
        assert sim.stats().requests == 0
        found = None
    assert says.startswith("yes" if found else "no"), found


# ---- errors

BODIES = {
    "openai": lambda word: {"error": {"message": "m", "type": "t", "code": word, "param": "messages[0].content"}},
    "anthropic": lambda word: {"type": "error", "error": {"type": word or "t", "message": "m"}},
    "gemini": lambda word: {"error": {"message": "m", "status": "S", "details": _gemini_details(word)}},
    "ollama": lambda word: {"error": "m"},
    "bedrock": lambda word: {"__type": word, "message": "m"},
}


def _gemini_details(word):
    if word and "PerDay" in word:
        return [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": f"X{word}Y"}]}]
    return [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word}] if word else []


@pytest.mark.parametrize("name", OWN_SETTINGS)
def test_errors_are_those_of_the_page(name, sim):
    rows = table(read(name), "Errors")
    llm = make(name, sim, retry=RetryPolicy(max_retries=1, base_delay=0, max_delay=0))
    tried = 0
    for row in rows:
        for status in re.findall(r"\d{3}", row["status"]):
            for word in code(row["with"]) or [None]:
                body = json.dumps(BODIES[name](word)).encode()
                for _ in range(2):
                    sim.push(status=int(status), body=body)
                before = sim.stats().requests
                with pytest.raises(LLMError) as caught:
                    llm.sync.complete("Hi")
                sim.clear()
                what = f"{name} {status} {word}"
                assert type(caught.value).__name__ == code(row["raises"])[0], what
                again = sim.stats().requests - before == 2
                assert row["tried again"] == ("yes" if again else "no"), what
                tried += 1
    assert tried >= len(rows)


# ---- compatible providers

COMPATIBLE = (ROOT / "docs/compatible-providers.md").read_text()
PRESETS = {code(row["name"])[0]: row for row in table(COMPATIBLE, "What is sent otherwise")}
WITH_EMBEDDINGS = {
    code(row["embeddings of"])[0]: row for row in tables(section(COMPATIBLE, "What is sent otherwise"))[1]
}


def preset(name, sim):
    base_url = sim.url if name == "azure" else sim.base_url("openai")
    return OpenAIProvider.preset(name, "k", base_url=base_url, model="m", embedding_model="e")


def added(ask, **fields):
    """The fields that options add to a body, or the error that they raise."""
    try:
        return sorted(ask(**fields).keys() - ask().keys())
    except UnsupportedOption:
        return ["UnsupportedOption"]


def test_the_presets_are_those_of_the_page():
    rows = table(COMPATIBLE, "Servers that speak OpenAI's format")
    assert [code(row["name"])[0] for row in rows] == list(PRESETS) == _core.preset_names()
    for row in rows:
        found = _core.preset(code(row["name"])[0])
        assert row["server"] == found.title
        assert code(row["key"]) == (found.key_variables[:1] if found.key_required else [])
        assert code(row["address"]) == found.base_url_variables[:1]
        assert (
            row["embeddings"]
            == ("yes" if found.has_embeddings else "no")
            == ("yes" if found.name in WITH_EMBEDDINGS else "no")
        )


@pytest.mark.parametrize(("name", "row"), PRESETS.items(), ids=PRESETS)
def test_a_preset_is_asked_as_its_row_says(name, row, sim):
    llm = preset(name, sim)

    def ask(messages="Hi", *, stream=False, **fields):
        return json.loads(llm._core.encode(messages, None, fields, stream=stream)[1])

    for option, value in (("max_tokens", 5), ("seed", 5), ("user", "u"), ("metadata", {"a": "b"})):
        assert added(ask, **{option: value}) == code(row[f"`{option}` as"])
    assert ("stream_options" in ask(stream=True)) == (row["usage of a stream"] == "asked for")
    thought = {"role": "assistant", "content": "x", "reasoning_content": "hm"}
    sent = ask([thought, {"role": "user", "content": "y"}])["messages"][0]
    assert sorted(sent.keys() - {"role", "content"}) == code(row["earlier thinking"])


@pytest.mark.parametrize(("name", "row"), WITH_EMBEDDINGS.items(), ids=WITH_EMBEDDINGS)
def test_a_preset_embeds_as_its_row_says(name, row, small):
    llm = preset(name, small)

    def ask(**fields):
        return json.loads(llm._core.encode_embed(["a"], fields)[1])

    assert added(ask, dimensions=3) == code(row["`dimensions` as"])
    assert added(ask, task_type="query") == code(row["`task_type` as"])
    asked = row["vectors asked for as"]
    assert ask().get("encoding_format") == ("base64" if asked == "base64" else None)
    if name == "perplexity":  # The simulator's vectors are no signed bytes.
        return
    texts, size = (int(row[f"{what} a request"].replace(",", "")) for what in ("texts", "bytes"))
    check_split(llm, small, texts, size)


@pytest.mark.parametrize("name", sorted(set(PRESETS) - set(WITH_EMBEDDINGS)))
def test_the_others_have_no_embeddings(name, sim):
    with pytest.raises(UnsupportedOption):
        preset(name, sim).sync.embed(["a"])
