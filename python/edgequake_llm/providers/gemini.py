"""Google's Gemini API."""

from __future__ import annotations

from edgequake_llm.providers._base import Provider


class GeminiProvider(Provider):
    """Google's Gemini API (generateContent and batchEmbedContents).

    Environment: `GEMINI_API_KEY` or `GOOGLE_API_KEY`; `GEMINI_BASE_URL` or `GOOGLE_GEMINI_BASE_URL`.
    """

    name = "gemini"
    wire = "gemini"
    default_base_url = "https://generativelanguage.googleapis.com/v1beta"
    default_model = "gemini-2.5-flash"
    default_embedding_model = "gemini-embedding-001"
    key_variables = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    base_url_variables = ("GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL")

    __slots__ = ()
