"""Waiting for what can be seen, instead of sleeping for as long as it might take."""

from __future__ import annotations

import asyncio
import time

PATIENCE = 30.0
_POLL = 0.005


def eventually(predicate, *, patience=PATIENCE):
    """Poll until `predicate()` is true and return its value; fail when patience ends."""
    deadline = time.monotonic() + patience
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {patience:g} s: {_shown(predicate)}")
        time.sleep(_POLL)
    return value


async def aeventually(predicate, *, patience=PATIENCE):
    """As `eventually`, for coroutines: the event loop runs on meanwhile."""
    deadline = time.monotonic() + patience
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {patience:g} s: {_shown(predicate)}")
        await asyncio.sleep(_POLL)
    return value


def _shown(predicate):
    import inspect

    try:
        return inspect.getsource(predicate).strip()
    except (OSError, TypeError):
        return repr(predicate)
