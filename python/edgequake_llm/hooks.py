"""Hooks around calls: `Hooks`, and `HookedProvider`, a provider whose calls they see, change or answer.

    hooked = HookedProvider(llm, Hooks(on_response=lambda call: print(call.model, call.elapsed)))

Hooks are Python and run where the call is made. Everything else stays in the native core.
"""

from __future__ import annotations

from time import perf_counter

from edgequake_llm import _core
from edgequake_llm._exceptions import ClosedError, ConfigurationError, InvalidRequestError
from edgequake_llm._value import Value
from edgequake_llm.providers._base import Provider, _prompt
from edgequake_llm.providers._wrapped import Wrapped, _SyncCalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sys
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

    if sys.version_info >= (3, 12):
        from typing import Unpack
    else:
        from typing_extensions import Unpack
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self

    from edgequake_llm._options import CompletionOptions, EmbedFields, OptionFields
    from edgequake_llm.providers._base import Message

    Hook: TypeAlias = Callable[["HookCall"], Any]
    Answer: TypeAlias = _core.LLMResponse | _core.Embeddings
    T = TypeVar("T")


class HookCall(Value):
    """A call as hooks see it; frozen: `call.replace(...)` makes a changed one.

    `kind` is `"chat"`, `"stream"` or `"embed"`; `provider` a name; `model` what the call will use. `messages` (or
    `texts`, for an `embed`), `options` and `fields` (the keyword arguments) are as the caller gave them. At the end
    `response` or `error` tells what came, and `elapsed` the seconds since the call was made, hooks included. The repr
    shows no prompt, no option and no answer.
    """

    __hidden__: ClassVar = frozenset({"messages", "texts", "options", "fields", "response"})

    kind: Literal["chat", "stream", "embed"]
    provider: str
    model: str | None
    messages: Sequence[Message] | Message | str | None = None
    texts: Sequence[str] | None = None
    options: CompletionOptions | None = None
    fields: Mapping[str, Any] | None = None
    response: Answer | None = None
    error: Exception | None = None
    elapsed: float | None = None


class Hooks(Value):
    """What is called around each call, with its `HookCall`: functions, async or not, all optional.

    `on_request`: before anything is sent. It returns `None`, a changed call, or an answer (an `LLMResponse`, or
    `Embeddings` for an `embed`), with which nothing is sent. `on_response`: for `chat` and `embed`; may return another
    answer. `on_error`: for those, too; may return an answer instead, or raise another error. `on_stream_end`: once for
    each stream, with the whole response, or the error, or neither if it was left early; it may raise another error.

    What a hook raises is the call's error.
    """

    on_request: Hook | None = None
    on_response: Hook | None = None
    on_error: Hook | None = None
    on_stream_end: Hook | None = None


class HookedProvider(Wrapped):
    """A provider with hooks around its calls: `HookedProvider(llm, Hooks(on_request=...), ...)`.

    It is itself a provider. The first hooks are the outermost: they see a request first and its answer last. Hooks that
    are inside of one that answers do not see the call. `complete`, `chat`, `stream`, `embed`, and each round of `run`
    and `run_stream` pass the hooks; `list_models`, `count_tokens` and `request` do not. A stream with hooks sends its
    request when it is first read, entered or awaited. `.sync` takes hooks that are not async.

    Put hooks outermost: a cache or limiter around this provider would lose them and raises `ConfigurationError`. So
    does anything here that is no `Hooks`. Closing it closes the inner provider.
    """

    __slots__ = ("hooks",)

    _outermost = True

    def __init__(self, provider: Provider, *hooks: Hooks) -> None:
        if not isinstance(provider, HookedProvider):
            provider = self._inner(provider)
        for each in hooks:
            if not isinstance(each, Hooks):
                raise ConfigurationError(f"hooks are Hooks(on_request=..., ...), not {type(each).__name__}")
            for name, hook in each._asdict().items():
                if hook is not None and not callable(hook):
                    raise ConfigurationError(f"{name} must be a function, not {type(hook).__name__}")
        super().__init__(provider, provider._core)  # noqa: SLF001 - the package's own
        self.hooks = hooks
        self.sync = _SyncHookedCalls(provider, hooks)

    async def complete(
        self, prompt: str, options: CompletionOptions | None = None, **fields: Unpack[OptionFields]
    ) -> _core.LLMResponse:
        """As `Provider.complete`, with the hooks of a `"chat"`."""
        return await self.chat(_prompt(prompt), options, **fields)

    async def chat(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        **fields: Unpack[OptionFields],
    ) -> _core.LLMResponse:
        """As `Provider.chat`."""
        call = _call("chat", self.inner, fields, messages=messages, options=options)
        return await _answer(self.hooks, call, _core.LLMResponse, _chat(self.inner))

    def stream(  # type: ignore[override]  # it reads the same
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        **fields: Unpack[OptionFields],
    ) -> HookedStream:
        """As `Provider.stream`, but the request is sent when the stream is first read, entered or awaited."""
        call = _call("stream", self.inner, fields, messages=messages, options=options)
        return HookedStream(self.hooks, call, _stream(self.inner))

    async def embed(self, texts: Sequence[str], **fields: Unpack[EmbedFields]) -> _core.Embeddings:
        """As `Provider.embed`."""
        call = _call("embed", self.inner, fields, texts=texts)
        return await _answer(self.hooks, call, _core.Embeddings, _embed(self.inner))


