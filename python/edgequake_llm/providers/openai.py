"""OpenAI, and every server that speaks its chat completions API."""

from __future__ import annotations

from edgequake_llm.providers._base import Provider


class OpenAIProvider(Provider):
    """OpenAI's chat completions and embeddings; with `base_url=` anything compatible.

    Environment: `OPENAI_API_KEY`; `OPENAI_BASE_URL` or `OPENAI_API_BASE`.
    """

    name = "openai"
    wire = "openai"
    default_base_url = "https://api.openai.com/v1"
    default_model = "gpt-4o-mini"
    default_embedding_model = "text-embedding-3-small"
    key_variables = ("OPENAI_API_KEY",)
    base_url_variables = ("OPENAI_BASE_URL", "OPENAI_API_BASE")

    __slots__ = ()
