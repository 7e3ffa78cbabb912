"""The tool loop: ask the model, run the tools that it calls, send it the results, until it is done.

`_Loop` decides; the functions below it do what it says, with and without an event loop.
"""

from __future__ import annotations

from edgequake_llm import _core
from edgequake_llm._exceptions import ConfigurationError, InvalidRequestError, LLMError
from edgequake_llm._value import Value
from edgequake_llm.tools import Tool, as_tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sys
    from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any, TypeAlias

    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self

    from edgequake_llm._options import CompletionOptions
    from edgequake_llm.providers._base import Message, Provider, SyncCalls

    Event: TypeAlias = (
        _core.TextDelta
        | _core.ThinkingDelta
        | _core.RefusalDelta
        | _core.ToolCallStart
        | _core.ToolCallDelta
        | _core.PartEvent
        | _core.CitationEvent
        | _core.UsageEvent
        | _core.FinishEvent
    )

MAX_ROUNDS = 8
"""How often the model is asked at most, unless the caller says otherwise."""


class RunResult(Value):
    """What a run of the tool loop came to.

    `response`: the model's last answer. `messages`: the whole conversation, that answer included, ready to go on with.
    `usage`: the tokens of all rounds; `None` where the provider counted none. `rounds`: how often the model was asked.
    """

    response: _core.LLMResponse
    messages: list[_core.ChatMessage]
    usage: _core.Usage | None
    rounds: int

    @property
    def content(self) -> str:
        """The text of the last answer."""
        return self.response.content

    @property
    def parsed(self) -> Any:
        """The last answer as `response_format` asks for it; see `LLMResponse.parsed`."""
        return self.response.parsed

    def __str__(self) -> str:
        return self.content

    def __repr__(self) -> str:
        return f"RunResult(rounds={self.rounds}, usage={self.usage!r}, response={self.response!r})"


class ToolResultEvent(Value):
    """A tool has answered: the `call`, and the `message` with its result (`message.is_error` if it failed)."""

    call: _core.ToolCall
    message: _core.ChatMessage


