"""Bedrock's Converse: whole answers and streams, tools and reasoning there and back, errors, signatures, secrets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import traceback
from datetime import datetime, timezone
from urllib.parse import quote

import pytest

from edgequake_llm import (
    AuthenticationError,
    BedrockProvider,
    ChatMessage,
    ConfigurationError,
    ContentPart,
    ContextLengthError,
    InvalidRequestError,
    InvalidResponseError,
    LLMError,
    OverloadedError,
    ProviderFactory,
    ProviderType,
    RateLimitError,
    RetryPolicy,
    ServerError,
    Simulator,
    StreamInterrupted,
    UnsupportedOption,
    _core,
)
from support.converse import message, signature, stream, streamed, whole
from support.raw import CLOSE, RawServer, answer, head

ACCESS_KEY, SECRET, TOKEN = (
    "AKIDEXAMPLE0123456",
    "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLE",
    "FwoGZXIvYXdzEBYaDExample+token/==",
)
NO_WAIT = RetryPolicy(max_retries=1, base_delay=0, max_delay=0)
HI, ON = ChatMessage.user("Hi"), ChatMessage.user("On.")
MODEL = "eu.anthropic.claude-haiku-4-5-20251001-v1:0"


@pytest.fixture
def server(converse):
    return converse


@pytest.fixture
def llm(server):
    return BedrockProvider("key", model=MODEL, base_url=server.url, retry=NO_WAIT)


def sent(server):
    """The body of the last request."""
    return json.loads(server.requests()[-1]["body"])


# ---- whole answers


def test_a_whole_answer(llm, server):
    response = llm.sync.chat([ChatMessage.system("Be brief."), HI], max_tokens=9, temperature=0.5, stop="END")
    request = server.requests()[-1]
    assert (request["method"], request["path"]) == ("POST", f"/model/{quote(MODEL, safe='')}/converse")
    assert request["headers"]["authorization"] == "Bearer key"
    assert json.loads(request["body"]) == {
        "system": [{"text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "stopSequences": ["END"]},
    }
    assert (response.content, response.finish_reason, response.provider) == ("Hello there", "stop", "bedrock")
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (3, 5)
    assert response.request_id == "req-1"


def test_an_arn_is_one_part_of_the_path(llm, server):
    arn = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2"
    llm.sync.complete("Hi", model=arn)
    assert server.requests()[-1]["path"] == f"/model/{quote(arn, safe='')}/converse"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "stop"),  # without a call
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_model_output", "error"),
        ("malformed_tool_use", "error"),
    ],
)
def test_finish_reasons(llm, server, raw, reason):
    server.push(body=whole({"text": "x"}, stop=raw))
    server.push(events=streamed("x", stop=raw))
    assert llm.sync.complete("Hi").finish_reason == reason
    with llm.sync.stream("Hi") as one:
        assert "".join(one) == "x"
    assert one.response.finish_reason == reason


def test_cached_tokens_stand_beside_the_others(llm, server):
    usage = {"inputTokens": 10, "outputTokens": 4, "totalTokens": 314, "cacheReadInputTokens": 100}
    usage |= {"cacheWriteInputTokens": 200, "cacheDetails": [{"ttl": "1h", "inputTokens": 150}]}
    server.push(body=whole({"text": "x"}, usage=usage))
    found = llm.sync.complete("Hi").usage
    assert (found.prompt_tokens, found.completion_tokens, found.total_tokens) == (310, 4, 314)
    assert (found.cached_tokens, found.cache_write_tokens) == (100, 200)


def test_citations(llm, server):
    source = {"title": "Report", "sourceContent": [{"text": "grass "}, {"text": "is green"}]}
    source["location"] = {"web": {"url": "https://example.com/a"}}
    cited = {"citationsContent": {"content": [{"text": "Green."}], "citations": [source]}}
    server.push(body=whole({"text": "Grass? "}, cited))
    pieces = [{"text": "Grass? "}], [{"text": "Gre"}, {"citation": source}, {"text": "en."}]
    server.push(
        events=[
            ("messageStart", {"role": "assistant"}),
            *(
                ("contentBlockDelta", {"contentBlockIndex": n, "delta": delta})
                for n, deltas in enumerate(pieces)
                for delta in deltas
            ),
            ("contentBlockStop", {"contentBlockIndex": 1}),
            *streamed("")[-2:],
        ]
    )
    answers = [llm.sync.complete("Hi")]
    with llm.sync.stream("Hi") as one:
        assert "".join(one) == "Grass? Green."
    for response in [*answers, one.response]:
        assert response.content == "Grass? Green."
        (citation,) = response.citations
        assert (citation.start, citation.end, citation.url) == (7, 13, "https://example.com/a")
        assert (citation.title, citation.cited_text) == ("Report", "grass is green")


def test_counts_of_tokens(llm, server):
    assert llm.sync.count_tokens("Hi", tools=[{"name": "now"}], max_tokens=5) == 7
    assert server.requests()[-1]["path"].endswith("/count-tokens")
    assert set(sent(server)["input"]["converse"]) == {"messages", "toolConfig"}
    server.push(body={"tokens": 7})
    with pytest.raises(InvalidResponseError):
        llm.sync.count_tokens("Hi")


# ---- streams


def test_a_stream_split_at_every_byte():
    events = [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm."}}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "sig"}}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "Caf"}}),
        ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "é \U0001f600"}}),
        ("somethingNew", {"of": [1]}),
        ("contentBlockStop", {"contentBlockIndex": 1}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": {"inputTokens": 3, "outputTokens": 5}}),
    ]
    body = stream(*events)
    for cut in range(len(body) + 1):
        response = _core.decode_chat("bedrock", body, stream=True, cuts=[cut])
        assert (response.thinking, response.content) == ("Hm.", "Café \U0001f600")
        assert (response.finish_reason, response.usage.completion_tokens) == ("stop", 5)
    # Wherever it ends too early, that is noticed; between the two last messages there is nothing missing but the usage.
    complete = len(body) - len(message(*events[-1]))
    for end in range(len(body)):
        if end != complete:
            with pytest.raises((StreamInterrupted, InvalidResponseError)):
                _core.decode_chat("bedrock", body[:end], stream=True)


def test_a_stream_over_a_socket(llm, server):
    async def read():
        async with llm.stream("Hi") as one:
            texts = [text async for text in one]
        return texts, one

    texts, one = asyncio.run(read())
    assert texts == ["Hell", "o th", "ere"]
    assert (one.response.finish_reason, one.response.usage.total_tokens) == ("stop", 8)
    assert one.metrics.ttft_ms is not None
    request = server.requests()[-1]
    assert request["path"] == f"/model/{quote(MODEL, safe='')}/converse-stream"


def test_a_stream_that_breaks_off_keeps_its_text():
    body = stream(*streamed("Hello there"))
    cut = body.index(b"o th") + 2
    with RawServer([head(content_type="application/vnd.amazon.eventstream"), body[:cut], CLOSE]) as raw:
        llm = BedrockProvider("key", base_url=raw.url, retry=NO_WAIT)
        with pytest.raises(StreamInterrupted) as caught, llm.sync.stream("Hi") as one:
            list(one)
    assert caught.value.partial.content == "Hell"
    assert len(raw.requests) == 1


def test_a_checksum_that_is_wrong_is_an_error():
    body = bytearray(stream(*streamed("Hello there")))
    body[body.index(b"Hell")] ^= 1
    with RawServer([head(content_type="application/vnd.amazon.eventstream"), bytes(body)]) as raw:
        llm = BedrockProvider("key", base_url=raw.url, retry=NO_WAIT)
        with pytest.raises(InvalidResponseError, match="does not fit its checksum"), llm.sync.stream("Hi") as one:
            list(one)


def test_a_page_of_a_proxy_is_no_stream():
    page = [head(content_type="text/plain"), b"<html><body>Welcome to the hotel's network</body></html>"]
    with RawServer(page) as raw:
        llm = BedrockProvider("key", base_url=raw.url, retry=NO_WAIT)
        with pytest.raises(InvalidResponseError, match="checksum"), llm.sync.stream("Hi") as one:
            list(one)


def test_an_exception_in_mid_stream_is_raised_with_the_text_so_far(llm, server):
    server.push(events=[*streamed("Hello there")[:3], ("throttlingException", {"message": "Too fast."}, "exception")])
    with pytest.raises(RateLimitError, match=r"Too fast\.") as caught, llm.sync.stream("Hi") as one:
        list(one)
    error = caught.value
    assert (error.status, error.error_type, error.partial.content) == (429, "throttlingException", "Hello th")
    assert server.stats().requests == 1


@pytest.mark.parametrize(
    ("name", "kind", "again"),
    [
        ("internalServerException", (ServerError, 500), True),
        ("modelStreamErrorException", (ServerError, 424), True),
        ("serviceUnavailableException", (OverloadedError, 503), True),
        ("throttlingException", (RateLimitError, 429), True),
        ("validationException", (InvalidRequestError, 400), False),
        ("somethingNewException", (ServerError, 500), True),
    ],
)
def test_an_exception_before_the_first_event_is_like_one_of_that_status(llm, server, name, kind, again):
    for _ in range(2):
        server.push(events=[("messageStart", {"role": "assistant"}), (name, {"message": "m"}, "exception")])
    with pytest.raises(LLMError) as caught, llm.sync.stream("Hi") as one:
        list(one)
    assert (type(caught.value), caught.value.status) == kind
    assert server.stats().requests == (2 if again else 1)


def test_an_error_that_the_service_has_no_model_of(llm, server):
    for _ in range(2):
        server.push(events=[("InternalFailure", "it broke", "error")])
    with pytest.raises(ServerError, match="it broke") as caught, llm.sync.stream("Hi") as one:
        list(one)
    assert caught.value.error_type == "InternalFailure"


# ---- tools


def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: Where.
    """
    return f"Rain in {city}."


