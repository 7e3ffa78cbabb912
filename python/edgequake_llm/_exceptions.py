"""Every error that the library raises, in one tree rooted at `LLMError`.

Imports nothing from the package: the native module imports these classes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from edgequake_llm._core import LLMResponse


class LLMError(Exception):
    """What went wrong in a call, with everything that one can act on.

    `message` says what happened and what to do. `provider` is the provider's name; `status` the HTTP status, where an
    answer came; `code`, `error_type` and `param` are the provider's own words; `request_id` is for its support;
    `retryable` tells whether the same call may succeed later, `retry_after` after how many seconds, where the provider
    says it; `attempts` counts the requests that were sent; `elapsed` is in seconds. `partial` is the `LLMResponse` as
    far as it came, `embedded` the vectors that had come, by the place of their text. Never holds a secret.
    """

    def __init__(
        self,
        message: str = "",
        *,
        provider: str | None = None,
        status: int | None = None,
        code: str | None = None,
        error_type: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        retryable: bool = False,
        attempts: int = 0,
        elapsed: float | None = None,
        partial: LLMResponse | None = None,
        embedded: Mapping[int, memoryview] | None = None,
    ) -> None:
        """Keep the facts; the text that people see is made in `__str__`."""
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.status = status
        self.code = code
        self.error_type = error_type
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.retryable = retryable
        self.attempts = attempts
        self.elapsed = elapsed
        self.partial = partial
        self.embedded: Mapping[int, memoryview] = embedded or {}

    def __str__(self) -> str:
        text = f"{self.provider}: {self.message}" if self.provider else self.message
        facts = []
        if self.status is not None:
            facts.append(f"status {self.status}")
        if self.attempts > 1:
            facts.append(f"after {self.attempts} attempts")
        if self.retry_after is not None:
            facts.append(f"retry after {self.retry_after:g} s")
        if self.request_id is not None:
            facts.append(f"request {self.request_id}")
        return f"{text} [{', '.join(facts)}]" if facts else text

    def __copy__(self) -> LLMError:
        # Within the process nothing has to be left behind.
        twin = type(self)(self.message)
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> LLMError:
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process borders (multiprocessing, Celery); what cannot be pickled is left behind.
        state = {name: value for name, value in self.__dict__.items() if name not in {"partial", "embedded"}}
        return (type(self), (self.message,), {**state, "partial": None, "embedded": {}})


class ConfigurationError(LLMError, ValueError):
    """The client was set up wrongly: no key, a bad base URL, an unreadable certificate. Nothing was sent."""


class InvalidRequestError(LLMError, ValueError):
    """The request was refused: before anything was sent, or by the provider (400, 422)."""


class UnsupportedOption(InvalidRequestError):  # noqa: N818 - the name that the documentation promises
    """The provider has no such option; the message names the nearest thing that works. Nothing was sent."""


class ContextLengthError(InvalidRequestError):
    """The prompt does not fit in the model's context window."""


class APIStatusError(LLMError):
    """The provider answered with an error status."""


class AuthenticationError(APIStatusError):
    """The key is missing or wrong (401)."""


class PermissionDeniedError(APIStatusError):
    """The key may not do this (403)."""


class NotFoundError(APIStatusError):
    """No such model or path (404)."""


class ConflictError(APIStatusError):
    """Conflict (409)."""


class RequestTooLargeError(APIStatusError):
    """The request's body is too large (413)."""


class RateLimitError(APIStatusError):
    """Too many requests or tokens for now (429)."""


class QuotaError(APIStatusError):
    """The account's money or quota is used up (402, some 429): waiting does not help."""


class ServerError(APIStatusError):
    """The provider failed (5xx)."""


class OverloadedError(ServerError):
    """The provider is overloaded (503, 529)."""


class APIConnectionError(LLMError, ConnectionError):
    """No connection, or it broke before an answer came."""


class LLMTimeoutError(LLMError, TimeoutError):
    """A limit of `Timeouts`, or the rate limiter's `max_wait`, was reached."""


class ConnectTimeout(LLMTimeoutError, ConnectionError):  # noqa: N818 - the field's name for it
    """`Timeouts.connect` passed without a connection."""


class FirstTokenTimeout(LLMTimeoutError):  # noqa: N818
    """`Timeouts.first_token` passed without a first token."""


class IdleTimeout(LLMTimeoutError):  # noqa: N818
    """`Timeouts.idle` passed between two events that carry something."""


class TotalTimeout(LLMTimeoutError):  # noqa: N818
    """`Timeouts.total` passed without a whole answer."""


class RateLimitTimeout(LLMTimeoutError):  # noqa: N818
    """The rate limiter would have let the call in only later than `max_wait`.

    Nothing was sent, unless an earlier try of the call was (`attempts`). `needed`: the seconds that it would have had
    to wait by what was known; `retry_after` is the same.
    """

    @property
    def needed(self) -> float:
        """The seconds that it would have had to wait, without the time for running calls to make room."""
        return self.retry_after or 0.0


class StreamInterrupted(LLMError, ConnectionError):  # noqa: N818 - the name that the documentation promises
    """A stream ended before its end. `partial` is the `LLMResponse` as far as it came."""


class InvalidResponseError(LLMError):
    """The answer is not what the provider's protocol says; the message shows a short excerpt."""


class StructuredOutputError(InvalidResponseError):
    """The answer is not of the form that `response_format` asks for. `partial` is the whole `LLMResponse`."""

    @property
    def text(self) -> str:
        """The answer's text as it came."""
        return "" if self.partial is None else self.partial.content


class ClosedError(LLMError, RuntimeError):
    """The provider, the stream or the process it was made in is gone."""


class InternalError(LLMError, RuntimeError):
    """A fault of this library. Please report it."""
