"""Where other clients break when they read an answer; each is a stream that broke one, and ours reads it right."""

from __future__ import annotations

import json

import pytest

import edgequake_llm
from edgequake_llm import FinishEvent, TextDelta, ToolCallDelta, ToolCallStart, UsageEvent, _core


def sse(*payloads, end="\n\n", colon=": "):
    """A body of server-sent events; what is no text becomes JSON."""
    texts = [payload if isinstance(payload, str) else json.dumps(payload) for payload in payloads]
    return "".join(f"data{colon}{text}{end}" for text in texts).encode()


def chunk(delta=None, *, finish=None, **more):
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}


def call(index, name=None, arguments=None, **more):
    function = {"name": name, "arguments": arguments}
    return {
        **({} if index is ... else {"index": index}),
        "function": {k: v for k, v in function.items() if v is not None},
        **more,
    }


def openai(*payloads, **options):
    return _core.decode_chat("openai", sse(*payloads), stream=True, **options)


def anthropic(*events):
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return _core.decode_chat("anthropic", body.encode(), stream=True)


def ollama(*lines):
    return _core.decode_chat("ollama", b"".join(json.dumps(line).encode() + b"\n" for line in lines), stream=True)


def calls(response):
    return [(call.id, call.name, call.parse()) for call in response.tool_calls]


STOP = chunk(finish="stop")


# Bytes into text.


@pytest.mark.parametrize("wire", ["openai", "gemini", "anthropic", "ollama"])
def test_a_character_split_over_pieces_stays_whole(wire):
    text = "é ü 漢 😀"
    bodies = {
        "openai": sse(chunk({"content": text}), STOP, "[DONE]").replace(
            json.dumps(text).encode(), f'"{text}"'.encode()
        ),
        "gemini": f'data: {{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}},"finishReason":"STOP"}}]}}\r\n\r\n'.encode(),
        "anthropic": (
            'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
            f'data: {{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}\n\n'
            'data: {"type":"message_stop"}\n\n'
        ).encode(),
        "ollama": f'{{"message":{{"content":"{text}"}},"done":true}}\n'.encode(),
    }
    body = bodies[wire]
    assert text.encode() in body
    for at in range(1, len(body)):
        assert _core.decode_chat(wire, body, stream=True, cuts=[at]).content == text
    assert _core.decode_chat(wire, body, stream=True, cuts=range(1, len(body))).content == text


def test_lines_of_json_survive_being_put_together_and_split():
    tokens = [f"t{n} " for n in range(20)]
    lines = [{"message": {"content": token}, "done": False} for token in tokens]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in [*lines, {"message": {"content": ""}, "done": True}])
    for cuts in ([], range(1, len(body)), range(7, len(body), 7), range(300, len(body), 300)):
        assert _core.decode_chat("ollama", body, stream=True, cuts=list(cuts)).content == "".join(tokens)


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
@pytest.mark.parametrize("colon", [":", ": "])
def test_any_line_end_and_no_space_behind_the_colon(end, colon):
    body = sse(chunk({"content": "a"}), chunk({"content": "b"}), STOP, "[DONE]", end=end, colon=colon)
    assert _core.decode_chat("openai", body, stream=True).content == "ab"


def test_a_line_of_a_megabyte_is_not_too_big():
    big = "x" * (1 << 20)
    for size in (1 << 12, 1 << 16, 1 << 22):
        body = sse(chunk({"content": big}), STOP, "[DONE]")
        assert _core.decode_chat("openai", body, stream=True, cuts=list(range(size, len(body), size))).content == big


def test_comments_and_pings_are_no_events():
    body = b": OPENROUTER PROCESSING\n\n" * 3 + sse(chunk({"content": "a"})) + b":\n\n" + sse(STOP, "[DONE]")
    assert [type(event) for event in _core.decode_events("openai", body)] == [TextDelta, FinishEvent]
    body = (
        b'event: ping\ndata: {"type": "ping"}\n\n'
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":"hi"}}\n\n'
        b'event: ping\ndata: {"type": "ping"}\n\n'
        b'data: {"type":"message_stop"}\n\n'
    )
    assert [type(event) for event in _core.decode_events("anthropic", body)] == [TextDelta]