def test_tools_there_and_back(llm, server):
    server.push(tool_calls=[("weather", '{"city": "Oslo"}'), ("weather", '{"city": "Rome"}')])
    result = llm.sync.run("Weather?", tools=[weather])
    first, second = (json.loads(request["body"]) for request in server.requests())
    (tool,) = first["toolConfig"]["tools"]
    assert tool["toolSpec"]["name"] == "weather"
    assert tool["toolSpec"]["inputSchema"]["json"]["properties"]["city"]["type"] == "string"
    assert second["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"toolUse": {"toolUseId": "t0", "name": "weather", "input": {"city": "Oslo"}}},
                {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Rome"}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "t0", "content": [{"text": "Rain in Oslo."}]}},
                {"toolResult": {"toolUseId": "t1", "content": [{"text": "Rain in Rome."}]}},
            ],
        },
    ]
    assert result.response.content == "Hello there"


def test_streamed_calls_are_assembled(llm, server):
    def piece(index, text):
        return "contentBlockDelta", {"contentBlockIndex": index, "delta": {"toolUse": {"input": text}}}

    def start(index, name):
        return "contentBlockStart", {
            "contentBlockIndex": index,
            "start": {"toolUse": {"toolUseId": f"t{index}", "name": name}},
        }

    events = [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Let me see."}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        *(start(1, "weather"), piece(1, ""), piece(1, '{"city":'), piece(1, ' "Oslo"}')),
        *(
            ("contentBlockStop", {"contentBlockIndex": 1}),
            start(2, "now"),
            ("contentBlockStop", {"contentBlockIndex": 2}),
        ),
        ("messageStop", {"stopReason": "tool_use"}),
        ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 2}}),
    ]
    server.push(events=events)
    with llm.sync.stream("Hi", tools=[weather]) as one:
        assert "".join(one) == "Let me see."
    calls = [(call.id, call.name, call.arguments) for call in one.response.tool_calls]
    assert calls == [("t1", "weather", '{"city": "Oslo"}'), ("t2", "now", "{}")]
    assert one.response.finish_reason == "tool_calls"


