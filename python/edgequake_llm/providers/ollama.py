"""Ollama: models on one's own machine."""

from __future__ import annotations

from edgequake_llm.providers._base import Provider, first_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class OllamaProvider(Provider):
    """Ollama's own API (/api/chat and /api/embed). Needs no key.

    Settings and errors are those of `Provider`; every option and what is sent because of it:
    docs/providers/ollama.md.

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
        """Read `OLLAMA_HOST` as Ollama's own clients do: it is written for servers too.

        Without a scheme the port is 11434, with `http://` or `https://` theirs; an address that means "everywhere" to
        a server means this machine.
        """
        url = (first_set(cls.base_url_variables, environ) or "").strip("\"'")
        if not url:
            return cls.default_base_url
        scheme, separator, rest = url.rpartition("://")
        authority, slash, path = rest.partition("/")
        if authority.count(":") > 1 and not authority.startswith("["):
            host, port = f"[{authority}]", ""  # a bare IPv6 address
        elif authority.endswith("]"):
            host, port = authority, ""
        else:
            host, _, port = authority.rpartition(":") if ":" in authority else (authority, "", "")
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - not bound to
        if not separator:
            scheme, default = "http", "11434"
        else:
            default = {"http": "80", "https": "443"}.get(scheme, "")
        return f"{scheme}://{host}:{port or default}{slash}{path}"
