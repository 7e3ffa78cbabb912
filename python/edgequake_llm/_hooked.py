"""How calls pass hooks: `HookedCore` stands where a provider's native core stood, and does what that does.

So a provider with hooks needs no methods of its own, and whatever is put around it finds a core to put itself around.
"""

from __future__ import annotations

from time import perf_counter

from edgequake_llm import _core
from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm._hook_chain import checked, now, request, settle
from edgequake_llm._hooked_streams import HookedStream, SyncHookedStream
from edgequake_llm.hooks import HookCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any, TypeVar

    from edgequake_llm.hooks import Hook, Hooks, Kind

    T = TypeVar("T")

# What each kind of call takes besides keywords, and what answers it.
_ARGUMENTS: dict[Kind, tuple[str, ...]] = {
    "chat": ("messages", "options"),
    "stream": ("messages", "options"),
    "count_tokens": ("messages", "options"),
    "embed": ("texts",),
    "list_models": (),
    "request": ("method", "path", "body"),
}
_ANSWERS: dict[Kind, type] = {
    "chat": _core.LLMResponse,
    "count_tokens": int,
    "embed": _core.Embeddings,
    "list_models": list,
    "request": object,
}
_METHODS: dict[Kind, str] = {"request": "ask"}


class HookedCore:
    """A core with hooks around its calls; in all else it is the core itself."""

    __slots__ = ("_around_calls", "_around_streams", "_async", "_core", "_hooks", "_of", "tasks")

    def __init__(self, core: Any, hooks: tuple[Hooks, ...], of: str | None = None) -> None:
        self._core = core
        self._hooks = hooks
        self._of = of  # The setting that they are made of, for messages.
        self._around_calls = any(each.on_request or each.on_response or each.on_error for each in hooks)
        self._around_streams = any(each.on_request or each.on_error or each.on_stream_end for each in hooks)
        self._async: frozenset[str] | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def limited(self, limiter: _core.RateLimiter) -> HookedCore:
        return HookedCore(self._core.limited(limiter), self._hooks, self._of)

    def cached(self, cache: _core.LLMCache) -> HookedCore:
        return HookedCore(self._core.cached(cache), self._hooks, self._of)

    def chat(self, *given: Any) -> Awaitable[Any]:
        return self._ask("chat", given)

    def chat_sync(self, *given: Any) -> Any:
        return self._ask_sync("chat", given)

    def embed(self, *given: Any) -> Awaitable[Any]:
        return self._ask("embed", given)

    def embed_sync(self, *given: Any) -> Any:
        return self._ask_sync("embed", given)

    def count_tokens(self, *given: Any) -> Awaitable[Any]:
        return self._ask("count_tokens", given)

    def count_tokens_sync(self, *given: Any) -> Any:
        return self._ask_sync("count_tokens", given)

    def list_models(self, *given: Any) -> Awaitable[Any]:
        return self._ask("list_models", given)

    def list_models_sync(self, *given: Any) -> Any:
        return self._ask_sync("list_models", given)

    def ask(self, *given: Any) -> Awaitable[Any]:
        return self._ask("request", given)

    def ask_sync(self, *given: Any) -> Any:
        return self._ask_sync("request", given)

    def stream(self, *given: Any) -> Any:
        if not self._around_streams:
            return self._core.stream(*given)
        return HookedStream(self, self._hooks, self._call("stream", given), _sender(self._core.stream))

    def stream_sync(self, *given: Any) -> Any:
        if not self._around_streams:
            return self._core.stream_sync(*given)
        self._check_sync(("on_request", "on_error", "on_stream_end"))
        return SyncHookedStream(self, self._hooks, self._call("stream", given), _sender(self._core.stream_sync))

    def _ask(self, kind: Kind, given: tuple[Any, ...]) -> Awaitable[Any]:
        method = getattr(self._core, _METHODS.get(kind, kind))
        if not self._around_calls:
            return method(*given)  # type: ignore[no-any-return]
        return _answer(self._hooks, self._call(kind, given), _ANSWERS[kind], _sender(method))

    def _ask_sync(self, kind: Kind, given: tuple[Any, ...]) -> Any:
        method = getattr(self._core, _METHODS.get(kind, kind) + "_sync")
        if not self._around_calls:
            return method(*given)
        self._check_sync(("on_request", "on_response", "on_error"))
        return now(_answer(self._hooks, self._call(kind, given), _ANSWERS[kind], _sender(method)))

    def _call(self, kind: Kind, given: tuple[Any, ...]) -> HookCall:
        """Describe a call: its arguments, and the keywords behind them."""
        names = _ARGUMENTS[kind]
        fields: Mapping[str, Any] = given[len(names)] if len(given) > len(names) else {}
        call = HookCall(
            kind=kind, provider=self._core.name, model=None, fields=fields, **dict(zip(names, given, strict=False))
        )
        if kind in {"list_models", "request"}:
            return call
        default = self._core.embedding_model if kind == "embed" else self._core.model
        return call.replace(model=call.option("model", default))

    def is_async(self, name: str) -> bool:
        """Whether one of the hooks of this name is an async function."""
        if self._async is None:
            from inspect import iscoroutinefunction

            def waits(hook: object) -> bool:
                return iscoroutinefunction(hook) or iscoroutinefunction(getattr(hook, "__call__", None))  # noqa: B004

            given = (pair for each in self._hooks for pair in each._asdict().items())
            self._async = frozenset(name for name, hook in given if hook is not None and waits(hook))
        return name in self._async

    def _check_sync(self, names: tuple[str, ...]) -> None:
        """Raise `ConfigurationError` if a hook of these is async: here is no event loop for it."""
        for name in names:
            if self.is_async(name):
                raise ConfigurationError(
                    f"{self._of or name} is async; use `await provider.chat(...)` and the like, not .sync"
                )


def _sender(method: Callable[..., Any]) -> Callable[[HookCall], Any]:
    """Return what makes the call that the hooks let through."""

    def send(call: HookCall) -> Any:
        fields = dict(call.fields or {})
        # A model that a hook put into the call is one of its keywords.
        if call.model is not None and call.model != call.option("model"):
            fields["model"] = call.model
        return method(*(getattr(call, name) for name in _ARGUMENTS[call.kind]), fields)

    return send


async def _answer(hooks: tuple[Hooks, ...], call: HookCall, kind: type[T], send: Hook) -> T:
    """Make a call: inwards through the hooks, and back out. Cancelling is no error and passes by."""
    started = perf_counter()
    entered: list[Hooks] = []
    answer: Any = None
    error: Exception | None = None
    try:
        call, answer = await request(hooks, call, kind, entered)
        if answer is None:
            answer = await settle(send, call)
    except Exception as raised:  # noqa: BLE001 - hooks see whatever it is
        error = raised
    for each in reversed(entered):
        seen = call.replace(response=answer, error=error, elapsed=perf_counter() - started)
        name = "on_response" if error is None else "on_error"
        try:
            outcome = await settle(getattr(each, name), seen)
            if outcome is not None:
                answer, error = checked(outcome, kind, name), None
        except Exception as raised:  # noqa: BLE001 - the hooks around this one see it
            answer, error = None, raised
    if error is not None:
        raise error
    return answer  # type: ignore[no-any-return]