class _SyncHookedCalls(_SyncCalls):
    """The same for code without an event loop. The chain is one; here nothing in it ever waits."""

    __slots__ = ("_hooks", "_provider")

    def __init__(self, inner: Provider, hooks: tuple[Hooks, ...]) -> None:
        super().__init__(inner._core, inner.sync)  # noqa: SLF001 - the package's own
        self._provider = inner
        self._hooks = hooks

    def complete(
        self, prompt: str, options: CompletionOptions | None = None, **fields: Unpack[OptionFields]
    ) -> _core.LLMResponse:
        return self.chat(_prompt(prompt), options, **fields)

    def chat(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        **fields: Unpack[OptionFields],
    ) -> _core.LLMResponse:
        call = _call("chat", self._provider, fields, messages=messages, options=options)
        return _now(self._hooks, _answer(self._hooks, call, _core.LLMResponse, _chat(self._inner)))

    def stream(  # type: ignore[override]  # it reads the same
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        **fields: Unpack[OptionFields],
    ) -> SyncHookedStream:
        call = _call("stream", self._provider, fields, messages=messages, options=options)
        return SyncHookedStream(self._hooks, call, _stream(self._inner))

    def embed(self, texts: Sequence[str], **fields: Unpack[EmbedFields]) -> _core.Embeddings:
        call = _call("embed", self._provider, fields, texts=texts)
        return _now(self._hooks, _answer(self._hooks, call, _core.Embeddings, _embed(self._inner)))


