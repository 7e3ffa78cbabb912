"""Hooks around calls: `Hooks`, and `HookedProvider`, a provider whose calls they see, change or answer.

    hooked = HookedProvider(llm, Hooks(on_response=lambda call: print(call.model, call.elapsed)))

Hooks are Python and run where the call is made. Everything else stays in the native core.
"""

from __future__ import annotations

from edgequake_llm import _core
from edgequake_llm._exceptions import ConfigurationError, InvalidRequestError
from edgequake_llm._value import Value
from edgequake_llm.providers._wrapped import Wrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, ClassVar, Literal, TypeAlias

    from edgequake_llm._options import CompletionOptions
    from edgequake_llm.providers._base import Message, Provider

    Hook: TypeAlias = Callable[["HookCall"], Any]
    Kind: TypeAlias = Literal["chat", "stream", "embed", "count_tokens", "list_models", "request"]
    Ended: TypeAlias = Literal["whole", "error", "closed", "cancelled", "dropped"]


class HookCall(Value):
    """A call as hooks see it; frozen: `call.replace(...)` makes a changed one.

    `kind` is `"chat"`, `"stream"`, `"embed"`, `"count_tokens"`, `"list_models"` or `"request"`; `provider` a name;
    `model` what the call will use, where it uses one. `messages` (or `texts`, for an `embed`), `options` and `fields`
    (the keyword arguments) are as the caller gave them; so are `method`, `path` and `body` of a `request`. At the end
    `response` or `error` tells what came, and `elapsed` the seconds since the call was made, hooks included; `ended`
    how a stream came to its end. The repr shows no prompt, no option and no answer.
    """

    __hidden__: ClassVar = frozenset({"messages", "texts", "options", "fields", "response", "body"})

    kind: Kind
    provider: str
    model: str | None
    messages: Sequence[Message] | Message | str | None = None
    texts: Sequence[str] | None = None
    options: CompletionOptions | None = None
    fields: Mapping[str, Any] | None = None
    response: Any = None
    error: Exception | None = None
    elapsed: float | None = None
    method: str | None = None
    path: str | None = None
    body: Mapping[str, Any] | None = None
    ended: Ended | None = None

    def option(self, name: str, default: Any = None) -> Any:
        """Return an option of the call, by keyword or in its options; `default` if it is in neither."""
        fields = self.fields or {}
        options = self.options
        inside = options.get(name) if isinstance(options, dict) else getattr(options, name, None)
        return next((value for value in (fields.get(name), inside) if value is not None), default)

    def answer(self, content: str | None = None, **fields: Any) -> _core.LLMResponse:
        """Make an answer to this chat or stream, for a hook to return: of its model, in its `response_format`.

        Takes what `LLMResponse` takes.
        """
        known = {"model": self.model, "provider": self.provider, "response_format": self.option("response_format")}
        return _core.LLMResponse(content, **{**known, **fields})


class Hooks(Value):
    """What is called around each call, with its `HookCall`: functions, async or not, all optional.

    `on_request`: before anything is sent. It returns `None`, a changed call, or an answer, with which nothing is sent.
    `on_response`: after each call but a stream; may return another answer. `on_error`: after a call that failed; may
    return an answer instead (of a stream only before anything of it was read), or raise another error.
    `on_stream_end`: once for each stream; `call.ended` is `"whole"` or `"error"`, or `"closed"`, `"cancelled"` or
    `"dropped"` for one that was left early. It may raise another error.

    An answer is an `LLMResponse` for `chat` and `stream` (`call.answer("...")` makes one), `Embeddings` for `embed`, an
    `int` for `count_tokens`, a list for `list_models`, and anything but `None` for `request`. What a hook raises is the
    call's error.
    """

    on_request: Hook | None = None
    on_response: Hook | None = None
    on_error: Hook | None = None
    on_stream_end: Hook | None = None


class HookedProvider(Wrapped):
    """A provider with hooks around its calls: `HookedProvider(llm, Hooks(on_request=...), ...)`.

    It is itself a provider. The first hooks are the outermost: they see a request first and its answer last. Hooks that
    are inside of one that answers do not see the call. Every call passes: `complete`, `chat`, `stream`, `embed`,
    `count_tokens`, `list_models`, `request`, and each round of `run` and `run_stream`. A stream that hooks see is a
    `HookedStream`; it sends its request when it is first read, entered or awaited. Calls for which there is no hook
    cost nothing more. `.sync` takes hooks that are not async.

    A cache or limiter may be inside or around: hooks are the outermost either way, because what they put into a call
    must be part of what a cache finds its answer by. They see what a cache answers, too (`call.response.cached`).

    Raises `ConfigurationError` for anything here that is no `Hooks`. Closing it closes the inner provider.
    """

    __slots__ = {"hooks": "The hooks, the outermost first."}

    def __init__(self, provider: Provider, *hooks: Hooks) -> None:
        inner = self._inner(provider)
        for each in hooks:
            if not isinstance(each, Hooks):
                raise ConfigurationError(f"hooks are Hooks(on_request=..., ...), not {type(each).__name__}")
            for name, hook in each._asdict().items():
                if hook is not None and not callable(hook):
                    raise ConfigurationError(f"{name} must be a function, not {type(hook).__name__}")
        from edgequake_llm._hooked import HookedCore

        self.hooks = hooks
        super().__init__(inner, HookedCore(inner._core, hooks))  # type: ignore[arg-type]  # noqa: SLF001 - it acts as one


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
