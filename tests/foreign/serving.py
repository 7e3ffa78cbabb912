"""Runs servers that no one here wrote, each out of an environment of its own that `tests/foreign/run` has made."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

START = 180.0
"""Seconds that a server may take until it answers."""


def environment(name: str) -> Path:
    """Find the commands that a server or a client is installed with; the test's module is skipped without them."""
    directory = Path(os.environ.get("EDGEQUAKE_FOREIGN", "/nowhere")) / name
    if not (directory / "bin" / "python").exists():
        pytest.skip(
            f"{name} is not installed here; tests/foreign/run {name} installs it and runs this", allow_module_level=True
        )
    return directory / "bin"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def serve(command: Sequence[str | Path], url: str, log: Path, **variables: str) -> Iterator[str]:
    """Run a server until the block ends; `url` answers any status once it is there."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **variables}, cwd=log.parent
        )
        try:
            eventually(lambda: _is_there(process, url, log), patience=START)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_there(process: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"the server ended with {process.returncode}: {log.read_text()[-3000:]}")
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - loopback
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True