def test_events_of_unknown_kinds_are_passed_over():
    text = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "hi"}}
    odd = {"type": "brand_new", "delta": 7, "usage": "soon", "index": "x"}
    assert anthropic(odd, text, odd, {"type": "message_stop"}).content == "hi"
    assert openai({"object": "brand.new", "choices": []}, chunk({"content": "hi", "new": {}}), STOP).content == "hi"


# Why it stopped, and what it cost.


def test_the_first_finish_reason_holds():
    response = openai(chunk({"content": "a"}, finish="length"), STOP, "[DONE]")
    assert (response.finish_reason, response.raw_finish_reason) == ("length", "length")
    body = sse(chunk({"content": "a"}, finish="length"), STOP, "[DONE]")
    assert [type(event) for event in _core.decode_events("openai", body)] == [TextDelta, FinishEvent]


def test_a_finish_reason_in_a_chunk_with_content():
    response = openai(chunk({"content": "all"}, finish="stop"))
    assert (response.content, response.finish_reason) == ("all", "stop")


def test_nothing_behind_the_end_counts_however_alike_it_is():
    body = sse(*[chunk({"content": text}) for text in "ab"], "[DONE]", chunk({"content": "c"}))
    assert _core.decode_chat("openai", body, stream=True).content == "ab"


def test_no_finish_reason_and_no_usage():
    response = openai(chunk({"content": "all"}), "[DONE]")
    assert (response.content, response.finish_reason, response.usage) == ("all", None, None)
    with pytest.raises(edgequake_llm.StreamInterrupted) as raised:
        openai(chunk({"content": "some"}))
    assert raised.value.partial.content == "some"


@pytest.mark.parametrize(
    ("wire", "body", "reason"),
    [
        ("openai", sse(chunk({"content": "x"}, finish="eos")), "stop"),
        ("openai", sse(chunk({"content": "x"}, finish="Stop")), "stop"),
        ("anthropic", b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n', "stop"),
        ("anthropic", b'data: {"type":"message_delta","delta":{"stop_reason":"max_tokens"}}\n\n', "length"),
        ("anthropic", b'data: {"type":"message_delta","delta":{"stop_reason":"refusal"}}\n\n', "refusal"),
        ("gemini", b'data: {"candidates":[{"finishReason":"STOP"}]}\n\n', "stop"),
        ("gemini", b'data: {"candidates":[{"finishReason":"MAX_TOKENS"}]}\n\n', "length"),
        ("gemini", b'data: {"promptFeedback":{"blockReason":"SAFETY"}}\n\n', "content_filter"),
        ("ollama", b'{"message":{"content":""},"done":true,"done_reason":"length"}\n', "length"),
        ("ollama", b'{"message":{"content":""},"done":true}\n', "stop"),
    ],
)
def test_one_spelling_of_finish_reasons(wire, body, reason):
    assert _core.decode_chat(wire, body, stream=True).finish_reason == reason


def test_usage_in_a_last_chunk_without_choices():
    counts = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    response = openai(chunk({"content": "a"}), STOP, {"choices": [], "usage": counts}, "[DONE]")
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (7, 3)


def test_usage_in_every_chunk_or_twice_is_not_added_up():
    def counts(n):
        return {"prompt_tokens": 7, "completion_tokens": n, "total_tokens": 7 + n}

    every = [chunk({"content": "a"}, usage=counts(n)) for n in (1, 2, 3)]
    response = openai(*every, chunk(finish="stop", usage=counts(3)), {"choices": [], "usage": counts(3)}, "[DONE]")
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (7, 3)
    events = _core.decode_events("openai", sse(*every, STOP, {"choices": [], "usage": counts(3)}))
    assert [event.usage.completion_tokens for event in events if isinstance(event, UsageEvent)] == [1, 2, 3]


def test_the_counts_of_message_delta_are_totals():
    start = {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 10, "output_tokens": 4}}}
    deltas = [{"type": "message_delta", "delta": {}, "usage": {"output_tokens": n}} for n in (20, 30)]
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"input_tokens": None, "output_tokens": 31},
    }
    response = anthropic(start, *deltas, end, {"type": "message_stop"})
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (10, 31)