def test_a_failed_tool_is_said_to_have_failed(llm, server):
    call = {"id": "t0", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    llm.sync.chat(
        [
            ChatMessage.user("When?"),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            ChatMessage.tool("t0", "no clock", is_error=True),
            ChatMessage.user("And now?"),
        ],
        tools=[{"name": "now"}],
    )
    results = sent(server)["messages"][2]["content"]
    assert results == [
        {"toolResult": {"toolUseId": "t0", "content": [{"text": "no clock"}], "status": "error"}},
        {"text": "And now?"},
    ]


def test_what_the_providers_own_tools_did_goes_back_whole(llm, server):
    call = {"toolUse": {"toolUseId": "s1", "name": "nova_grounding", "type": "server_tool_use", "input": {"q": "x"}}}
    outcome = {
        "toolResult": {"toolUseId": "s1", "type": "nova_grounding_result", "content": [{"text": "a"}, {"json": 1}]}
    }
    server.push(body=whole(call, outcome, {"text": "Done."}))
    begun = {"toolUse": {key: value for key, value in call["toolUse"].items() if key != "input"}}
    opened = {"toolResult": {key: value for key, value in outcome["toolResult"].items() if key != "content"}}
    server.push(
        events=[
            ("messageStart", {"role": "assistant"}),
            ("contentBlockStart", {"contentBlockIndex": 0, "start": begun}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": '{"q":'}}}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": '"x"}'}}}),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("contentBlockStart", {"contentBlockIndex": 1, "start": opened}),
            ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolResult": [{"text": "a"}]}}),
            ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolResult": [{"json": 1}]}}),
            ("contentBlockStop", {"contentBlockIndex": 1}),
            ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"text": "Done."}}),
            *streamed("")[-2:],
        ]
    )
    answers = [llm.sync.complete("Hi", tools=[{"systemTool": {"name": "nova_grounding"}}])]
    assert sent(server)["toolConfig"] == {"tools": [{"systemTool": {"name": "nova_grounding"}}]}
    with llm.sync.stream("Hi") as one:
        list(one)
    for response in [*answers, one.response]:
        assert (response.tool_calls, response.finish_reason) == ([], "stop")
        llm.sync.chat([HI, response.message, ON])
        assert sent(server)["messages"][1]["content"] == [call, outcome, {"text": "Done."}]


