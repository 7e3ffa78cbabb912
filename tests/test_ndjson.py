"""The parser of newline-delimited JSON against a plain reading of the same bytes."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgequake_llm
from edgequake_llm import _core
from oracle.streams_reading import read_ndjson


def lines(*pieces: bytes, max_frame: int = 1 << 30) -> list[bytes]:
    found = [frame for piece in _core.read_frames("ndjson", pieces, max_frame=max_frame) for frame in piece]
    assert all(event == "" for event, _ in found)
    return [line for _, line in found]


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


CUTS = st.lists(st.integers(0, 10_000), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n", b"\n \t\r\n"])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(VALUES, ENDS, st.booleans()), max_size=8), CUTS, st.booleans())
def test_values_come_back_at_any_cut(values, cuts, closed):
    body = b"".join(json.dumps(value, ensure_ascii=ascii_).encode() + end for value, end, ascii_ in values)
    if not closed:
        body = body.rstrip(b"\n\r\t ")  # The last line counts without its end.
    found = lines(*cut(body, cuts))
    assert [json.loads(line) for line in found] == [value for value, _, _ in values]


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"\n", b"\r", b" ", b"\t", b"\x0c", b"\x0b", b"{}", b"\xff", "é".encode()])
        | st.binary(max_size=3),
        max_size=40,
    ).map(b"".join),
    CUTS,
)
def test_any_bytes_at_any_cut(body, cuts):
    assert lines(*cut(body, cuts)) == lines(body) == read_ndjson(body)


def test_a_cut_at_every_byte_and_all_bytes_apart():
    body = '{"a": "é"}\r\n\n {"b": "😀\\n"} \n{"c": 3}'.encode()
    whole = ['{"a": "é"}'.encode(), '{"b": "😀\\n"}'.encode(), b'{"c": 3}']
    assert lines(*(body[at : at + 1] for at in range(len(body)))) == whole
    for first in range(len(body) + 1):
        for second in range(first, len(body) + 1):
            assert lines(body[:first], body[first:second], body[second:]) == whole


def test_a_line_comes_as_soon_as_its_end_does():
    found = _core.read_frames("ndjson", [b'{"a"', b":1}\n{", b"}\r\n", b"[]"])
    assert [[line for _, line in piece] for piece in found] == [[], [b'{"a":1}'], [b"{}"], [], [b"[]"]]


@pytest.mark.parametrize("size", [1_000, 65_536, 3_000_000])
def test_a_line_of_two_megabytes(size):
    line = json.dumps({"message": {"content": "0123456789abcdef" * (1 << 17)}}).encode()
    body = b"{}\n" + line + b"\n{}\n"
    assert lines(*(body[at : at + size] for at in range(0, len(body), size))) == [b"{}", line, b"{}"]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(0, 40), CUTS)
def test_the_bound_holds_at_any_cut(limit, length, cuts):
    body = b"x" * length + b"\n"
    if length <= limit:
        assert lines(*cut(body, cuts), max_frame=limit) == [b"x" * length] * (length > 0)
    else:
        with pytest.raises(edgequake_llm.InvalidResponseError, match=f"larger than {limit} bytes"):
            lines(*cut(body, cuts), max_frame=limit)


def test_a_line_that_never_ends_is_refused_when_it_is_too_long():
    with pytest.raises(edgequake_llm.InvalidResponseError):
        lines(*[b"xxxxxxxxxx"] * 100, max_frame=500)