def test_cached_tokens_count_once_whoever_leaves_them_out():
    anthropics = b'{"content":[],"usage":{"input_tokens":10,"cache_read_input_tokens":90,"output_tokens":1}}'
    openais = b'{"choices":[{"message":{"content":""}}],"usage":{"prompt_tokens":100,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":90}}}'
    geminis = b'{"candidates":[{}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":1,"cachedContentTokenCount":90}}'
    for wire, body in (("anthropic", anthropics), ("openai", openais), ("gemini", geminis)):
        usage = _core.decode_chat(wire, body).usage
        assert (usage.prompt_tokens, usage.cached_tokens, usage.total_tokens) == (100, 90, 101), wire


# Tool calls.


def test_every_delta_of_a_chunk_counts():
    response = openai(
        chunk({"tool_calls": [call(0, "f", '{"a"', id="x"), call(1, "g", "{", id="y"), call(2, "h", "", id="z")]}),
        chunk({"tool_calls": [call(0, arguments=": 1}"), call(1, arguments="}")]}),
        chunk(finish="tool_calls"),
    )
    assert calls(response) == [("x", "f", {"a": 1}), ("y", "g", {}), ("z", "h", {})]


@pytest.mark.parametrize("index", [..., None])
def test_parallel_calls_without_an_index(index):
    response = openai(
        chunk({"tool_calls": [call(index, "f", '{"n": ', id="x")]}),
        chunk({"tool_calls": [call(index, arguments="1}")]}),
        chunk({"tool_calls": [call(index, "f", '{"n": 2}', id="y")]}),
        chunk(finish="tool_calls"),
    )
    assert calls(response) == [("x", "f", {"n": 1}), ("y", "f", {"n": 2})]


def test_pieces_of_parallel_calls_mixed():
    body = sse(
        chunk({"tool_calls": [call(0, "f", "", id="x")]}),
        chunk({"tool_calls": [call(1, "g", "", id="y")]}),
        chunk({"tool_calls": [call(1, arguments='{"b":2}')]}),
        chunk({"tool_calls": [call(0, arguments='{"a":1}')]}),
        chunk(finish="tool_calls"),
    )
    events = _core.decode_events("openai", body)
    assert [event.index for event in events if isinstance(event, ToolCallStart)] == [0, 1]
    assert [(event.index, event.arguments) for event in events if isinstance(event, ToolCallDelta)] == [
        (1, '{"b":2}'),
        (0, '{"a":1}'),
    ]


