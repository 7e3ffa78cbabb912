"""Anthropic's Messages API."""

from __future__ import annotations

from edgequake_llm.providers._base import Provider


class AnthropicProvider(Provider):
    """Anthropic's Messages API. It has no embeddings.

    Settings and errors are those of `Provider`; every option and what is sent because of it:
    docs/providers/anthropic.md.

    Environment: `ANTHROPIC_API_KEY`; `ANTHROPIC_BASE_URL`.
    """

    name = "anthropic"
    wire = "anthropic"
    default_base_url = "https://api.anthropic.com"
    default_model = "claude-haiku-4-5"
    key_variables = ("ANTHROPIC_API_KEY",)
    base_url_variables = ("ANTHROPIC_BASE_URL",)

    __slots__ = ()