# ---- reasoning


def test_reasoning_goes_back_signed(llm, server):
    thought = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}
    hidden = {"reasoningContent": {"redactedContent": "b3BhcXVl"}}
    server.push(body=whole(thought, hidden, {"text": "Yes."}))

    def piece(index, content):
        return "contentBlockDelta", {"contentBlockIndex": index, "delta": {"reasoningContent": content}}

    server.push(
        events=[
            ("messageStart", {"role": "assistant"}),
            *(piece(0, {"text": "H"}), piece(0, {"text": "m."}), piece(0, {"signature": "c2"})),
            *(piece(0, {"signature": "ln"}), ("contentBlockStop", {"contentBlockIndex": 0})),
            *(piece(1, {"redactedContent": "b3BhcXVl"}), ("contentBlockStop", {"contentBlockIndex": 1})),
            ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"text": "Yes."}}),
            *streamed("")[-2:],
        ]
    )
    answers = [llm.sync.complete("Hi", reasoning=2048)]
    fields = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
    assert sent(server)["additionalModelRequestFields"] == fields
    with llm.sync.stream("Hi", reasoning=2048) as one:
        assert "".join(one) == "Yes."
    for response in [*answers, one.response]:
        assert (response.thinking, response.content) == ("Hm.", "Yes.")
        llm.sync.chat([HI, response.message, ON])
        assert sent(server)["messages"][1] == {"role": "assistant", "content": [thought, hidden, {"text": "Yes."}]}


