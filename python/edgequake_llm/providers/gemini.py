"""Google's Gemini API."""

from __future__ import annotations

from edgequake_llm.providers._base import Provider, SyncCalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgequake_llm import _core
    from edgequake_llm.providers._gemini_caches import GeminiCaches, SyncGeminiCaches, _Book


class GeminiProvider(Provider):
    """Google's Gemini API (generateContent and batchEmbedContents).

    `caches` has the stored prompts (`cachedContents`).

    Settings and errors are those of `Provider`; every option and what is sent because of it:
    docs/providers/gemini.md.

    Environment: `GEMINI_API_KEY` or `GOOGLE_API_KEY`; `GEMINI_BASE_URL` or `GOOGLE_GEMINI_BASE_URL`.
    """

    name = "gemini"
    wire = "gemini"
    default_base_url = "https://generativelanguage.googleapis.com/v1beta"
    default_model = "gemini-2.5-flash"
    default_embedding_model = "gemini-embedding-001"
    key_variables = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    base_url_variables = ("GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL")

    __slots__ = ("_caches",)

    sync: SyncGeminiCalls

    def _sync_calls(self) -> SyncGeminiCalls:
        self._caches: GeminiCaches | None = None
        return SyncGeminiCalls(self._core)

    @property
    def caches(self) -> GeminiCaches:
        """The stored prompts: create, get, all, extend, delete, and `auto` for long contexts."""
        if self._caches is None:
            from edgequake_llm.providers._gemini_caches import GeminiCaches

            self._caches = GeminiCaches(self._core, self.sync._shared_book())  # noqa: SLF001 - its other half
        return self._caches


class SyncGeminiCalls(SyncCalls):
    """The calls for code without an event loop, with the stored prompts."""

    __slots__ = ("_book", "_caches")

    def __init__(self, core: _core.Provider) -> None:
        super().__init__(core)
        self._book: _Book | None = None
        self._caches: SyncGeminiCaches | None = None

    def _shared_book(self) -> _Book:
        """Return what `auto` has stored, the same for both kinds of calls."""
        if self._book is None:
            from edgequake_llm.providers._gemini_caches import _Book

            self._book = _Book()
        return self._book

    @property
    def caches(self) -> SyncGeminiCaches:
        """As `GeminiProvider.caches`."""
        if self._caches is None:
            from edgequake_llm.providers._gemini_caches import SyncGeminiCaches

            self._caches = SyncGeminiCaches(self._core, self._shared_book())
        return self._caches
