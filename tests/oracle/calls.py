"""What a recorded request would have been in this library's API: the same for all providers.

A reader for each provider (``calls_openai`` and so on) turns a recorded body into a ``Call``: messages and options as a
user would give them. It knows the provider's format and this library's API, and nothing of how the one becomes the
other. What is the provider's own and no concept of the API goes into ``extra``, but only under the names that each
reader lists: messages, tools and everything else that has a place of its own must go through it.

Before a body of ours is compared with the recorded one, both go through the reader's ``normal``, which takes out what
makes no difference to the provider. Each rule there says why.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Call(NamedTuple):
    """One call of the API."""

    messages: list[dict[str, Any]]
    options: dict[str, Any]
    stream: bool


class EmbedCall(NamedTuple):
    """One call of ``embed``."""

    texts: list[str]
    options: dict[str, Any]


class NotExpressible(Exception):  # noqa: N818
    """The request cannot be said in the API; the message says what in it."""


def split(request: dict[str, Any], known: dict[str, str], own: set[str]) -> dict[str, Any]:
    """The options of a request: fields that the API has (``known``: field to option) and, in ``extra``, the provider's own."""
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for field, value in request.items():
        if value is None:
            continue  # As good as not there, for every provider.
        if field in known:
            options[known[field]] = value
        elif field in own:
            extra[field] = value
        else:
            raise NotExpressible(f"the field {field}")
    if extra:
        options["extra"] = extra
    return options


def without_nulls(value: Any) -> Any:
    """The value without fields that are null, at any depth; a JSON schema's nulls stand in lists and stay."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def as_text(content: Any) -> Any:
    """A list of one plain text part as that text: both forms mean the same."""
    match content:
        case [{"type": "text", "text": str(text), **rest}] if not rest:
            return text
    return content
