"""A plain reading of error answers, to compare the library's mapping with.

It shares no code with the library. What the providers put where stands in one table of JSON paths; what a status means
stands in another. The text of a message decides nothing.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple


class ErrorReading(NamedTuple):
    """What an error answer says. ``message`` is how the library's own message begins."""

    exception: str
    message: str
    code: str | None
    error_type: str | None
    retry_after: float | None


_EXCEPTIONS = {
    400: "InvalidRequestError",
    401: "AuthenticationError",
    402: "QuotaError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    413: "RequestTooLargeError",
    422: "InvalidRequestError",
    429: "RateLimitError",
    500: "ServerError",
    501: "ServerError",
    502: "ServerError",
    503: "OverloadedError",
    504: "ServerError",
    529: "OverloadedError",
}

# A code or type that says more than the status does, and for which statuses it counts.
_NAMES = {
    "context_length_exceeded": ({400, 413, 422}, "ContextLengthError"),
    "exceed_context_size_error": ({400, 413, 422}, "ContextLengthError"),
    "too_many_prompt_tokens": ({400, 413, 422}, "ContextLengthError"),
    "API_KEY_INVALID": ({400}, "AuthenticationError"),
    "insufficient_quota": ({403, 429}, "QuotaError"),
}

# Sentences that say it where no code does: the format of the server, its type for bad requests, and how they begin.
_SENTENCES = [
    (
        r"openai",
        None,
        r"This (?:model|endpoint)'s maximum context length is \d+ tokens\. However, you requested (?:about )?\d+ ",
    ),
    (r"openai", None, r"prompt too long; exceeded max context length by \d+ tokens"),
    (r"anthropic", "invalid_request_error", r"prompt is too long: \d+ tokens > \d+ maximum"),
    (r"gemini", "INVALID_ARGUMENT", r"The input token count \(\d+\) exceeds the maximum number of tokens allowed"),
]


def read_error(wire: str, status: int, headers: dict[str, str], body: str) -> ErrorReading:
    """Read an answer of an error status."""
    said = json.loads(body)
    if isinstance(said, list):
        said = said[0]
    error = said.get("error", said)
    if isinstance(error, str):
        # The error is a bare text; a code may stand beside it.
        error = {"message": error, "code": said.get("code")}
    message = error.get("message") or error.get("detail")
    details = error.get("details")
    details = details if isinstance(details, list) else []
    if wire.startswith("gemini"):
        code, error_type = _detail(details, "ErrorInfo").get("reason"), error["status"]
        violations = _detail(details, "QuotaFailure").get("violations", [])
        if any("PerDay" in violation.get("quotaId", "") for violation in violations):
            return ErrorReading("QuotaError", message, "quota_exceeded_per_day", error_type, _delay(details))
    else:
        code, error_type = error.get("code"), error.get("type")
    code = None if code is None else str(code)
    exception = _EXCEPTIONS[status]
    for name in (code, error_type):
        statuses, better = _NAMES.get(name or "", (set(), ""))
        if status in statuses:
            exception = better
    for format_, kind, sentence in _SENTENCES:
        if status == 400 and wire.startswith(format_) and kind in (None, error_type) and re.match(sentence, message):
            exception = "ContextLengthError"
    return ErrorReading(exception, message, code, error_type, _wait(headers) or _delay(details))


def _detail(details: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Google's error details carry their protobuf type's name."""
    return next((detail for detail in details if detail.get("@type", "").endswith(f".{kind}")), {})


def _delay(details: list[dict[str, Any]]) -> float | None:
    """Google's ``RetryInfo``: seconds with an ``s`` behind them."""
    delay = _detail(details, "RetryInfo").get("retryDelay")
    return None if delay is None else float(delay.removesuffix("s")) or None


def _wait(headers: dict[str, str]) -> float | None:
    """The recorded servers give whole numbers; 0 is no wait, and says nothing."""
    milliseconds = float(headers.get("retry-after-ms", 0))
    return milliseconds / 1000 or float(headers.get("retry-after", 0)) or None
