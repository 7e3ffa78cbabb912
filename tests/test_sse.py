"""The parser of server-sent events against the WHATWG's event-stream text and a plain reading of it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import edgequake_llm
from edgequake_llm import _core
from oracle.streams_reading import read_sse


def frames(*pieces: bytes, max_frame: int = 1 << 30) -> list[tuple[str, bytes]]:
    found = _core.read_frames("sse", pieces, max_frame=max_frame)
    return [frame for piece in found for frame in piece]


def data(*pieces: bytes) -> list[bytes]:
    return [payload for _, payload in frames(*pieces)]


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


LINES = [
    "data:",
    "data: ",
    "data",
    "data: x",
    'data:{"a": 1}',
    "data: é😀",
    "event",
    "event:",
    "event: delta",
    "event: é",
    "id: 7",
    "id",
    "retry: 10",
    "retry",
    ":",
    ": ping",
    ":data: no",
    "datax: no",
    " data: no",
    "data : no",
    "DATA: no",
    "foo",
    "foo: bar",
    "\ufeff",
    "\ufeffdata: late mark",
    "\x00",
]
ENDS = ["\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "\n\r", "\n\r\n", "\r\n\n", "\r\r\n", ""]
PIECE = st.one_of(
    st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)).map(lambda pair: "".join(pair).encode()),
    st.binary(max_size=4),
    st.sampled_from([b"\xef", b"\xef\xbb", b"\xef\xbb\xbf", b"data: \xff\xfe\n\n", b"event: \xff\n"]),
)
STREAM = st.lists(PIECE, max_size=30).map(b"".join)
CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@settings(max_examples=1000, deadline=None)
@given(STREAM, CUTS)
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8])
@example(b"\xef\xbb\xbfdata: a\n\n", [1])
@example(b"\xef\xbbdata: a\n\ndata: b\n\n", [1, 2])
def test_whatever_comes_reads_as_the_plain_reading_has_it(body, cuts):
    assert frames(body) == read_sse(body)
    assert frames(*cut(body, cuts)) == read_sse(body)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), CUTS)
def test_any_bytes_at_any_cut(body, cuts):
    assert frames(*cut(body, cuts)) == frames(body) == read_sse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf: mark\r\ndata: \xc3\xa9\r\nevent: e\r\n\r\ndata:two\rdata: lines\r\rdata: three\n\n",
        b'event: a\nid: 1\nretry: 5\ndata: x\n\n: ping\n\nevent: forgotten\n\ndata: {"\xf0\x9f\x98\x80": 1}',
    ],
)
def test_a_cut_at_every_byte_and_all_bytes_apart(body):
    whole = read_sse(body)
    assert frames(*(body[at : at + 1] for at in range(len(body)))) == whole
    for first in range(len(body) + 1):
        for second in range(first, len(body) + 1):
            assert frames(body[:first], body[first:second], body[second:]) == whole, (first, second)


# The examples of the text itself, section "Interpreting an event stream".
def test_a_message_may_have_two_lines():
    body = (
        b"data: This is the first message.\n\n"
        b"data: This is the second message, it\ndata: has two lines.\n\n"
        b"data: This is the third message.\n\n"
    )
    expected = [b"This is the first message.", b"This is the second message, it\nhas two lines."]
    assert data(body) == [*expected, b"This is the third message."]
    assert data(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [b"YHOO\n+2\n10"]


def test_events_have_types():
    body = b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\ndata: none\n\n"
    assert frames(body) == [("add", b"73857293"), ("remove", b"2153"), ("add", b"113411"), ("", b"none")]


def test_a_comment_an_id_and_a_second_space():
    body = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
    assert data(body) == [b"first event", b"second event", b" third event"]


def test_a_field_may_have_no_colon_and_an_event_no_text():
    assert data(b"data\n\ndata\ndata\n\n") == [b"", b"\n"]


def test_one_space_behind_the_colon_does_not_count():
    assert data(b"data:test\n\ndata: test\n\n") == [b"test", b"test"]


def test_an_event_without_data_is_none_and_its_name_is_forgotten():
    assert frames(b"event: a\n\nid: 4\nretry: 9\n\ndata: x\n\n") == [("", b"x")]


def test_the_last_event_counts_without_its_blank_line():
    # Here the text would drop it; servers cut it off, with the whole event in it.
    for end in (b"", b"\n", b"\r\n"):
        assert data(b"data: [DONE]" + end) == [b"[DONE]"]


def test_only_the_first_byte_order_mark_is_passed_over():
    mark = b"\xef\xbb\xbf"
    assert data(mark + b"data: a\n\n") == [b"a"]
    assert data(mark + mark + b"data: a\n\ndata: b\n\n") == [b"b"]
    assert data(b"\n" + mark + b"data: a\n\n") == []
    assert data(b"data: " + mark + b"a\n\n") == [mark + b"a"]


def test_a_cr_at_the_end_of_a_piece_delays_nothing():
    pieces = [b"data: x\r", b"\r", b"\ndata: y\r\n\r", b"\n", b"data: z\n", b"\n"]
    found = _core.read_frames("sse", pieces)
    assert [[payload for _, payload in piece] for piece in found] == [[], [b"x"], [b"y"], [], [], [b"z"], []]


def test_broken_utf8_costs_nothing_but_itself():
    assert frames(b"event: \xff\ndata: a\xffb\xc3\n\ndata: \xc3\xa9\n\n") == [
        ("\ufffd", b"a\xffb\xc3"),
        ("", "é".encode()),
    ]


@pytest.mark.parametrize("size", [1_000, 65_536, 3_000_000])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_a_line_of_two_megabytes(size, end):
    payload = b"0123456789abcdef" * (1 << 17)
    body = b"data: before\n\nevent: big\ndata:" + payload + end + b"data: after\n\n"
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert frames(*pieces) == [("", b"before"), ("big", payload), ("", b"after")]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.integers(0, 60), CUTS)
def test_the_bound_holds_for_a_line_at_any_cut(limit, length, cuts):
    line = b"data:" + b"x" * length
    body = line + b"\n\n"
    if len(line) <= limit:
        assert frames(*cut(body, cuts), max_frame=limit) == [("", b"x" * length)]
    else:
        with pytest.raises(edgequake_llm.InvalidResponseError, match=f"larger than {limit} bytes"):
            frames(*cut(body, cuts), max_frame=limit)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 10), min_size=1, max_size=10), CUTS)
def test_the_bound_holds_for_an_event_of_many_lines(lengths, cuts):
    limit = 30
    lines = [b"x" * length for length in lengths]
    body = b"".join(b"data:" + line + b"\n" for line in lines) + b"\n"
    if len(b"\n".join(lines)) <= limit:
        assert frames(*cut(body, cuts), max_frame=limit) == [("", b"\n".join(lines))]
    else:
        with pytest.raises(edgequake_llm.InvalidResponseError):
            frames(*cut(body, cuts), max_frame=limit)


def test_a_line_that_never_ends_is_refused_when_it_is_too_long():
    with pytest.raises(edgequake_llm.InvalidResponseError):
        frames(*[b"data: xxxx"] * 100, max_frame=500)
    with pytest.raises(edgequake_llm.InvalidResponseError):
        frames(*[b":" + b"x" * 100] * 100, max_frame=500)
