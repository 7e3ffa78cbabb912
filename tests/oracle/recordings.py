"""Reads the recorded exchanges with real providers, for the tests that compare with them.

They are no part of the repository: their directory is named by ``EDGEQUAKE_RECORDINGS``, or is ``shared/recordings``
beside the checkout. Tests that need them carry ``needs_recordings`` and are skipped, saying so, where they are absent.
"""

from __future__ import annotations

import functools
import gzip
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "recordings"
DIRECTORY = Path(os.environ.get("EDGEQUAKE_RECORDINGS") or _BESIDE)
FILE = DIRECTORY / "exchanges.jsonl.gz"

needs_recordings = pytest.mark.skipif(
    not FILE.exists(), reason="the recorded exchanges are not there; EDGEQUAKE_RECORDINGS names their directory"
)


class Exchange(NamedTuple):
    """One request to a real provider and its answer, the body as text byte for byte."""

    number: int
    source: str
    case: str
    wire: str
    path: str
    status: int
    headers: dict[str, str]
    stream: bool
    request: dict[str, Any]
    body: str

    @property
    def provider(self) -> str:
        """The name of the provider."""
        return self.wire.partition(".")[0]

    @property
    def format(self) -> str:
        """The name of the wire format that reads it, as ``_core`` knows it."""
        return "openai-responses" if self.wire == "openai.responses" else self.provider

    def __str__(self) -> str:
        return f"{self.number} ({self.wire} {self.status}, {self.source}: {self.case})"


@functools.cache
def exchanges() -> tuple[Exchange, ...]:
    """All recorded exchanges, in the order of the file."""
    with gzip.open(FILE, "rt", encoding="utf-8", newline="") as lines:
        return tuple(Exchange(number, **json.loads(line)) for number, line in enumerate(lines))


def of(*wires: str) -> list[Exchange]:
    """The exchanges of these wires."""
    return [exchange for exchange in exchanges() if exchange.wire in wires]