def test_thinking_of_others_is_left_out(llm, server):
    llm.sync.chat([HI, {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}, ON])
    assert sent(server)["messages"][1] == {"role": "assistant", "content": [{"text": "Yes."}]}


@pytest.mark.parametrize(
    ("model", "reasoning", "fields"),
    [
        ("us.anthropic.claude-sonnet-4-6", "low", {"thinking": {"type": "adaptive"}}),
        ("us.amazon.nova-2-lite-v1:0", "low", {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}),
        ("us.amazon.nova-2-lite-v1:0", False, {"reasoningConfig": {"type": "disabled"}}),
        ("openai.gpt-oss-120b-1:0", "high", {"reasoning_effort": "high"}),
        ("openai.gpt-oss-120b-1:0", True, {"reasoning_effort": "medium"}),
        ("openai.gpt-oss-120b-1:0", False, "low"),
        ("openai.gpt-oss-120b-1:0", 2048, 'reasoning="low"'),
        ("amazon.nova-lite-v1:0", "low", "does not think"),
        ("mistral.mistral-large-2407-v1:0", "low", "additionalModelRequestFields"),
    ],
)
def test_reasoning_as_each_maker_has_it(llm, server, model, reasoning, fields):
    if isinstance(fields, str):
        with pytest.raises(UnsupportedOption, match=fields):
            llm.sync.complete("Hi", model=model, reasoning=reasoning)
        assert server.stats().requests == 0
        return
    llm.sync.complete("Hi", model=model, reasoning=reasoning)
    assert sent(server)["additionalModelRequestFields"] == fields
    effort = {"effort": "low"} if "claude" in model else None
    assert sent(server).get("outputConfig") == effort


# ---- content


def test_files(llm, server):
    png, pdf = b"\x89PNG\r\n\x1a\n", b"%PDF-1.7\n"
    parts = [
        "See:",
        ContentPart.image(png),
        ContentPart.document(pdf, name="Annual_report.pdf"),
        ContentPart.document(pdf),
        {"type": "image_url", "image_url": {"url": "s3://bucket/a.webp"}},
    ]
    llm.sync.chat([ChatMessage.user(parts)])
    content = sent(server)["messages"][0]["content"]
    assert content[1] == {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}
    assert [part["document"]["name"] for part in content[2:4]] == ["Annual report pdf", "document"]
    assert content[2]["document"] | {"name": ""} == {
        "format": "pdf",
        "name": "",
        "source": {"bytes": "JVBERi0xLjcK"},
    }
    assert content[4] == {"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://bucket/a.webp"}}}}
    with pytest.raises(UnsupportedOption, match="bytes"):
        llm.sync.chat([ChatMessage.user([ContentPart.image("https://example.com/a.png")])])


def test_turns_alternate(llm, server):
    llm.sync.chat([HI, ON, {"role": "assistant", "content": "Yes."}, ON, HI])
    content = [[part["text"] for part in turn["content"]] for turn in sent(server)["messages"]]
    assert content == [["Hi", "On."], ["Yes."], ["On.", "Hi"]]
    assert [turn["role"] for turn in sent(server)["messages"]] == ["user", "assistant", "user"]