class _Ending:
    """What the two streams share: the request's hooks before, the end's hooks after, each once."""

    __slots__ = ("_answer", "_call", "_ended", "_entered", "_hooks", "_native", "_open", "_started", "_text")

    def __init__(self, hooks: tuple[Hooks, ...], call: HookCall, send: Callable[[HookCall], Any]) -> None:
        self._hooks = hooks
        self._call = call
        self._open: Callable[[HookCall], Any] | None = send
        self._started = perf_counter()
        self._entered: list[Hooks] = []
        self._native: Any = None
        self._answer: _core.LLMResponse | None = None
        self._text: str | None = None
        self._ended = False

    async def _begin(self) -> None:
        if self._open is None:
            return
        send, self._open = self._open, None
        try:
            self._call, self._answer = await _request(self._hooks, self._call, _core.LLMResponse, self._entered)
            if self._answer is None:
                self._native = send(self._call)
            else:
                self._text = self._answer.content or None
        except Exception as error:
            await self._end(error=error)
            raise

    async def _end(self, response: _core.LLMResponse | None = None, error: Exception | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        call = self._call.replace(response=response, error=error, elapsed=perf_counter() - self._started)
        for hooks in reversed(self._entered):
            await _settle(hooks.on_stream_end, call)

    def _there(self) -> Any:
        if self._native is None:
            raise ClosedError("the stream was not begun, or failed before it began")
        return self._native

    def _events(self) -> Any:
        if self._answer is not None:
            raise InvalidRequestError("a hook answered this stream; it has text and a response, but no events")
        return self._there().events()

    def partial(self) -> Any:
        """As `TextStream.partial`; for an answer that a hook gave, its parsed form."""
        return self._there().partial() if self._answer is None else self._answer.parsed

    @property
    def response(self) -> _core.LLMResponse:
        """The whole answer. Raises `ClosedError` before the stream has been read to its end."""
        return self._there().response if self._answer is None else self._answer

    @property
    def metrics(self) -> _core.InferenceMetrics:
        """What the call has taken, so far or in all. Raises `ClosedError` before the request is sent."""
        return self._there().metrics if self._answer is None else self._answer.metrics


class HookedStream(_Ending):
    """A stream with hooks; it reads like a `TextStream`.

    What a hook answered comes as one piece of text, and has no events: reading those raises `InvalidRequestError`.
    """

    __slots__ = ()

    async def _next(self, items: Any) -> Any:
        try:
            item = await items.__anext__()
        except StopAsyncIteration:
            await self._end(response=self.response)
            raise
        except Exception as error:
            await self._end(error=error)
            raise
        return item

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        await self._begin()
        if self._answer is None:
            return await self._next(self._there())  # type: ignore[no-any-return]
        text, self._text = self._text, None
        if text is None:
            await self._end(response=self._answer)
            raise StopAsyncIteration
        return text

    async def events(self) -> AsyncGenerator[Any]:
        """Iterate over the typed events of the stream, instead of its text."""
        await self._begin()
        items = self._events()
        while True:
            try:
                event = await self._next(items)
            except StopAsyncIteration:
                return
            yield event

    async def _first(self) -> Self:
        await self._begin()
        if self._answer is None:
            try:
                await self._there()
            except Exception as error:
                await self._end(error=error)
                raise
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._first().__await__()

    async def aclose(self) -> None:
        """Close the stream; takes the request back if it still runs."""
        self._open = None
        if self._native is not None:
            await self._native.aclose()
        await self._end()

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class SyncHookedStream(_Ending):
    """As `HookedStream`, for code without an event loop. Its request is sent at once."""

    __slots__ = ()

    def __init__(self, hooks: tuple[Hooks, ...], call: HookCall, send: Callable[[HookCall], Any]) -> None:
        super().__init__(hooks, call, send)
        _now(hooks, self._begin())

    def _next(self, items: Any) -> Any:
        try:
            item = next(items)
        except StopIteration:
            _now(self._hooks, self._end(response=self.response))
            raise
        except Exception as error:
            _now(self._hooks, self._end(error=error))
            raise
        return item

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        if self._answer is None:
            return self._next(self._there())  # type: ignore[no-any-return]
        text, self._text = self._text, None
        if text is None:
            _now(self._hooks, self._end(response=self._answer))
            raise StopIteration
        return text

    def events(self) -> Iterator[Any]:
        """Iterate over the typed events of the stream, instead of its text."""
        items = self._events()
        while True:
            try:
                event = self._next(items)
            except StopIteration:
                return
            yield event

    def close(self) -> None:
        """Close the stream; takes the request back if it still runs."""
        if self._native is not None:
            self._native.close()
        _now(self._hooks, self._end())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def traceparent_header(trace_id: str, span_id: str, *, sampled: bool = True) -> dict[str, str]:
    """Return the W3C Trace Context header of a span, for `extra_headers=`.

    `trace_id` is 32 and `span_id` 16 lower-case hex digits, neither all zero (https://www.w3.org/TR/trace-context/).
    Raises `InvalidRequestError` for any other.
    """
    for name, value, length in (("trace_id", trace_id, 32), ("span_id", span_id, 16)):
        digits = isinstance(value, str) and len(value) == length and set(value) <= set("0123456789abcdef")
        if not digits or not value.strip("0"):
            raise InvalidRequestError(f"{name} must be {length} lower-case hex digits, not all zero")
    return {"traceparent": f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"}


def _model(call: HookCall | Mapping[str, Any], options: Any, default: str | None) -> str | None:
    """Return the model that a call names by keyword or option, or else the default."""
    fields = (call.fields or {}) if isinstance(call, HookCall) else call
    named = options.get("model") if isinstance(options, dict) else getattr(options, "model", None)
    return fields.get("model") or named or default


def _call(kind: Literal["chat", "stream", "embed"], inner: Provider, fields: Any, **given: Any) -> HookCall:
    default = inner.embedding_model if kind == "embed" else inner.model
    model = _model(fields, given.get("options"), default)
    return HookCall(kind=kind, provider=inner.name, model=model, fields=fields, **given)


def _fields(call: HookCall) -> dict[str, Any]:
    """Return the keyword arguments to send; a model that a hook put into the call is one of them."""
    fields = dict(call.fields or {})
    if call.model is not None and call.model != _model(fields, call.options, None):
        fields["model"] = call.model
    return fields


def _chat(calls: Any) -> Callable[[HookCall], Any]:
    return lambda call: calls.chat(call.messages, call.options, **_fields(call))


def _stream(calls: Any) -> Callable[[HookCall], Any]:
    return lambda call: calls.stream(call.messages, call.options, **_fields(call))


def _embed(calls: Any) -> Callable[[HookCall], Any]:
    return lambda call: calls.embed(call.texts, **_fields(call))


async def _settle(function: Callable[[HookCall], Any] | None, call: HookCall) -> Any:
    """Call a function that may be async."""
    value: Any = None if function is None else function(call)
    return await value if hasattr(value, "__await__") else value


async def _request(
    hooks: tuple[Hooks, ...], call: HookCall, kind: type, entered: list[Hooks]
) -> tuple[HookCall, Any | None]:
    """Pass a call through `on_request`, inwards. Returns what to send, or an answer with which nothing is sent."""
    for each in hooks:
        outcome = await _settle(each.on_request, call)
        if isinstance(outcome, HookCall):
            call = outcome
        elif outcome is not None:
            return call, _checked(outcome, kind, "on_request")
        entered.append(each)
    return call, None


def _checked(outcome: object, kind: type, name: str) -> Any:
    if not isinstance(outcome, kind):
        changed = " or a changed HookCall" if name == "on_request" else ""
        message = f"{name} must return None, a {kind.__name__}{changed}, not {type(outcome).__name__}"
        raise ConfigurationError(message)
    return outcome


async def _answer(hooks: tuple[Hooks, ...], call: HookCall, kind: type[T], send: Callable[[HookCall], Any]) -> T:
    """Make a call: inwards through the hooks, and back out. Cancelling is no error and passes by."""
    if not hooks:
        return await _settle(send, call)  # type: ignore[no-any-return]
    started = perf_counter()
    entered: list[Hooks] = []
    answer: Any = None
    error: Exception | None = None
    try:
        call, answer = await _request(hooks, call, kind, entered)
        if answer is None:
            answer = await _settle(send, call)
    except Exception as raised:  # noqa: BLE001 - hooks see whatever it is
        error = raised
    for each in reversed(entered):
        seen = call.replace(response=answer, error=error, elapsed=perf_counter() - started)
        name = "on_response" if error is None else "on_error"
        try:
            outcome = await _settle(getattr(each, name), seen)
            if outcome is not None:
                answer, error = _checked(outcome, kind, name), None
        except Exception as raised:  # noqa: BLE001 - the hooks around this one see it
            answer, error = None, raised
    if error is not None:
        raise error
    return answer  # type: ignore[no-any-return]


def _now(hooks: tuple[Hooks, ...], chain: Coroutine[Any, Any, T]) -> T:
    """Run a chain that has nothing to wait for."""
    from inspect import iscoroutinefunction

    try:
        for each in hooks:
            for name, hook in each._asdict().items():
                if iscoroutinefunction(hook) or iscoroutinefunction(getattr(hook, "__call__", None)):  # noqa: B004
                    raise ConfigurationError(f"{name} is async; use `await provider.chat(...)` and the like, not .sync")
        chain.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        chain.close()
    raise ConfigurationError("a hook waits for something; use `await provider.chat(...)` and the like, not .sync")
