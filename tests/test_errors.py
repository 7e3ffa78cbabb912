"""The error tree: which answer becomes which exception, what an exception tells, and that it never tells a secret."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import logging
import pickle
import traceback

import pytest

import edgequake_llm
from edgequake_llm import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    ContextLengthError,
    FirstTokenTimeout,
    HTTPConfig,
    IdleTimeout,
    InvalidRequestError,
    InvalidResponseError,
    LLMError,
    LLMTimeoutError,
    NotFoundError,
    OpenAIProvider,
    OverloadedError,
    PermissionDeniedError,
    ProviderFactory,
    QuotaError,
    RateLimitError,
    RequestTooLargeError,
    RetryPolicy,
    ServerError,
    Simulator,
    StreamInterrupted,
    Timeouts,
    UnsupportedOption,
    _core,
)
from support.raw import CLOSE, RESET, RawServer, answer, head

CLASSES = [thing for thing in vars(edgequake_llm).values() if isinstance(thing, type) and issubclass(thing, LLMError)]

STATUSES = [
    (400, InvalidRequestError, False),
    (401, AuthenticationError, False),
    (402, QuotaError, False),
    (403, PermissionDeniedError, False),
    (404, NotFoundError, False),
    (408, APIStatusError, True),
    (409, ConflictError, True),
    (413, RequestTooLargeError, False),
    (418, APIStatusError, False),
    (422, InvalidRequestError, False),
    (429, RateLimitError, True),
    (500, ServerError, True),
    (501, ServerError, False),
    (502, ServerError, True),
    (503, OverloadedError, True),
    (504, ServerError, True),
    (529, OverloadedError, True),
    (599, ServerError, True),
]


@pytest.mark.parametrize(("status", "kind", "retryable"), STATUSES)
async def test_each_status_has_its_exception(llm, sim, status, kind, retryable):
    plain = sim.provider(llm.name, retry=0)

    async def stream():
        async for _ in plain.stream("hi"):
            pass

    calls = [lambda: plain.complete("hi"), stream]
    if plain.embedding_model:
        calls.append(lambda: plain.embed(["a"]))
    for call in calls:
        sim.push(status=status)
        with pytest.raises(kind) as caught:
            await call()
        error = caught.value
        assert type(error) is kind
        assert (error.status, error.provider, error.attempts) == (status, llm.name, 1)
        assert error.retryable is retryable
        assert error.message
        assert str(error).startswith(f"{llm.name}: ")
        assert f"status {status}" in str(error)
    sim.push(status=status)
    with pytest.raises(kind):
        plain.sync.complete("hi")
    assert (await plain.complete("hi")).content


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308])
async def test_a_redirect_is_not_followed_with_the_key(sim, llm, status):
    with RawServer([answer(b"", status, location=sim.url)]) as server:
        away = ProviderFactory.create(llm.name, api_key="secret-canary", base_url=server.url, retry=0)[0]
        with pytest.raises(APIStatusError, match="base_url") as caught:
            await away.complete("hi")
        assert caught.value.status == status
        assert not caught.value.retryable
    assert sim.stats().connections == 0


@pytest.mark.parametrize(
    ("wire", "status", "body", "kind", "facts"),
    [
        (
            "openai",
            400,
            {"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded", "param": "messages"}},
            ContextLengthError,
            {"code": "context_length_exceeded", "error_type": "invalid_request_error", "param": "messages"},
        ),
        # What has no code for it says it in these words (tests of every one: wire/too_long.rs) …
        ("anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 212345 tokens > 200000 maximum"}}, ContextLengthError, {"status": 400, "error_type": "invalid_request_error"}),
        ("gemini", 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "The input token count (1250074) exceeds the maximum number of tokens allowed (1048576)."}}, ContextLengthError, {"retryable": False}),
        ("deepseek", 400, {"error": {"message": "This model's maximum context length is 65536 tokens. However, you requested 70000 tokens (69000 in the messages, 1000 in the completion).", "type": "invalid_request_error"}}, ContextLengthError, {}),
        ("openrouter", 400, {"error": {"code": 400, "message": "This endpoint's maximum context length is 200000 tokens. However, you requested about 2500021 tokens (2500021 of text input)."}}, ContextLengthError, {"code": "400"}),
        ("ollama", 400, {"error": "the input length exceeds the context length"}, ContextLengthError, {}),
        # … and in no others.
        ("anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens"}}, InvalidRequestError, {}),
        ("anthropic", 413, {"type": "error", "error": {"type": "request_too_large", "message": "prompt is too long: 1 tokens > 0 maximum"}}, RequestTooLargeError, {}),
        ("anthropic", 500, {"type": "error", "error": {"type": "api_error", "message": "prompt is too long: 1 tokens > 0 maximum"}}, ServerError, {}),
        ("gemini", 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "Cached content is too small. total_token_count=97"}}, InvalidRequestError, {}),
        ("openai", 400, {"error": {"message": "Invalid 'user': string too long.", "code": "string_above_max_length", "param": "user"}}, InvalidRequestError, {"param": "user"}),
        ("openai", 400, {"error": {"message": "Invalid 'messages[0].content': string too long.", "code": "string_above_max_length", "param": "messages[0].content"}}, ContextLengthError, {}),
        ("openai", 429, {"error": {"message": "no money", "code": "insufficient_quota"}}, QuotaError, {"retryable": False}),
        ("openai", 429, {"error": {"message": "slow", "code": "rate_limit_exceeded"}}, RateLimitError, {"retryable": True}),
        # The text never decides: a server that is down and mentions a context is down.
        ("openai", 503, {"error": {"message": "the context length service is down"}}, OverloadedError, {"retryable": True}),
        ("openai", 500, {"error": {"message": "rate limit"}}, ServerError, {}),
        ("openai", 404, {"error": {"message": "no such model", "code": 404}}, NotFoundError, {}),
        ("openai", 400, {"error": "just text"}, InvalidRequestError, {"message": "just text"}),
        ("openai", 400, {"detail": "from a framework"}, InvalidRequestError, {}),
        ("openai", 400, [], InvalidRequestError, {}),
        ("anthropic", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, OverloadedError, {"error_type": "overloaded_error"}),
        ("anthropic", 402, {"type": "error", "error": {"type": "billing_error", "message": "pay"}}, QuotaError, {"retryable": False}),
        ("gemini", 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "bad key", "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}}, AuthenticationError, {}),
        ("gemini", 429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "wait", "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "53s"}]}}, RateLimitError, {"retry_after": 53.0}),
        ("gemini", 429, [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "in a list"}}], RateLimitError, {"message": "in a list"}),
        ("ollama", 404, {"error": "model 'x' not found"}, NotFoundError, {}),
    ],
)  # fmt: skip
def test_what_the_body_says(wire, status, body, kind, facts):
    with pytest.raises(kind) as caught:
        _core.decode_chat(wire, json.dumps(body).encode(), status=status)
    assert type(caught.value) is kind
    for name, value in facts.items():
        assert getattr(caught.value, name) == value, name


def test_what_the_headers_say():
    headers = {"retry-after": "7", "x-request-id": "req_1"}
    with pytest.raises(RateLimitError) as caught:
        _core.decode_chat("openai", b"{}", status=429, headers=headers)
    assert (caught.value.retry_after, caught.value.request_id) == (7.0, "req_1")
    assert str(caught.value).endswith("[status 429, retry after 7 s, request req_1]")
    with pytest.raises(RateLimitError) as caught:
        _core.decode_chat("openai", b"{}", status=429, headers={"retry-after": "1", "retry-after-ms": "0"})
    assert caught.value.retry_after == 1.0
    with pytest.raises(RateLimitError) as caught:
        _core.decode_chat("openai", b"{}", status=429, headers={"x-should-retry": "false"})
    assert not caught.value.retryable
    with pytest.raises(InvalidRequestError) as caught:
        _core.decode_chat("anthropic", b"{}", status=400, headers={"request-id": "req_2"})
    assert caught.value.request_id == "req_2"


class TestTree:
    def test_one_root(self):
        assert LLMError in CLASSES
        assert len(CLASSES) > 20
        for kind in CLASSES:
            assert issubclass(kind, LLMError)
            assert kind.__module__.startswith("edgequake_llm")

    def test_built_in_bases(self):
        for kind in CLASSES:
            if "Timeout" in kind.__name__:
                assert issubclass(kind, TimeoutError), kind
        assert issubclass(asyncio.TimeoutError, TimeoutError) or asyncio.TimeoutError is not TimeoutError
        for name in ("APIConnectionError", "ConnectTimeout", "StreamInterrupted"):
            assert issubclass(getattr(edgequake_llm, name), ConnectionError)
        for name in ("ConfigurationError", "InvalidRequestError", "UnsupportedOption", "ContextLengthError"):
            assert issubclass(getattr(edgequake_llm, name), ValueError)
        assert issubclass(LLMTimeoutError, LLMError)

    @pytest.mark.parametrize("kind", CLASSES)
    def test_they_can_be_made_pickled_and_copied(self, kind):
        assert str(kind("plain")) == "plain"
        assert str(kind()) == ""
        error = kind(
            "what happened",
            provider="openai",
            status=500,
            code="c",
            error_type="t",
            param="p",
            request_id="r",
            retry_after=1.5,
            retryable=True,
            attempts=3,
            elapsed=0.5,
        )
        error.__notes__ = ["seen in a worker"]
        text = "openai: what happened [status 500, after 3 attempts, retry after 1.5 s, request r]"
        for again in (error, pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert type(again) is kind
            assert str(again) == text
            facts = {name: getattr(again, name) for name in ("status", "code", "error_type", "param", "request_id")}
            assert facts == {"status": 500, "code": "c", "error_type": "t", "param": "p", "request_id": "r"}
            assert (again.retry_after, again.retryable, again.attempts, again.elapsed) == (1.5, True, 3, 0.5)
            assert again.__notes__ == ["seen in a worker"]
            assert again.args == ("what happened",)
        assert kind.__name__ in repr(error)

    async def test_an_error_of_a_call_crosses_processes(self, llm, sim):
        sim.push(status=429, retry_after=3600)
        with pytest.raises(RateLimitError) as caught:
            await llm.complete("hi")
        again = pickle.loads(pickle.dumps(caught.value))
        assert str(again) == str(caught.value)
        assert again.retry_after == 3600
        sim.push(fault="cut", after_events=6, gap=0.01)
        with pytest.raises(StreamInterrupted) as caught:
            async for _ in llm.stream("hi"):
                pass
        assert caught.value.partial.content is not None
        assert pickle.loads(pickle.dumps(caught.value)).partial is None
        assert copy.copy(caught.value).partial is caught.value.partial


CANARY = "canary-0123456789abcdef-never-to-be-seen"
OTHER = "gateway-canary-fedcba9876543210"


class Everything(logging.Handler):
    """Keeps whatever anybody logs."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record):
        self.lines.append(self.format(record))


