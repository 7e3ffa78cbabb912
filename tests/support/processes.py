"""Tests in a process of their own: for forks, signals, the interpreter's end, and what an import brings in."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def script(code, *args, env=None, **settings):
    """Start Python with this program; its arguments are in `sys.argv`, its output in pipes."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **(env or {})}, **{**pipes, **settings})


def run(code, *args, patience=60.0, env=None):
    """Run a program that must end well and say nothing on stderr; return what it printed."""
    process = script(code, *args, env=env)
    return finish(process, patience=patience)


def finish(process, *, patience=60.0, returncode=0, stderr=""):
    """Wait for a program's end, check how it ended, and return what it printed."""
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {patience:g} s\n{out}\n{err}") from None
    assert (process.returncode, err) == (returncode, stderr), f"{process.returncode}\n{out}\n{err}"
    return out
