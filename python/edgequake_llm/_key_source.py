"""A key that a function gives for each call, as tokens that expire want it: a hook that puts it into the headers."""

from __future__ import annotations

from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm._hooked import HookedCore
from edgequake_llm.hooks import Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from edgequake_llm import _core
    from edgequake_llm.hooks import HookCall

BEARER = "Bearer "
"""What a token begins with that goes into the header `authorization`, whatever header the provider's keys go into."""


def keyed(core: _core.Provider, source: Callable[[], Any]) -> HookedCore:
    """Return the core with the key of each call from `source`, a function, async or not."""
    from inspect import iscoroutinefunction

    header, prefix = core.key_header

    def put(call: HookCall, key: object) -> HookCall:
        if not isinstance(key, str) or not key.strip():
            what = "an empty text" if isinstance(key, str) else type(key).__name__
            raise ConfigurationError(f"the function given as api_key must return a key, not {what}", provider=core.name)
        own = {"authorization": key} if key.startswith(BEARER) else {header: prefix + key}
        headers = {**own, **call.option("extra_headers", {})}
        return call.replace(fields={**(call.fields or {}), "extra_headers": headers})

    async def wait(call: HookCall, key: Awaitable[object]) -> HookCall:
        return put(call, await key)

    def authorize(call: HookCall) -> HookCall | Awaitable[HookCall]:
        key = source()
        return wait(call, key) if hasattr(key, "__await__") else put(call, key)

    async def authorize_async(call: HookCall) -> HookCall:
        return put(call, await source())

    return HookedCore(
        core, (Hooks(on_request=authorize_async if iscoroutinefunction(source) else authorize),), "api_key"
    )