@pytest.fixture
def logged():
    handler, root = Everything(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.lines
    root.removeHandler(handler)
    root.setLevel(before)


def all_of(error):
    """Whatever a program may print or log of an exception."""
    return "\n".join(
        [
            str(error),
            repr(error),
            repr(vars(error)),
            "".join(traceback.format_exception(error)),
            pickle.dumps(error).decode("latin-1"),
            str(getattr(error, "partial", "")),
        ]
    )


def shows_none(text, secrets=(CANARY, OTHER)):
    """No secret, and no telling beginning of one."""
    for secret in secrets:
        assert secret[:12] not in text, text[-600:]


def echoes(key):
    """Answers of servers that echo what they were sent, in every way that they go wrong."""
    json_error = {"error": {"message": f"bad key {key}", "type": f"t-{key}", "code": key, "param": key}}
    page = f"<html><head><title>403</title></head><body>authorization: Bearer {key}</body></html>".encode()
    padded = b"x " * 80 + key.encode() + b" tail" * 200
    return [
        *(answer(json_error, status) for status in (400, 401, 403, 404, 429, 500, 529)),
        *(answer(page, status, "text/html") for status in (200, 403, 502)),
        answer(padded, 500, "text/plain"),
        answer(padded[30:], 200, "text/plain"),
        answer(padded[4:], 200, "application/json"),
        answer({"error": {"message": key, "code": key}}, 200),
        answer({"error": key}, 200),
        answer(json_error, 401, x_request_id=key),
        answer(f'data: {{"error": {{"message": "{key}"}}}}\n\n'.encode(), 200, "text/event-stream"),
        answer(f"data: {key}\n\n".encode(), 200, "text/event-stream"),
        answer(f'{{"error": "{key}"}}\n'.encode(), 200, "application/x-ndjson"),
        answer(f'event: error\ndata: {{"type":"error","error":{{"type":"{key}","message":"{key}"}}}}\n\n'.encode(), 200, "text/event-stream"),
        head(500, x_trace=key) + key.encode(),
        f"HTTP/1.1 {key}\r\n\r\n".encode(),
        key.encode() * 20,
    ]  # fmt: skip


def test_no_secret_shows_in_any_error_or_log(provider_name, logged):
    for key in (CANARY, OTHER):
        for script in echoes(key):
            with RawServer([script, CLOSE]) as server:
                llm = ProviderFactory.create(
                    provider_name, api_key=CANARY, base_url=server.url, headers={"x-gateway-token": OTHER}, retry=0
                )[0]
                calls = [
                    lambda llm=llm: llm.sync.complete("hi"),
                    lambda llm=llm: list(llm.sync.stream("hi")),
                    lambda llm=llm: llm.sync.embed(["a"]),
                ]
                for call in calls:
                    with pytest.raises(LLMError) as caught:
                        call()
                    shows_none(all_of(caught.value))
    shows_none("\n".join(logged))


def test_a_header_of_one_call_is_secret_too():
    with RawServer([answer({"error": {"message": f"Bearer {CANARY} is wrong"}}, 401)]) as server:
        llm = OpenAIProvider("other-key-0123456789", base_url=server.url)
        with pytest.raises(AuthenticationError, match=r"\[redacted\] is wrong") as caught:
            llm.sync.complete("hi", extra_headers={"Authorization": f"Bearer {CANARY}"})
        shows_none(all_of(caught.value))


@pytest.mark.parametrize("sender", ["\n", "\r\nx-injected: 1", "\0", "\x7f", "é"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(provider_name, sender):
    for key in (CANARY + sender, sender + CANARY, CANARY + sender + CANARY):
        with pytest.raises(ConfigurationError, match="key") as caught:
            ProviderFactory.create(provider_name, api_key=key)
        shows_none(all_of(caught.value))


@pytest.mark.parametrize("sender", ["\n", "\r\nx-injected: 1", "\0"])
def test_a_header_that_cannot_be_sent_is_refused_and_not_shown(sim, llm, sender):
    with pytest.raises(ConfigurationError, match="x-gateway-token") as caught:
        sim.provider(llm.name, headers={"x-gateway-token": OTHER + sender})
    shows_none(all_of(caught.value))
    with pytest.raises(ConfigurationError, match="x-gateway-token") as caught:
        llm.sync.complete("hi", extra_headers={"x-gateway-token": OTHER + sender})
    shows_none(all_of(caught.value))
    with pytest.raises(ConfigurationError, match="header name"):
        llm.sync.complete("hi", extra_headers={"x-injected: 1\r\nx": "1"})
    assert sim.stats().connections == 0


@pytest.mark.parametrize(
    "base_url",
    [
        f"http://user:{CANARY}@example.com/v1",
        f"http://{CANARY}@example.com",
        f"http://user:{CANARY}@exa mple.com/v1",
        f"user:{CANARY}@example.com",
        f"ftp://user:{CANARY}@example.com",
        f"http://exa mple.com/v1?key={CANARY}",
        f"example.com?key={CANARY}",
        f"{CANARY}@",
        f"://{CANARY}@",
    ],
)
def test_a_bad_base_url_is_refused_without_its_secrets(provider_name, base_url):
    with pytest.raises(ConfigurationError, match="base URL") as caught:
        ProviderFactory.create(provider_name, api_key="k", base_url=base_url)
    shows_none(all_of(caught.value))


def test_no_secret_shows_in_a_repr(provider_name, sim):
    http = HTTPConfig(proxy=f"http://user:{CANARY}@127.0.0.1:9", client_pem=None)
    llm = ProviderFactory.create(
        provider_name,
        api_key=CANARY,
        base_url=f"{sim.base_url(provider_name)}?api-version=1&key={CANARY}",
        headers={"x-gateway-token": OTHER},
        http=http,
    )[0]
    options = edgequake_llm.CompletionOptions(extra_headers={"authorization": CANARY})
    stream = llm.stream("hi", options)
    things = [llm, llm.sync, llm._core, http, options, stream, stream.events(), Timeouts(), RetryPolicy(), sim]
    shows_none("\n".join(f"{thing!r} {thing}" for thing in things))
    assert "proxy='http://127.0.0.1:9'" in repr(http)
    assert HTTPConfig(ca_pem=CANARY.encode(), client_pem=CANARY.encode())
    shows_none(repr(HTTPConfig(ca_pem=CANARY.encode(), client_pem=CANARY.encode())))
    del stream
    gc.collect()


def test_a_proxys_password_does_not_show(provider_name, logged):
    """A proxy that is not there, one that refuses, and one whose address is wrong."""
    with RawServer([answer(b"no", 407, "text/plain")], [RESET]) as server:
        for proxy in (
            f"http://user:{CANARY}@127.0.0.1:9",
            f"socks5://user:{CANARY}@127.0.0.1:9",
            f"http://user:{CANARY}@127.0.0.1:{server.port}",
            f"http://user:{CANARY}@no-such-host.invalid:1",
        ):
            for base_url in ("https://example.invalid", "http://example.invalid"):
                llm = ProviderFactory.create(
                    provider_name, api_key="k", base_url=base_url, http=HTTPConfig(proxy=proxy), retry=0
                )[0]
                with pytest.raises(LLMError) as caught:
                    llm.sync.complete("hi")
                shows_none(all_of(caught.value))
    for proxy in (f"user:{CANARY}@proxy", f"gopher://user:{CANARY}@proxy:1", f"http://user:{CANARY}@pro xy"):
        with pytest.raises(ConfigurationError, match="proxy") as caught:
            ProviderFactory.create(provider_name, api_key="k", http=HTTPConfig(proxy=proxy))
        shows_none(all_of(caught.value))
    shows_none("\n".join(logged))


def test_no_secret_in_faults_of_the_connection_or_in_timeouts(provider_name):
    with Simulator() as sim:
        limits = Timeouts(first_token=0.15, idle=0.15)
        llm = sim.provider(provider_name, api_key=CANARY, headers={"x-gateway-token": OTHER}, retry=0, timeout=limits)
        for reply, kinds in [
            ({"fault": "close_before_headers"}, APIConnectionError),
            ({"fault": "cut", "after_events": 6, "gap": 0.01}, StreamInterrupted),
            ({"fault": "close", "after_events": 6, "gap": 0.01}, StreamInterrupted),
            ({"fault": "end", "after_events": 6}, StreamInterrupted),
            ({"fault": "stall", "after_events": 6}, IdleTimeout),
            ({"fault": "stall"}, FirstTokenTimeout),
            ({"fault": "error", "after_events": 6, "error_status": 529}, ServerError),
            ({"fault": "raw", "raw": b"gibberish"}, APIConnectionError),
        ]:
            sim.push(**reply)
            with pytest.raises(kinds) as caught:
                list(llm.sync.stream("hi"))
            assert caught.value.provider == provider_name
            shows_none(all_of(caught.value))
        for reply in ({"fault": "close_before_headers"}, {"fault": "cut"}, {"fault": "stall"}):
            sim.push(**reply)
            with pytest.raises(LLMError) as caught:
                llm.sync.complete("hi")
            shows_none(all_of(caught.value))
        assert llm.sync.complete("hi").content


def test_unsupported_option_is_an_invalid_request():
    assert issubclass(UnsupportedOption, InvalidRequestError)
    with pytest.raises(InvalidResponseError):
        _core.decode_chat("openai", b"[]")
