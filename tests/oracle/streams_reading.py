"""A second reading of streams: the whole text at once, in the plainest way.

It shares nothing with the parsers of the library, so that tests can compare the two. It is slow and keeps everything
in memory; that is fine for an oracle.
"""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"\r\n|\r|\n")


def read_sse(data: bytes) -> list[tuple[str, bytes]]:
    """Read server-sent events as (event name, data) pairs.

    Follows the WHATWG's text, but a last event without its closing blank line counts too.
    """
    events: list[tuple[str, bytes]] = []
    name = b""
    lines: list[bytes] = []
    # The extra blank line closes an event that the body leaves open.
    for line in [*_LINE_END.split(data.removeprefix(b"\xef\xbb\xbf")), b""]:
        if not line:
            if lines:
                events.append((name.decode(errors="replace"), b"\n".join(lines)))
            name, lines = b"", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value
    return events


def read_ndjson(data: bytes) -> list[bytes]:
    """Read the lines of newline-delimited JSON, without white space around them; blank lines are left out."""
    lines = (line.strip(b" \t\r\f") for line in data.split(b"\n"))
    return [line for line in lines if line]
