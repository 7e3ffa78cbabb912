"""The providers, one file each."""

from edgequake_llm.providers._base import Provider, SyncCalls
from edgequake_llm.providers.anthropic import AnthropicProvider
from edgequake_llm.providers.bedrock import BedrockProvider
from edgequake_llm.providers.gemini import GeminiProvider
from edgequake_llm.providers.ollama import OllamaProvider
from edgequake_llm.providers.openai import OpenAIProvider

__all__ = [
    "AnthropicProvider",
    "BedrockProvider",
    "GeminiProvider",
    "OllamaProvider",
    "OpenAIProvider",
    "Provider",
    "SyncCalls",
]
