"""Ollama: models on one's own machine."""

from __future__ import annotations

from edgequake_llm.providers._base import Provider, first_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class OllamaProvider(Provider):
    """Ollama's own API (/api/chat and /api/embed). Needs no key.

    Environment: `OLLAMA_HOST` (as `127.0.0.1:11434`, as Ollama itself reads it); `OLLAMA_API_KEY` for hosted ones.
    """

    name = "ollama"
    wire = "ollama"
    default_base_url = "http://localhost:11434"
    default_model = "llama3.2"
    default_embedding_model = "nomic-embed-text"
    key_variables = ("OLLAMA_API_KEY",)
    base_url_variables = ("OLLAMA_BASE_URL", "OLLAMA_HOST")
    key_required = False

    __slots__ = ()

    @classmethod
    def _base_url(cls, environ: Mapping[str, str]) -> str:
        """`OLLAMA_HOST` is written for servers too: without scheme or port, or as the address 0.0.0.0."""
        url = first_set(cls.base_url_variables, environ)
        if url is None:
            return cls.default_base_url
        if "://" not in url:
            url = f"http://{url}"
        scheme, _, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        host, colon, port = (
            authority.rpartition(":") if authority.rfind(":") > authority.rfind("]") else (authority, "", "")
        )
        if host in {"0.0.0.0", ""}:  # noqa: S104 - a server's way to say "everywhere"; a client means this machine
            host = "127.0.0.1"
        if not colon and scheme == "http":
            colon, port = ":", "11434"
        return f"{scheme}://{host}{colon}{port}{slash}{path}"