def test_arguments_that_are_empty_missing_null_or_an_object():
    for arguments in ("", None, ...):
        function = {"name": "f", **({} if arguments is ... else {"arguments": arguments})}
        response = openai(
            chunk({"tool_calls": [{"index": 0, "id": "x", "function": function}]}), chunk(finish="tool_calls")
        )
        assert calls(response) == [("x", "f", {})]
        whole = {
            "choices": [{"message": {"tool_calls": [{"id": "x", "function": function}]}, "finish_reason": "tool_calls"}]
        }
        assert calls(_core.decode_chat("openai", json.dumps(whole).encode())) == [("x", "f", {})]
    response = openai(
        chunk({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": {"a": 1}}}]}), STOP
    )
    assert calls(response) == [("x", "f", {"a": 1})]


def test_a_tool_call_without_arguments_in_anthropics_stream():
    block = {"type": "tool_use", "id": "t", "name": "now", "input": {}}
    response = anthropic(
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    )
    assert calls(response) == [("t", "now", {})]


def test_ollamas_tools_in_a_stream():
    tools = [{"function": {"name": "f", "arguments": {"a": 1}}}, {"function": {"name": "g", "arguments": {}}}]
    response = ollama(
        {"message": {"content": "Let me see.", "tool_calls": tools[:1]}, "done": False},
        {"message": {"content": "", "tool_calls": tools[1:]}, "done": False},
        {"message": {"content": ""}, "done": True, "done_reason": "stop"},
    )
    assert calls(response) == [("call_0", "f", {"a": 1}), ("call_1", "g", {})]
    assert (response.content, response.finish_reason) == ("Let me see.", "tool_calls")


# Errors in place of an answer, and inside one.


@pytest.mark.parametrize(
    ("wire", "body", "exception"),
    [
        (
            "anthropic",
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
            "OverloadedError",
        ),
        ("openai", b'data: {"error":{"message":"Rate limited","code":429}}\n\n', "RateLimitError"),
        ("openai", b'event: error\ndata: {"message":"oops","type":"server_error"}\n\n', "ServerError"),
        ("gemini", b'data: {"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}\r\n\r\n', "OverloadedError"),
        (
            "gemini",
            b'data: [{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}]\r\n\r\n',
            "RateLimitError",
        ),
        ("ollama", b'{"error":"llama runner process has terminated"}\n', "ServerError"),
    ],
)
def test_an_error_under_status_200_raises_what_its_status_would_have(wire, body, exception):
    with pytest.raises(getattr(edgequake_llm, exception)) as raised:
        _core.decode_chat(wire, body, stream=True)
    assert type(raised.value).__name__ == exception
    assert raised.value.retryable, "nothing was delivered yet"


def test_a_message_decides_nothing():
    busy = b'{"error":{"message":"context length service is down: invalid api key, rate limit, quota"}}'
    with pytest.raises(edgequake_llm.OverloadedError):
        _core.decode_chat("openai", busy, status=503)
    with pytest.raises(edgequake_llm.ServerError):
        _core.decode_chat("openai", busy, status=500)


def test_a_wait_is_read_only_from_an_error():
    body = b'{"choices":[{"message":{"content":"fine"}}]}'
    assert _core.decode_chat("openai", body, headers={"retry-after": "30"}).content == "fine"


def test_what_is_no_stream_says_so_with_an_excerpt():
    for wire in ("openai", "anthropic", "gemini"):
        with pytest.raises(edgequake_llm.InvalidResponseError, match="<html>busy"):
            _core.decode_chat(wire, b"data: <html>busy</html>\n\n", stream=True)
    with pytest.raises(edgequake_llm.InvalidResponseError, match="<html>busy"):
        _core.decode_chat("ollama", b"<html>busy</html>\n", stream=True)


def test_ten_thousand_pieces_join_to_one_text():
    # Whatever joins pieces by making a new text of each sum would copy gigabytes here.
    body = sse(*[chunk({"content": "0123456789" * 10})] * 10_000, STOP, "[DONE]")
    assert len(_core.decode_chat("openai", body, stream=True).content) == 1_000_000


# Embeddings.


def test_vectors_go_where_their_index_says():
    items = [{"index": 2, "embedding": [2.0]}, {"index": 0, "embedding": [0.0]}, {"index": 1, "embedding": [1.0]}]
    assert _core.decode_embed("openai", json.dumps({"data": items}).encode(), 3).tolist() == [[0.0], [1.0], [2.0]]


@pytest.mark.parametrize(
    "items",
    [
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [2.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [2.0, 3.0]}],
    ],
)
def test_vectors_that_are_missing_twice_there_or_uneven_raise(items):
    with pytest.raises(edgequake_llm.InvalidResponseError):
        _core.decode_embed("openai", json.dumps({"data": items}).encode(), 2)
