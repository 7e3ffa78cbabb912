"""What the native limiter gives to await where there is nothing to wait for. Imported at its first use.

Python's own coroutines and generators hand their value over faster than a native awaitable can, which has to raise
`StopIteration`.
"""

from __future__ import annotations

from types import coroutine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from edgequake_llm._core import Permit


async def entered(permit: Permit) -> Permit:
    """Give a permit that was let in to whoever awaits it; for `__aenter__`."""
    return permit


def awaited(permit: Permit) -> Generator[None, None, Permit]:
    """Do the same for `__await__`, which has to give an iterator."""
    return permit
    yield


@coroutine
def _left() -> Generator[None, None, None]:
    return
    yield


LEFT = _left()
"""For `__aexit__`: it has ended, and awaiting it gives `None` at once, again and again."""
LEFT.close()
