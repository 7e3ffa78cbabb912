"""OpenAI, and every server that speaks its chat completions API."""

from __future__ import annotations

import os

from edgequake_llm import _core
from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm.providers._base import Provider, first_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sys
    from typing import Any, Literal

    if sys.version_info >= (3, 12):
        from typing import Unpack
    else:
        from typing_extensions import Unpack
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self

    from edgequake_llm.providers._base import Key, Settings

_WIRES = {"chat": "", "responses": "-responses"}
"""What follows a server's name in the name of its format, for each API."""


class OpenAIProvider(Provider):
    """OpenAI's chat completions and embeddings; with `base_url=` anything compatible, by name with `preset()`.

    `api="responses"` speaks the Responses API instead, through the same methods: thinking is kept in its encrypted form
    and goes back with the next turn, OpenAI's own tools are given as they are (`tools=[{"type": "web_search"}]`), and
    `extra={"previous_response_id": response.id}` goes on from an answer that OpenAI has stored (a system message stays
    in that conversation; `extra={"instructions": ...}` holds for one turn). It has no `stop`, `seed`,
    `presence_penalty` and `frequency_penalty`.

    Settings and errors are those of `Provider`; every option and what is sent because of it:
    docs/providers/openai.md.

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

    def __init__(
        self, api_key: Key | None = None, *, api: Literal["chat", "responses"] = "chat", **settings: Unpack[Settings]
    ) -> None:
        self._set_up(None, _wire(self.name, api), api_key, **settings)

    @classmethod
    def preset(
        cls,
        name: str,
        api_key: Key | None = None,
        *,
        api: Literal["chat", "responses"] = "chat",
        api_version: str | None = None,
        **settings: Any,
    ) -> Self:
        """Make a provider for a server that speaks OpenAI's format, by its name: `OpenAIProvider.preset("groq")`.

        The names: azure, deepseek, fireworks, groq, huggingface, llama-cpp-python, llamacpp, lmstudio, mistral, nvidia,
        openrouter, perplexity, together, vllm, xai. Address and key come from the environment where they are not given,
        under the names that each is known by (`GROQ_API_KEY`; docs/compatible-providers.md has them all). A model has
        to be given, here or with each call. `api` and `settings` are those of the class; not every server has the
        Responses API.

        Azure: `base_url` (or `AZURE_OPENAI_ENDPOINT`) is the resource's address; models are the names of deployments.
        With `api_version` (or `OPENAI_API_VERSION`) its older API is spoken, which has the deployment in the path.

        Raises `ConfigurationError` for an unknown name, or if address or key are missing.
        """
        found = _core.preset(name) if isinstance(name, str) else None
        if found is None:
            names = ", ".join(_core.preset_names())
            raise ConfigurationError(f"there is no preset {name!r}; there are {names}; base_url= takes any address")
        wire = _wire(found.name, api)
        base_url = settings.pop("base_url", None)
        if found.name == "azure":
            base_url, older = _azure(base_url or first_set(found.base_url_variables, os.environ), api_version)
            wire = _wire("azure-deployments", api) if older else wire
        elif api_version is not None:
            raise ConfigurationError("api_version is Azure's", provider=found.name)
        provider = cls.__new__(cls)
        provider._set_up(found, wire, api_key, base_url=base_url, **settings)  # noqa: SLF001 - its own
        return provider


def _wire(name: str, api: str) -> str:
    """Name the format that this server speaks in this API."""
    if api not in _WIRES:
        raise ConfigurationError(f'api is "chat" or "responses", not {api!r}', provider=name)
    return name + _WIRES[api]


def _azure(endpoint: str | None, api_version: str | None) -> tuple[str, bool]:
    """Azure's base URL, and whether it is that of its older API."""
    if not endpoint:
        message = "Azure needs the resource's address: pass base_url=... or set AZURE_OPENAI_ENDPOINT"
        raise ConfigurationError(message, provider="azure")
    api_version = api_version or first_set(["OPENAI_API_VERSION", "AZURE_OPENAI_API_VERSION"], os.environ)
    endpoint = endpoint.rstrip("/")
    if api_version:
        endpoint = endpoint.removesuffix("/openai")
        return f"{endpoint}/openai?api-version={api_version}", True
    return endpoint if endpoint.endswith("/v1") else f"{endpoint}/openai/v1", False
