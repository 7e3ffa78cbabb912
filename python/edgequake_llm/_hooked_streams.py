"""Streams with hooks: `on_request` before one, `on_error` where it fails, `on_stream_end` once, however it ends."""

from __future__ import annotations

import sys
from time import perf_counter

from edgequake_llm import _core
from edgequake_llm._exceptions import ClosedError, ConfigurationError, LLMError
from edgequake_llm._hook_chain import checked, now, request, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType
    from typing import Any

    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self

    from edgequake_llm._hooked import HookedCore
    from edgequake_llm.hooks import Ended, HookCall, Hooks

_END = object()
"""What `_pull` gives at the end: an iterator's own sign of it cannot pass through a coroutine."""


class _Stream:
    """What the two streams share. Of its coroutines those of a sync stream have nothing to wait for."""

    __slots__ = ("_call", "_core", "_ended", "_entered", "_events", "_given", "_hooks", "_native", "_send", "_started")

    def __init__(
        self, core: HookedCore, hooks: tuple[Hooks, ...], call: HookCall, send: Callable[[HookCall], Any]
    ) -> None:
        self._core = core
        self._hooks = hooks
        self._call = call
        self._send: Callable[[HookCall], Any] | None = send
        self._started = perf_counter()
        self._entered: list[Hooks] = []
        self._native: Any = None
        self._events: Any = None
        self._given = False
        self._ended = False

    async def _pull(self, items: Any) -> Any:
        """Return the next item of the native stream, or `_END`."""
        raise NotImplementedError

    def _replay(self, answer: _core.LLMResponse) -> Any:
        """Lay an answer that a hook gave out as a stream."""
        raise NotImplementedError

    async def _begin(self) -> None:
        """Send the request, unless that was done or a hook answers it."""
        if self._send is None:
            return
        send, self._send = self._send, None
        try:
            self._call, answer = await request(self._hooks, self._call, _core.LLMResponse, self._entered)
            self._native = send(self._call) if answer is None else self._replay(answer)
        except Exception as error:  # noqa: BLE001 - hooks see whatever it is
            await self._failed(error)
        except GeneratorExit:
            raise
        except BaseException as cancelled:
            await self._left("cancelled", cancelled)
            raise

    async def _next(self, events: bool) -> Any:
        """Return the next item, `_END` at the end."""
        if self._send is not None:
            await self._begin()
        item = await self._read(events)
        if item is not _END:
            self._given = True
        elif not self._ended:
            await self._finish()
        return item

    async def _read(self, events: bool) -> Any:
        """Return the next item of the native stream, or of the answer in its place."""
        while True:
            if self._events is None:
                self._events = self._there().events() if events else self._there()
            try:
                return await self._pull(self._events)
            except LLMError as error:
                if self._ended:
                    raise
                await self._failed(error)
            except (Exception, GeneratorExit):
                # Read by two at once, or the coroutine that waits is gone: the stream lives on.
                raise
            except BaseException as cancelled:
                await self._left("cancelled", cancelled)
                raise

    async def _finish(self) -> None:
        try:
            response = self._native.response
        except ClosedError:  # by another task
            await self._end("closed")
        else:
            await self._end("whole", response=response)

    async def _failed(self, error: Exception) -> None:
        """Tell `on_error`, outwards. Returns if one of them answers; else the stream is over, and the error raised."""
        failure: Exception | None = error
        for each in reversed(self._entered):
            seen = self._call.replace(error=failure, elapsed=perf_counter() - self._started)
            try:
                outcome = await settle(each.on_error, seen)
                if outcome is not None:
                    self._native = self._instead(checked(outcome, _core.LLMResponse, "on_error"))
                    self._events = failure = None
                    break
            except Exception as raised:  # noqa: BLE001 - the hooks around this one see it
                failure = raised
        if failure is not None:
            await self._end("error", error=failure)
            raise failure

    def _instead(self, answer: _core.LLMResponse) -> Any:
        if self._given:
            raise ConfigurationError("a part of this stream was read already; on_error can answer no more")
        return self._replay(answer)

    async def _left(self, ended: Ended, cancelled: BaseException) -> None:
        """End a stream whose reader was cancelled. What a hook raises then must not hide that."""
        try:
            await self._end(ended)
        except Exception as raised:
            raise cancelled from raised

    async def _end(
        self, ended: Ended, response: _core.LLMResponse | None = None, error: Exception | None = None
    ) -> None:
        """Tell `on_stream_end`, outwards, once. Raises what one of them raises, after all have heard of it."""
        if self._ended:
            return
        self._ended = True
        elapsed = perf_counter() - self._started
        call = self._call.replace(response=response, error=error, elapsed=elapsed, ended=ended)
        failure: Exception | None = None
        for each in reversed(self._entered):
            try:
                await settle(each.on_stream_end, call)
            except Exception as raised:  # noqa: BLE001, PERF203 - the hooks around this one see it
                failure = raised
                call = call.replace(response=None, error=raised, ended="error")
        if failure is not None:
            raise failure

    def _there(self) -> Any:
        if self._native is None:
            raise ClosedError("the stream was not begun, or failed before it began")
        return self._native

    def partial(self) -> Any:
        """As `TextStream.partial`."""
        return self._there().partial()

    @property
    def response(self) -> _core.LLMResponse:
        """The whole answer. Raises `ClosedError` before the stream has been read to its end."""
        return self._there().response  # type: ignore[no-any-return]

    @property
    def metrics(self) -> _core.InferenceMetrics:
        """What the call has taken, so far or in all. Raises `ClosedError` before the request is sent."""
        return self._there().metrics  # type: ignore[no-any-return]

    def _is_left(self) -> bool:
        """Whether the stream is dropped before its end, and somebody is to hear of it, and still can."""
        return not getattr(self, "_ended", True) and bool(self._entered) and not sys.is_finalizing()