def test_cache_marks_go_to_the_models_that_take_them(server):
    llm = BedrockProvider("key", base_url=server.url, prompt_cache=True)
    long = "What stays the same. " * 5000
    for model, marked in [(MODEL, True), ("us.amazon.nova-lite-v1:0", True), ("meta.llama3-1-8b-instruct-v1:0", False)]:
        llm.sync.complete("Hi", system=long, model=model, tools=[{"name": "now"}])
        assert (sent(server)["system"][1:] == [{"cachePoint": {"type": "default"}}]) == marked, model
    mark = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    llm.sync.chat([{"role": "user", "content": [mark]}])
    assert sent(server)["messages"][0]["content"] == [{"text": "Hi"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]


def test_a_schema_is_sent_as_text_and_an_older_model_gets_a_tool(llm, server):
    assert llm.sync.complete("Hi", response_format=list[int]).parsed == [1]
    schema = sent(server)["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"]
    assert json.loads(schema)["type"] == "object"
    for model in ("anthropic.claude-3-7-sonnet-20250219-v1:0", "amazon.nova-pro-v1:0"):
        assert llm.sync.complete("Hi", response_format=list[int], model=model).parsed == [1]
        assert "outputConfig" not in sent(server)
        assert sent(server)["toolConfig"]["toolChoice"]["tool"]["name"] == "edgequake_answer_in_json"
    name = {"toolUse": {"toolUseId": "t0", "name": "edgequake_answer_in_json"}}
    pieces = ['{"a"', ": 1}"]
    deltas = [("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": one}}}) for one in pieces]
    end = ("messageStop", {"stopReason": "tool_use"})
    for given, text in ((deltas, '{"a": 1}'), ([], "{}")):
        server.push(events=[("contentBlockStart", {"contentBlockIndex": 0, "start": name}), *given, end])
        with llm.sync.stream("Hi", response_format="json") as one:
            assert "".join(one) == text
        assert one.response.finish_reason == "stop"


# ---- errors


@pytest.mark.parametrize(
    ("name", "kind", "again"),
    [
        ("ValidationException", (InvalidRequestError, 400), False),
        ("ValidationException:http://internal.amazon.com/coral/", (InvalidRequestError, 400), False),
        ("UnrecognizedClientException", (AuthenticationError, 403), False),
        ("ExpiredTokenException", (AuthenticationError, 403), False),
        ("InvalidSignatureException", (AuthenticationError, 403), False),
        ("ModelErrorException", (ServerError, 424), False),
        ("ThrottlingException", (RateLimitError, 429), True),
        ("ServiceUnavailableException", (OverloadedError, 503), True),
    ],
)
def test_errors_are_told_apart_by_their_header(llm, server, name, kind, again):
    for _ in range(2):
        server.push(status=kind[1], headers={"x-amzn-errortype": name}, body={"message": "What went wrong."})
    with pytest.raises(LLMError, match=r"What went wrong\.") as caught:
        llm.sync.complete("Hi")
    error = caught.value
    assert (type(error), error.status, error.error_type) == (*kind, name.split(":")[0])
    assert error.request_id == "req-1"
    assert server.stats().requests == (2 if again else 1)


@pytest.mark.parametrize(
    "said", ["Input is too long for requested model.", "prompt is too long: 200049 tokens > 200000 maximum"]
)
def test_a_prompt_that_is_too_long(llm, server, said):
    said = said if said[0] == "I" else f"The model returned the following errors: {said}"
    server.push(status=400, headers={"x-amzn-errortype": "ValidationException"}, body={"message": said})
    server.push(events=[("validationException", {"message": said}, "exception")])
    with pytest.raises(ContextLengthError):
        llm.sync.complete("Hi")
    with pytest.raises(ContextLengthError), llm.sync.stream("Hi") as one:
        list(one)


def test_a_key_may_be_asked_for(server):
    llm = BedrockProvider(lambda: "of-now", base_url=server.url)
    llm.sync.complete("Hi")
    assert server.requests()[-1]["headers"]["authorization"] == "Bearer of-now"


def test_a_claude_that_decides_by_itself(llm, server):
    for fields in ({"tool_choice": "required", "tools": [{"name": "now"}]}, {"response_format": "json"}):
        with pytest.raises(UnsupportedOption):
            llm.sync.complete("Hi", model="us.anthropic.claude-opus-5-5", **fields)
    assert server.stats().requests == 0


