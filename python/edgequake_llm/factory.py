"""`ProviderFactory`: providers by name, or by what the environment holds."""

from __future__ import annotations

import os
from enum import Enum

from edgequake_llm import _core
from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm.providers import AnthropicProvider, BedrockProvider, GeminiProvider, OllamaProvider, OpenAIProvider
from edgequake_llm.providers._base import first_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgequake_llm.providers import Provider


class ProviderType(str, Enum):
    """The providers that there are. The values are the names used in errors and at the command line."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    OLLAMA = "ollama"
    BEDROCK = "bedrock"

    __str__ = str.__str__


_CHOICE = ("EDGEQUAKE_LLM_PROVIDER",)

_CLASSES: dict[ProviderType, type[Provider]] = {
    ProviderType.OPENAI: OpenAIProvider,
    ProviderType.ANTHROPIC: AnthropicProvider,
    ProviderType.GEMINI: GeminiProvider,
    ProviderType.OLLAMA: OllamaProvider,
    ProviderType.BEDROCK: BedrockProvider,
}


def _is_set_up(cls: type[Provider]) -> bool:
    """Whether the environment holds what this provider needs."""
    return first_set(cls.key_variables if cls.key_required else cls.base_url_variables, os.environ) is not None


def any_set_up() -> bool:
    """Whether the environment is set up for any provider, rightly or wrongly."""
    return first_set(_CHOICE, os.environ) is not None or any(map(_is_set_up, _CLASSES.values()))


def set_up() -> list[str]:
    """Return the names of all providers that the environment is set up for, the one that it names first."""
    named = first_set(_CHOICE, os.environ)
    names = [named.lower()] if named is not None else []
    return list(dict.fromkeys([*names, *(kind.value for kind, cls in _CLASSES.items() if _is_set_up(cls))]))


class ProviderFactory:
    """Makes providers."""

    @staticmethod
    def create(provider: ProviderType | str, **settings: Any) -> tuple[Provider, Provider | None]:
        """Make a provider of this type, or by the name of a preset (`"groq"`), and return it as (llm, embedding).

        `settings` go to the provider's class, or to `OpenAIProvider.preset`. `embedding` is the same object, or `None`
        where the provider has no embeddings (Anthropic, Bedrock). Raises `ConfigurationError` for an unknown name or if
        a key is missing.
        """
        try:
            kind = ProviderType(provider)
        except ValueError:
            preset = _core.preset(provider) if isinstance(provider, str) else None
            if preset is not None:
                compatible = OpenAIProvider.preset(preset.name, **settings)
                return compatible, compatible if preset.has_embeddings else None
            names = ", ".join([*ProviderType, *_core.preset_names()])
            raise ConfigurationError(f"there is no provider {provider!r}; there are {names}") from None
        llm = _CLASSES[kind](**settings)
        return llm, llm if llm.default_embedding_model is not None else None

    @staticmethod
    def from_env(**settings: Any) -> tuple[Provider, Provider | None]:
        """Make the provider that the environment is set up for and return it as (llm, embedding).

        `EDGEQUAKE_LLM_PROVIDER` names it, a preset too. Otherwise it is the first one whose key is set, in the order
        OpenAI, Anthropic, Gemini; then Ollama, if `OLLAMA_HOST` or `OLLAMA_BASE_URL` is set; then Bedrock, if
        `AWS_BEARER_TOKEN_BEDROCK` is. An access key of AWS's may be there for something else: it is used when Bedrock
        is named. Raises `ConfigurationError` if there is none.
        """
        named = first_set(_CHOICE, os.environ)
        if named is not None:
            return ProviderFactory.create(named.lower(), **settings)
        kind = next((kind for kind, cls in _CLASSES.items() if _is_set_up(cls)), None)
        if kind is not None:
            return ProviderFactory.create(kind, **settings)
        keys = ", ".join(name for cls in _CLASSES.values() if cls.key_required for name in cls.key_variables)
        raise ConfigurationError(f"no provider is set up: set one of {keys}, or OLLAMA_HOST for a local Ollama")
