"""Stored prompts: Gemini's `cachedContents`, to put in front of later prompts at a tenth of the price."""

from __future__ import annotations

import hashlib
import json
import threading
from datetime import datetime, timedelta, timezone

from edgequake_llm import _core
from edgequake_llm._exceptions import InvalidRequestError, InvalidResponseError
from edgequake_llm._value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, TypeAlias

    from edgequake_llm._config import Seconds
    from edgequake_llm.providers._base import Message

    Messages: TypeAlias = Sequence[Message] | Message | str

MIN_TOKENS = 32_768
"""Contexts from here on are stored by `auto`."""

_LAST_MINUTE = timedelta(seconds=60)


class GeminiCache(Value):
    """A stored prompt. `name` goes into a call as `cached_content=`; it holds for `model`. `title` is its owner's.

    `created` and `expires` are times in UTC. `tokens` is its length; storing costs by tokens and hours, until it
    expires or is deleted.
    """

    name: str
    model: str
    tokens: int
    created: datetime
    expires: datetime
    title: str = ""

    @classmethod
    def _of(cls, value: Any) -> GeminiCache:
        try:
            return cls(
                name=value["name"],
                model=value["model"].removeprefix("models/"),
                tokens=value.get("usageMetadata", {}).get("totalTokenCount", 0),
                created=_moment(value["createTime"]),
                expires=_moment(value["expireTime"]),
                title=value.get("displayName") or "",
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InvalidResponseError("the answer holds no stored prompt", provider="gemini") from error


def _moment(text: str) -> datetime:
    """RFC 3339 in UTC; of the nanoseconds, what `datetime` can hold."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc)
    return moment + timedelta(microseconds=int(fraction[:6].ljust(6, "0"))) if fraction else moment


def _seconds(ttl: Seconds) -> float:
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else float(ttl)
    if not 0 < seconds < float("inf"):
        raise InvalidRequestError(f"ttl must be more than 0 seconds, not {ttl}", provider="gemini", param="ttl")
    return seconds


def _path(cache: GeminiCache | str) -> str:
    name = cache.name if isinstance(cache, GeminiCache) else cache
    return "/" + (name if name.startswith("cachedContents/") else f"cachedContents/{name}")


class _Plan(Value):
    """How a conversation is split: what stands in the store, and what is sent."""

    head: list[_core.ChatMessage]
    rest: list[_core.ChatMessage]
    known: GeminiCache | None


class _Book:
    """What `auto` has stored, by the fingerprint of each prompt."""

    __slots__ = ("_known", "_lock")

    def __init__(self) -> None:
        self._known: dict[bytes, GeminiCache] = {}
        self._lock = threading.Lock()

    def plan(self, model: str | None, messages: list[_core.ChatMessage], tools: Any, min_tokens: int) -> _Plan | None:
        """Split at the longest beginning that is known, or before the last question; `None` if it is too short."""
        dumped = [json.dumps(message.to_dict()) for message in messages]
        sizes = [len(text.encode()) for text in dumped]
        tools_text = json.dumps(tools) if tools else ""
        # No token is shorter than a byte.
        if sum(sizes) + len(tools_text.encode()) < min_tokens:
            return None
        questions = [at for at, message in enumerate(messages) if message.role == "user"]
        if not questions:
            return None
        marks = list(_fingerprints(model, tools_text, dumped))
        now = datetime.now(timezone.utc)
        with self._lock:
            for mark, cache in list(self._known.items()):
                if cache.expires - now < _LAST_MINUTE:
                    del self._known[mark]
            for at in reversed(questions):
                known = self._known.get(marks[at])
                # What would have to be sent besides must not be a long context itself.
                if known is not None and sum(sizes[at:]) // 4 < min_tokens:
                    return _Plan(head=messages[:at], rest=messages[at:], known=known)
        at = questions[-1]
        return _Plan(head=messages[:at], rest=messages[at:], known=None) if at else None

    def remember(self, model: str | None, plan: _Plan, tools: Any, cache: GeminiCache) -> None:
        dumped = [json.dumps(message.to_dict()) for message in plan.head]
        mark = list(_fingerprints(model, json.dumps(tools) if tools else "", dumped))[-1]
        with self._lock:
            self._known[mark] = cache

    def forget(self, name: str) -> None:
        with self._lock:
            for mark, cache in list(self._known.items()):
                if cache.name == name:
                    del self._known[mark]


def _fingerprints(model: str | None, tools: str, dumped: Sequence[str]) -> Iterator[bytes]:
    """Yield the fingerprint of each beginning: of no message, of the first, of the first two, and so on."""
    hasher = hashlib.blake2b(json.dumps([model, tools]).encode(), digest_size=16)
    yield hasher.digest()
    for text in dumped:
        hasher.update(hashlib.blake2b(text.encode(), digest_size=16).digest())
        yield hasher.digest()


def _messages(messages: Messages) -> list[_core.ChatMessage]:
    if isinstance(messages, str):
        return [_core.ChatMessage.user(messages)]
    if isinstance(messages, _core.ChatMessage) or hasattr(messages, "keys"):
        return [_core.ChatMessage.from_dict(messages)]  # type: ignore[arg-type]  # a dict, or a message
    return [_core.ChatMessage.from_dict(message) for message in messages]


class _Caches:
    """What both kinds of calls share: how requests are made and answers read."""

    __slots__ = ("_book", "_core")

    def __init__(self, core: _core.Provider, book: _Book) -> None:
        self._core = core
        self._book = book

    def _store(  # noqa: PLR0917 - handed on as they came
        self, messages: Messages, ttl: Seconds, title: str | None, model: str | None, tools: Any, extra: Any
    ) -> tuple[str, str, str]:
        fields = {"model": model, "tools": tools, "extra": extra}
        path, body = self._core.encode_store(messages, _seconds(ttl), title, fields)
        return "POST", path, body

    @staticmethod
    def _extend(cache: GeminiCache | str, ttl: Seconds) -> tuple[str, str, dict[str, str]]:
        return "PATCH", _path(cache) + "?updateMask=ttl", {"ttl": f"{_seconds(ttl)}s"}

    @staticmethod
    def _page(token: str | None) -> str:
        from urllib.parse import quote

        return "/cachedContents?pageSize=1000" + (f"&pageToken={quote(token)}" if token else "")

    @staticmethod
    def _read_page(answer: Any) -> tuple[list[GeminiCache], str | None]:
        values = answer.get("cachedContents") or [] if isinstance(answer, dict) else []
        token = answer.get("nextPageToken") if isinstance(answer, dict) else None
        return [GeminiCache._of(value) for value in values], token or None  # noqa: SLF001 - this module's own

    def _begin(
        self, messages: Messages, model: str | None, tools: Any, min_tokens: int
    ) -> tuple[list[_core.ChatMessage], _Plan | None]:
        conversation = _messages(messages)
        return conversation, self._book.plan(model or self._core.model, conversation, tools, min_tokens)

    @staticmethod
    def _plain(messages: list[_core.ChatMessage], tools: Any) -> tuple[list[_core.ChatMessage], dict[str, Any]]:
        return messages, {"tools": tools} if tools else {}

    @staticmethod
    def _rest_tokens(plan: _Plan) -> int:
        return sum(len(message.content.encode()) for message in plan.rest) // 4


class GeminiCaches(_Caches):
    """Stored prompts of a Gemini provider: `llm.caches`; `llm.sync.caches` has the same without an event loop.

    Every method raises `UnsupportedOption` for what Gemini cannot store, `InvalidRequestError` if the prompt is too
    short (1,024 to 4,096 tokens, by model), `PermissionDeniedError` for a prompt that is not there any more, and any
    other `LLMError`.
    """

    __slots__ = ()

    async def create(
        self,
        messages: Messages,
        *,
        ttl: Seconds = 3600,
        title: str | None = None,
        model: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> GeminiCache:
        """Store a prompt for `ttl` seconds: system messages, turns, tools.

        Use it with `chat(..., cached_content=cache.name)`, with the same model, and without system message and tools.
        """
        answer = await self._core.ask(*self._store(messages, ttl, title, model, tools, extra))
        return GeminiCache._of(answer)  # noqa: SLF001 - this module's own

    async def get(self, cache: GeminiCache | str) -> GeminiCache:
        """Return a stored prompt as it is now."""
        return GeminiCache._of(await self._core.ask("GET", _path(cache)))  # noqa: SLF001 - this module's own

    async def all(self) -> list[GeminiCache]:
        """Return all stored prompts."""
        found: list[GeminiCache] = []
        token: str | None = None
        while True:
            page, token = self._read_page(await self._core.ask("GET", self._page(token)))
            found += page
            if token is None:
                return found

    async def extend(self, cache: GeminiCache | str, ttl: Seconds) -> GeminiCache:
        """Have a stored prompt expire in `ttl` seconds from now."""
        return GeminiCache._of(await self._core.ask(*self._extend(cache, ttl)))  # noqa: SLF001 - this module's own

    async def delete(self, cache: GeminiCache | str) -> None:
        """Delete a stored prompt, and with it its cost."""
        await self._core.ask("DELETE", _path(cache))
        self._book.forget(_path(cache)[1:])

    async def auto(
        self,
        messages: Messages,
        *,
        ttl: Seconds = 3600,
        min_tokens: int = MIN_TOKENS,
        model: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> tuple[list[_core.ChatMessage], dict[str, Any]]:
        """Store the context of a conversation if it has at least `min_tokens` tokens, once, and use it from then on.

            messages, fields = await llm.caches.auto(conversation)
            response = await llm.chat(messages, **fields)

        The context is all that stands before the last question: system messages, earlier turns, tools. Returns what is
        left to send and the fields for the call. A conversation that goes on uses what is stored until the turns behind
        it are as long themselves. Short contexts are sent as they are. What is stored costs until it expires after
        `ttl` seconds.
        """
        conversation, plan = self._begin(messages, model, tools, min_tokens)
        if plan is None:
            return self._plain(conversation, tools)
        cache = plan.known
        if cache is None:
            counted = await self._core.count_tokens(conversation, None, {"model": model, "tools": tools})
            if counted - self._rest_tokens(plan) < min_tokens:
                return self._plain(conversation, tools)
            cache = await self.create(plan.head, ttl=ttl, model=model, tools=tools)
            self._book.remember(model or self._core.model, plan, tools, cache)
        return plan.rest, {"cached_content": cache.name}


class SyncGeminiCaches(_Caches):
    """`GeminiCaches` for code without an event loop: `llm.sync.caches`."""

    __slots__ = ()

    def create(
        self,
        messages: Messages,
        *,
        ttl: Seconds = 3600,
        title: str | None = None,
        model: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> GeminiCache:
        """As `GeminiCaches.create`."""
        answer = self._core.ask_sync(*self._store(messages, ttl, title, model, tools, extra))
        return GeminiCache._of(answer)  # noqa: SLF001 - this module's own

    def get(self, cache: GeminiCache | str) -> GeminiCache:
        """As `GeminiCaches.get`."""
        return GeminiCache._of(self._core.ask_sync("GET", _path(cache)))  # noqa: SLF001 - this module's own

    def all(self) -> list[GeminiCache]:
        """As `GeminiCaches.all`."""
        found: list[GeminiCache] = []
        token: str | None = None
        while True:
            page, token = self._read_page(self._core.ask_sync("GET", self._page(token)))
            found += page
            if token is None:
                return found

    def extend(self, cache: GeminiCache | str, ttl: Seconds) -> GeminiCache:
        """As `GeminiCaches.extend`."""
        return GeminiCache._of(self._core.ask_sync(*self._extend(cache, ttl)))  # noqa: SLF001 - this module's own

    def delete(self, cache: GeminiCache | str) -> None:
        """As `GeminiCaches.delete`."""
        self._core.ask_sync("DELETE", _path(cache))
        self._book.forget(_path(cache)[1:])

    def auto(
        self,
        messages: Messages,
        *,
        ttl: Seconds = 3600,
        min_tokens: int = MIN_TOKENS,
        model: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> tuple[list[_core.ChatMessage], dict[str, Any]]:
        """As `GeminiCaches.auto`."""
        conversation, plan = self._begin(messages, model, tools, min_tokens)
        if plan is None:
            return self._plain(conversation, tools)
        cache = plan.known
        if cache is None:
            counted = self._core.count_tokens_sync(conversation, None, {"model": model, "tools": tools})
            if counted - self._rest_tokens(plan) < min_tokens:
                return self._plain(conversation, tools)
            cache = self.create(plan.head, ttl=ttl, model=model, tools=tools)
            self._book.remember(model or self._core.model, plan, tools, cache)
        return plan.rest, {"cached_content": cache.name}