class ToolLoopError(LLMError):
    """The model still called tools after `max_rounds` rounds.

    `messages` is the conversation so far, the last answer included; `rounds`, `usage` and `partial` (the last response)
    are as in `RunResult`.
    """

    def __init__(self, message: str = "", *, result: RunResult | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.messages: list[_core.ChatMessage] = [] if result is None else result.messages
        self.rounds = 0 if result is None else result.rounds
        self.usage = None if result is None else result.usage
        self.partial = None if result is None else result.response

    def __reduce__(self) -> tuple[Any, ...]:
        kind, arguments, state = super().__reduce__()
        return kind, arguments, {**state, "usage": None}


class _Loop:
    """The state of one run. Pure: it says what to send and which calls to run, and is told what came of it."""

    def __init__(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | Mapping[str, Any] | None,
        fields: Mapping[str, Any],
        max_rounds: int,
    ) -> None:
        if isinstance(max_rounds, bool) or not isinstance(max_rounds, int) or max_rounds < 1:
            raise InvalidRequestError(f"max_rounds must be a whole number of at least 1, not {max_rounds!r}")
        self.options = options
        self.fields = dict(fields)
        self.max_rounds = max_rounds
        given = self._option("tools")
        if not given:
            raise InvalidRequestError("run needs tools; use chat() or stream() without any")
        if isinstance(given, str | dict):
            raise InvalidRequestError("tools must be a list of tools")
        made = [as_tool(item, place) for place, item in enumerate(given)]
        self.fields["tools"] = made
        self.tools = {tool.name: tool for tool in made if isinstance(tool, Tool)}
        if len(self.tools) < sum(isinstance(tool, Tool) for tool in made):
            raise InvalidRequestError("two tools have the same name")
        self.messages: list[_core.ChatMessage] = []
        if isinstance(messages, str):
            self.messages.append(_core.ChatMessage.user(messages))
        elif isinstance(messages, dict | _core.ChatMessage):
            self.messages.append(_core.ChatMessage.from_dict(messages))
        else:
            self.messages.extend(_core.ChatMessage.from_dict(message) for message in messages)  # type: ignore[arg-type]
        self.rounds = 0
        self.usage: _core.Usage | None = None
        self.response: _core.LLMResponse | None = None

    def _option(self, name: str) -> Any:
        """Return an option, wherever the caller gave it."""
        if self.fields.get(name) is not None:
            return self.fields[name]
        if isinstance(self.options, dict):
            return self.options.get(name)
        return getattr(self.options, name, None)

    def answered(self, response: _core.LLMResponse) -> list[_core.ToolCall] | None:
        """Take an answer in. Returns the calls to run before the model is asked again; `None` if it is done.

        Raises `ToolLoopError` if it is not done, but may not be asked again.
        """
        self.rounds += 1
        self.response = response
        self.messages.append(response.message)
        if response.usage is not None:
            self.usage = response.usage if self.usage is None else self.usage + response.usage
        calls = response.tool_calls
        paused = response.finish_reason == "pause"
        # An answer that was cut may have cut its calls, too.
        cut = response.finish_reason in {"length", "content_filter", "error"}
        if cut or not (calls or paused) or any(self._is_left_to_caller(call) for call in calls):
            return None
        if self.rounds >= self.max_rounds:
            names = ", ".join(sorted({call.name for call in calls})) or "more time"
            message = (
                f"after {self.rounds} rounds the model still asks for {names}; raise max_rounds, or look at .messages"
            )
            raise ToolLoopError(message, result=self.result(), provider=response.provider)
        choice = self._option("tool_choice")
        if choice is not None and choice not in ("auto", "none"):
            # It was forced to call a tool, and has done so. Forced again, it would never come to an answer.
            self.fields["tool_choice"] = "auto"
        return calls

    def _is_left_to_caller(self, call: _core.ToolCall) -> bool:
        """Whether the call's tool is known, but has no function here."""
        if call.name in self.tools:
            return self.tools[call.name].function is None
        return any(
            not isinstance(tool, Tool) and _core.ToolDefinition(tool).name == call.name for tool in self.fields["tools"]
        )

    def results(self, messages: Iterable[_core.ChatMessage]) -> None:
        """Take the results of all calls in, in the order of the calls."""
        self.messages.extend(messages)

    def result(self) -> RunResult:
        """Return what the run came to."""
        assert self.response is not None  # noqa: S101 - there was an answer before there is a result
        return RunResult(response=self.response, messages=self.messages, usage=self.usage, rounds=self.rounds)

    def invoke(self, call: _core.ToolCall) -> Any:
        """Call the tool's function; what it returns may have to be awaited."""
        tool = self.tools.get(call.name)
        if tool is None:
            raise InvalidRequestError(f"there is no tool {call.name!r}; there are {', '.join(self.tools)}")
        return tool.invoke(call.arguments)

    def is_async(self, call: _core.ToolCall) -> bool:
        """Whether the call runs on the event loop, and not in a thread."""
        tool = self.tools.get(call.name)
        return tool is None or tool.is_async


def _message(call: _core.ToolCall, outcome: object) -> _core.ChatMessage:
    """Say what a tool returned, or the exception that it raised."""
    try:
        return _core.ChatMessage.tool(call.id, outcome, name=call.name)
    except LLMError as error:  # It returned what cannot be sent.
        return _core.ChatMessage.tool(call.id, error, name=call.name)


async def _execute(loop: _Loop, call: _core.ToolCall) -> _core.ChatMessage:
    """Run one tool: an async one as it is, another one in a thread. What it raises is its result."""
    import asyncio
    import inspect

    try:
        outcome = loop.invoke(call) if loop.is_async(call) else await asyncio.to_thread(loop.invoke, call)
        if inspect.isawaitable(outcome):
            outcome = await outcome
    except Exception as error:  # noqa: BLE001 - the model is told, whatever it is
        outcome = error
    return _message(call, outcome)


async def run(
    provider: Provider,
    messages: Sequence[Message] | Message | str,
    options: CompletionOptions | None,
    max_rounds: int,
    fields: Mapping[str, Any],
) -> RunResult:
    """Run the loop; see `Provider.run`."""
    import asyncio

    loop = _Loop(messages, options, fields, max_rounds)
    while True:
        calls = loop.answered(await provider.chat(loop.messages, loop.options, **loop.fields))  # type: ignore[arg-type]
        if calls is None:
            return loop.result()
        loop.results(await asyncio.gather(*(_execute(loop, call) for call in calls)))


def run_sync(
    calls: SyncCalls,
    messages: Sequence[Message] | Message | str,
    options: CompletionOptions | None,
    max_rounds: int,
    fields: Mapping[str, Any],
) -> RunResult:
    """Run the loop without an event loop; see `SyncCalls.run`."""
    loop = _sync_loop(messages, options, max_rounds, fields)
    while True:
        pending = loop.answered(calls.chat(loop.messages, loop.options, **loop.fields))  # type: ignore[arg-type]
        if pending is None:
            return loop.result()
        results = dict(_executed(loop, pending))
        loop.results(results[place] for place in range(len(pending)))


def _sync_loop(
    messages: Sequence[Message] | Message | str,
    options: CompletionOptions | None,
    max_rounds: int,
    fields: Mapping[str, Any],
) -> _Loop:
    """Start a loop for which there is no event loop. Raises `ConfigurationError` if a tool wants one."""
    loop = _Loop(messages, options, fields, max_rounds)
    for tool in loop.tools.values():
        if tool.is_async:
            raise ConfigurationError(f"the tool {tool.name!r} is async; use `await provider.run(...)`")
    return loop


def _executed(loop: _Loop, pending: Sequence[_core.ToolCall]) -> Iterator[tuple[int, _core.ChatMessage]]:
    """Run tools, several in threads; yields the place of each call, and its result, as they get done."""

    def execute(call: _core.ToolCall) -> _core.ChatMessage:
        try:
            return _message(call, loop.invoke(call))
        except Exception as error:  # noqa: BLE001 - the model is told, whatever it is
            return _message(call, error)

    if len(pending) < 2:  # noqa: PLR2004 - one call needs no thread of its own
        yield from ((place, execute(call)) for place, call in enumerate(pending))
        return
    from concurrent.futures import ThreadPoolExecutor, as_completed
    from contextvars import copy_context

    with ThreadPoolExecutor(len(pending)) as threads:
        places = {threads.submit(copy_context().run, execute, call): place for place, call in enumerate(pending)}
        yield from ((places[future], future.result()) for future in as_completed(places))


class _Reading:
    """What the two streams of a run share: each is read once, as text or as events."""

    __slots__ = ("_events", "_items", "_loop", "_result")

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self._items: Any = None
        self._events = False
        self._result: RunResult | None = None

    def _run(self) -> Any:
        raise NotImplementedError

    def _start(self, *, events: bool) -> Any:
        if self._items is None:
            self._events = events
            self._items = self._run()
        elif self._events is not events:
            raise RuntimeError("read the text of a run or its events, not both")
        return self._items

    @property
    def result(self) -> RunResult:
        """What the run came to. Raises `ClosedError` before it has been read to its end."""
        if self._result is None:
            from edgequake_llm._exceptions import ClosedError

            raise ClosedError("the result is there only after the run has been read to its end")
        return self._result


class RunStream(_Reading):
    """A run of the tool loop as it happens: `async for text in stream` gives the text of all rounds.

    `stream.events()` gives typed events instead: those of every round, and a `ToolResultEvent` for each tool that has
    answered. After the end `stream.result` is the `RunResult`. `async with` closes it for sure; so does cancelling the
    task that reads it. Nothing is sent before the first item is asked for.
    """

    __slots__ = ("_provider",)

    def __init__(
        self,
        provider: Provider,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None,
        max_rounds: int,
        fields: Mapping[str, Any],
    ) -> None:
        super().__init__(_Loop(messages, options, fields, max_rounds))
        self._provider = provider

    async def _run(self) -> AsyncGenerator[Any]:
        import asyncio

        loop = self._loop
        while True:
            async with self._provider.stream(loop.messages, loop.options, **loop.fields) as stream:  # type: ignore[arg-type]
                async for item in stream.events() if self._events else stream:
                    yield item
                response = stream.response
            calls = loop.answered(response)
            if calls is None:
                self._result = loop.result()
                return
            tasks = [asyncio.ensure_future(_execute(loop, call)) for call in calls]
            try:
                if self._events:
                    by_task = dict(zip(tasks, calls, strict=True))
                    waiting = set(tasks)
                    while waiting:
                        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                        for task in sorted(done, key=tasks.index):
                            yield ToolResultEvent(call=by_task[task], message=task.result())
                loop.results(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def __aiter__(self) -> AsyncGenerator[str]:
        return self._start(events=False)  # type: ignore[no-any-return]

    def events(self) -> AsyncGenerator[Event | ToolResultEvent]:
        """Iterate over the typed events of all rounds, instead of the text."""
        return self._start(events=True)  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        """Close the run; takes the request back if one is under way, and cancels the tools that run."""
        if self._items is not None:
            await self._items.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class SyncRunStream(_Reading):
    """As `RunStream`, for code without an event loop: `for text in stream`, `with`, `close()`.

    Tools are functions that are not async; several calls of one round run in threads. Closing takes a request back that
    is under way, and waits for tools that run.
    """

    __slots__ = ("_calls",)

    def __init__(
        self,
        calls: SyncCalls,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None,
        max_rounds: int,
        fields: Mapping[str, Any],
    ) -> None:
        super().__init__(_sync_loop(messages, options, max_rounds, fields))
        self._calls = calls

    def _run(self) -> Generator[Any]:
        loop = self._loop
        while True:
            with self._calls.stream(loop.messages, loop.options, **loop.fields) as stream:  # type: ignore[arg-type]
                yield from stream.events() if self._events else stream
                response = stream.response
            pending = loop.answered(response)
            if pending is None:
                self._result = loop.result()
                return
            results: dict[int, _core.ChatMessage] = {}
            for place, message in _executed(loop, pending):
                results[place] = message
                if self._events:
                    yield ToolResultEvent(call=pending[place], message=message)
            loop.results(results[place] for place in range(len(pending)))

    def __iter__(self) -> Iterator[str]:
        return self._start(events=False)  # type: ignore[no-any-return]

    def events(self) -> Iterator[Event | ToolResultEvent]:
        """Iterate over the typed events of all rounds, instead of the text."""
        return self._start(events=True)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close the run; takes the request back if one is under way."""
        if self._items is not None:
            self._items.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
