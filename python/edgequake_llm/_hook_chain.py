"""The way of a call through its hooks, for those that come whole and those that come in pieces."""

from __future__ import annotations

from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm.hooks import HookCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, TypeVar

    from edgequake_llm.hooks import Hook, Hooks

    T = TypeVar("T")


async def settle(function: Hook | None, call: HookCall) -> Any:
    """Call a function that may be async."""
    value: Any = None if function is None else function(call)
    return await value if hasattr(value, "__await__") else value


async def request(
    hooks: tuple[Hooks, ...], call: HookCall, kind: type, entered: list[Hooks]
) -> tuple[HookCall, Any | None]:
    """Pass a call through `on_request`, inwards. Returns what to send, or an answer with which nothing is sent."""
    for each in hooks:
        outcome = await settle(each.on_request, call)
        if isinstance(outcome, HookCall):
            call = outcome
        elif outcome is not None:
            return call, checked(outcome, kind, "on_request")
        entered.append(each)
    return call, None


def checked(outcome: object, kind: type, name: str) -> Any:
    """Return an answer of the kind that the call has. Raises `ConfigurationError` for any other."""
    if not isinstance(outcome, kind):
        changed = " or a changed HookCall" if name == "on_request" else ""
        message = f"{name} must return None, a {kind.__name__}{changed}, not {type(outcome).__name__}"
        raise ConfigurationError(message)
    return outcome


def now(chain: Coroutine[Any, Any, T]) -> T:
    """Run a chain that has nothing to wait for."""
    try:
        chain.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        chain.close()
    raise ConfigurationError("a hook waits for something; use `await provider.chat(...)` and the like, not .sync")