def _reason(exc_type: type[BaseException] | None) -> Ended:
    """Tell how a stream ends that is left by this exception, or by none."""
    aborted = exc_type is not None and not issubclass(exc_type, (Exception, GeneratorExit))
    return "cancelled" if aborted else "closed"


class HookedStream(_Stream):
    """A stream with hooks; it reads like a `TextStream`. What a hook answered reads like any other answer.

    Dropped before its end it calls `on_stream_end` at once; an async one runs as a task of the running event loop, and
    where none runs a `ResourceWarning` says that it could not.
    """

    __slots__ = ("__weakref__",)

    async def _pull(self, items: Any) -> Any:
        try:
            return await items.__anext__()
        except StopAsyncIteration:
            return _END

    def _replay(self, answer: _core.LLMResponse) -> Any:
        return answer.replay()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        item = await self._next(events=False)
        if item is _END:
            raise StopAsyncIteration
        return item  # type: ignore[no-any-return]

    def events(self) -> _Events:
        """Iterate over the typed events of the stream, instead of its text."""
        return _Events(self)

    async def _first(self) -> Self:
        await self._begin()
        try:
            await self._there()
        except LLMError as error:
            if self._ended:
                raise
            await self._failed(error)
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._first().__await__()

    async def aclose(self) -> None:
        """Close the stream; takes the request back if it still runs."""
        await self.__aexit__(None, None, None)

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._send = None
        if self._native is not None:
            await self._native.aclose()
        reason = _reason(exc_type)
        if exc is not None and reason == "cancelled":
            await self._left(reason, exc)
        else:
            await self._end(reason)

    def __del__(self) -> None:
        if not self._is_left():
            return
        self._native = None
        if not self._core.is_async("on_stream_end"):
            now(self._end("dropped"))
            return
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            import warnings

            message = "a stream was dropped where no event loop runs, so its on_stream_end did not run; close streams"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)
            return
        task = loop.create_task(self._end("dropped"))
        self._core.tasks.add(task)
        task.add_done_callback(self._core.tasks.discard)


class _Events:
    """The typed events of a `HookedStream`."""

    __slots__ = ("_stream",)

    def __init__(self, stream: HookedStream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        item = await self._stream._next(events=True)  # noqa: SLF001 - its other half
        if item is _END:
            raise StopAsyncIteration
        return item


class SyncHookedStream(_Stream):
    """As `HookedStream`, for code without an event loop. Its request is sent at once."""

    __slots__ = ("__weakref__",)

    def __init__(
        self, core: HookedCore, hooks: tuple[Hooks, ...], call: HookCall, send: Callable[[HookCall], Any]
    ) -> None:
        super().__init__(core, hooks, call, send)
        now(self._begin())

    async def _pull(self, items: Any) -> Any:
        return next(items, _END)

    def _replay(self, answer: _core.LLMResponse) -> Any:
        return answer.replay_sync()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        item = now(self._next(events=False))
        if item is _END:
            raise StopIteration
        return item  # type: ignore[no-any-return]

    def events(self) -> _SyncEvents:
        """Iterate over the typed events of the stream, instead of its text."""
        return _SyncEvents(self)

    def close(self) -> None:
        """Close the stream; takes the request back if it still runs."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._native is not None:
            self._native.close()
        reason = _reason(exc_type)
        now(self._left(reason, exc) if exc is not None and reason == "cancelled" else self._end(reason))

    def __del__(self) -> None:
        if self._is_left():
            self._native = None
            now(self._end("dropped"))


class _SyncEvents:
    """The typed events of a `SyncHookedStream`."""

    __slots__ = ("_stream",)

    def __init__(self, stream: SyncHookedStream) -> None:
        self._stream = stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        item = now(self._stream._next(events=True))  # noqa: SLF001 - its other half
        if item is _END:
            raise StopIteration
        return item