def test_an_error_without_the_header(llm, server):
    server.push(status=403, body={"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "No."})
    with pytest.raises(LLMError, match="No") as caught:
        llm.sync.complete("Hi")
    assert (type(caught.value).__name__, caught.value.error_type) == ("PermissionDeniedError", "AccessDeniedException")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"output": {}}', b"[1]", b'{"output": {"message": {"content": [7]}}}'])
def test_an_answer_that_is_none(llm, server, body):
    server.push(body=body)
    with pytest.raises(InvalidResponseError):
        llm.sync.complete("Hi")


def test_what_is_elsewhere_is_said(llm, server):
    for ask in (lambda: llm.sync.embed(["a"]), llm.sync.list_models):
        with pytest.raises(UnsupportedOption) as caught:
            ask()
        assert caught.value.provider == "bedrock"
    assert server.stats().requests == 0


def test_the_simulator_says_that_it_speaks_another_format():
    with Simulator() as sim:
        for ask in (sim.base_url, sim.provider):
            with pytest.raises(ConfigurationError, match="does not speak Bedrock's format"):
                ask(ProviderType.BEDROCK)


# ---- who asks


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("query", ["", "?b=2&a=1"])
def test_each_request_is_signed(server, token, query):
    llm = BedrockProvider(
        region="eu-west-1",
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET,
        session_token=token,
        base_url=server.url + query,
        headers={"x-amz-custom": "a  b", "x-other": "not signed"},
        model=MODEL,
    )
    llm.sync.complete("Grüße")
    with llm.sync.stream("Hi") as one:
        list(one)
    llm.sync.count_tokens("Hi")
    for request in server.requests():
        assert request["headers"]["x-amz-custom"] == "a  b"
        request["headers"]["x-amz-custom"] = "a b"  # as it is signed
        given, computed, names = signature(request, server.url.partition("//")[2], "eu-west-1", SECRET)
        assert given["Signature"] == computed
        assert given["Credential"].split("/")[::4] == [ACCESS_KEY, "aws4_request"]
        assert {"host", "content-type", "x-amz-date", "x-amz-custom"} <= set(names)
        assert "x-other" not in names
        assert ("x-amz-security-token" in names) == (token is not None)
        assert request["headers"].get("x-amz-security-token") == token
        assert request["headers"]["x-amz-content-sha256"] == hashlib.sha256(request["body"].encode()).hexdigest()
        sent_at = datetime.strptime(request["headers"]["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        assert abs((datetime.now(timezone.utc) - sent_at).total_seconds()) < 300


def test_each_try_is_signed_anew(server):
    llm = BedrockProvider(
        region="eu-west-1", access_key_id=ACCESS_KEY, secret_access_key=SECRET, base_url=server.url, retry=NO_WAIT
    )
    server.push(status=503)
    llm.sync.complete("Hi")
    first, second = server.requests()
    for request in (first, second):
        given, computed, _ = signature(request, server.url.partition("//")[2], "eu-west-1", SECRET)
        assert given["Signature"] == computed
    assert first["headers"]["x-amz-content-sha256"] == second["headers"]["x-amz-content-sha256"]


def test_an_authorization_of_ones_own_stays(server):
    llm = BedrockProvider(region="eu-west-1", access_key_id=ACCESS_KEY, secret_access_key=SECRET, base_url=server.url)
    llm.sync.complete("Hi", extra_headers={"authorization": "Bearer of-the-gateway"})
    assert server.requests()[-1]["headers"]["authorization"] == "Bearer of-the-gateway"


def environment(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_the_environment(monkeypatch, server):
    environment(monkeypatch, AWS_DEFAULT_REGION="us-west-2", AWS_ENDPOINT_URL_BEDROCK_RUNTIME=server.url)
    with pytest.raises(ConfigurationError, match="AWS_BEARER_TOKEN_BEDROCK"):
        BedrockProvider()
    environment(monkeypatch, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_SESSION_TOKEN=TOKEN)
    BedrockProvider().sync.complete("Hi")
    request = server.requests()[-1]
    given, computed, _ = signature(request, server.url.partition("//")[2], "us-west-2", SECRET)
    assert (given["Signature"], request["headers"]["x-amz-security-token"]) == (computed, TOKEN)
    # Those that are given go without a session token of another key's.
    BedrockProvider(access_key_id="AKOTHER", secret_access_key=SECRET, region="eu-west-1").sync.complete("Hi")
    request = server.requests()[-1]
    assert "AKOTHER" in request["headers"]["authorization"]
    assert "eu-west-1" in request["headers"]["authorization"]
    assert "x-amz-security-token" not in request["headers"]
    # An API key comes first, and needs no region where there is an address.
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bearer-key")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    BedrockProvider().sync.complete("Hi")
    assert server.requests()[-1]["headers"]["authorization"] == "Bearer bearer-key"
    BedrockProvider("given").sync.complete("Hi")
    assert server.requests()[-1]["headers"]["authorization"] == "Bearer given"


def test_the_factory_takes_it_by_its_own_key_last_of_all(monkeypatch):
    environment(monkeypatch, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_REGION="us-east-1")
    with pytest.raises(ConfigurationError, match="no provider is set up"):
        ProviderFactory.from_env()
    monkeypatch.setenv("EDGEQUAKE_LLM_PROVIDER", "bedrock")
    llm, embedding = ProviderFactory.from_env()
    assert (llm.name, embedding) == ("bedrock", None)
    monkeypatch.delenv("EDGEQUAKE_LLM_PROVIDER")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "k")
    assert ProviderFactory.from_env()[0].name == "bedrock"
    monkeypatch.setenv("OLLAMA_HOST", "x")
    assert ProviderFactory.from_env()[0].name == "ollama"
    assert ProviderFactory.create(ProviderType.BEDROCK, api_key="k")[0].base_url.endswith("us-east-1.amazonaws.com")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"api_key": "k"}, "no region"),
        ({"access_key_id": "a", "secret_access_key": "b", "base_url": "https://example.com"}, "no region"),
        ({"api_key": "k", "region": "us-east-1/../x"}, "not a region"),
        ({"api_key": "k", "access_key_id": "a", "region": "us-east-1"}, "both"),
        ({"access_key_id": "a", "region": "us-east-1"}, "no secret_access_key"),
        ({"secret_access_key": "a", "region": "us-east-1"}, "no access_key_id"),
        ({"access_key_id": "a b", "secret_access_key": "c", "region": "us-east-1"}, "access key id"),
        ({"access_key_id": "a", "secret_access_key": "b\n", "region": "us-east-1"}, "secret access key"),
        ({"access_key_id": 5, "secret_access_key": "b", "region": "us-east-1"}, "access_key_id"),
    ],
)
def test_settings_that_cannot_be_used(settings, says):
    with pytest.raises((ConfigurationError, InvalidRequestError), match=says) as caught:
        BedrockProvider(**settings)
    assert "b\n" not in str(caught.value)


def test_addresses_of_regions():
    assert BedrockProvider("k", region="eu-west-1").base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    assert BedrockProvider("k", region="cn-north-1").base_url == "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"


@pytest.mark.parametrize("signed", [True, False])
def test_no_secret_shows(signed):
    """Not in a repr, and not in an error of a server that echoes the request."""
    own = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET, "session_token": TOKEN}
    settings = own if signed else {"api_key": SECRET}
    echo = answer({"message": f"bad: {SECRET} {TOKEN if signed else ''} {ACCESS_KEY if signed else ''}"}, status=400)
    with RawServer([echo]) as raw:
        llm = BedrockProvider(region="eu-west-1", base_url=raw.url, retry=0, **settings)
        with pytest.raises(InvalidRequestError) as caught:
            llm.sync.complete("Hi")
    shown = [repr(llm), str(llm), repr(llm._core), repr(llm.sync), *traceback.format_exception(caught.value)]
    for secret in settings.values():
        assert not any(secret in text for text in shown)
        assert secret not in repr(vars(caught.value))
