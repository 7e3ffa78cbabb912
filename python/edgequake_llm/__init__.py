"""An LLM client for latency-sensitive Python services.

    async with OpenAIProvider(model="gpt-4o-mini") as llm:
        async for text in llm.stream("Your prompt"):
            print(text, end="", flush=True)

The core (HTTP/2 client, stream parsers, retries, timing) is Rust. Importing this starts no thread and opens no socket.
"""

from edgequake_llm._config import HTTPConfig, RetryPolicy, Timeouts
from edgequake_llm._core import (
    CacheKey,
    CacheSaving,
    CacheStats,
    ChatMessage,
    Citation,
    CitationEvent,
    Embeddings,
    EventStream,
    FinishEvent,
    InferenceMetrics,
    LLMCache,
    LLMResponse,
    ModelInfo,
    PartEvent,
    Permit,
    Preset,
    RateLimiter,
    RateLimiterStatus,
    RateLimits,
    RefusalDelta,
    SyncEventStream,
    SyncPermit,
    SyncRateLimiter,
    SyncTextStream,
    TextDelta,
    TextStream,
    ThinkingDelta,
    Tokenizer,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    Usage,
    UsageEvent,
    __version__,
    count_tokens_if_needed,
    estimate_tokens,
)
from edgequake_llm._exceptions import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    ConflictError,
    ConnectTimeout,
    ContextLengthError,
    FirstTokenTimeout,
    IdleTimeout,
    InternalError,
    InvalidRequestError,
    InvalidResponseError,
    LLMError,
    LLMTimeoutError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    RateLimitTimeout,
    RequestTooLargeError,
    ServerError,
    StreamInterrupted,
    StructuredOutputError,
    TotalTimeout,
    UnsupportedOption,
)
from edgequake_llm._options import CompletionOptions
from edgequake_llm.cache import CacheConfig, CachedProvider
from edgequake_llm.factory import ProviderFactory, ProviderType
from edgequake_llm.limiter import RateLimitedProvider, RateLimiterConfig
from edgequake_llm.parts import ContentPart
from edgequake_llm.prompt_caching import CachePromptConfig, apply_cache_control
from edgequake_llm.providers import (
    AnthropicProvider,
    BedrockProvider,
    GeminiProvider,
    OllamaProvider,
    OpenAIProvider,
    Provider,
    SyncCalls,
)
from edgequake_llm.run import RunResult, RunStream, SyncRunStream, ToolLoopError, ToolResultEvent
from edgequake_llm.simulator import Simulator
from edgequake_llm.structured import ResponseFormat
from edgequake_llm.tools import Tool, tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgequake_llm._hooked_streams import HookedStream, SyncHookedStream
    from edgequake_llm.catalog import Cost, CostSaved, ModelCatalog, ModelEntry, TokenPrices
    from edgequake_llm.directory import ListedModel, ModelDirectory
    from edgequake_llm.hooks import HookCall, HookedProvider, Hooks, traceparent_header
    from edgequake_llm.providers._gemini_caches import GeminiCache
    from edgequake_llm.recommend import Recommendation, recommend_model
    from edgequake_llm.rerank import Ranked, Ranking, Reranker, reciprocal_rank_fusion

# What not everybody needs is imported when it is first asked for.
_LATER = {
    "Cost": "catalog",
    "CostSaved": "catalog",
    "GeminiCache": "providers._gemini_caches",
    "HookCall": "hooks",
    "HookedProvider": "hooks",
    "HookedStream": "_hooked_streams",
    "Hooks": "hooks",
    "ListedModel": "directory",
    "ModelCatalog": "catalog",
    "ModelDirectory": "directory",
    "ModelEntry": "catalog",
    "Ranked": "rerank",
    "Ranking": "rerank",
    "Recommendation": "recommend",
    "Reranker": "rerank",
    "SyncHookedStream": "_hooked_streams",
    "TokenPrices": "catalog",
    "reciprocal_rank_fusion": "rerank",
    "recommend_model": "recommend",
    "traceparent_header": "hooks",
}


def __getattr__(name: str) -> object:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "AnthropicProvider",
    "AuthenticationError",
    "BedrockProvider",
    "CacheConfig",
    "CacheKey",
    "CachePromptConfig",
    "CacheSaving",
    "CacheStats",
    "CachedProvider",
    "ChatMessage",
    "Citation",
    "CitationEvent",
    "ClosedError",
    "CompletionOptions",
    "ConfigurationError",
    "ConflictError",
    "ConnectTimeout",
    "ContentPart",
    "ContextLengthError",
    "Cost",
    "CostSaved",
    "Embeddings",
    "EventStream",
    "FinishEvent",
    "FirstTokenTimeout",
    "GeminiCache",
    "GeminiProvider",
    "HTTPConfig",
    "HookCall",
    "HookedProvider",
    "HookedStream",
    "Hooks",
    "IdleTimeout",
    "InferenceMetrics",
    "InternalError",
    "InvalidRequestError",
    "InvalidResponseError",
    "LLMCache",
    "LLMError",
    "LLMResponse",
    "LLMTimeoutError",
    "ListedModel",
    "ModelCatalog",
    "ModelDirectory",
    "ModelEntry",
    "ModelInfo",
    "NotFoundError",
    "OllamaProvider",
    "OpenAIProvider",
    "OverloadedError",
    "PartEvent",
    "PermissionDeniedError",
    "Permit",
    "Preset",
    "Provider",
    "ProviderFactory",
    "ProviderType",
    "QuotaError",
    "Ranked",
    "Ranking",
    "RateLimitError",
    "RateLimitTimeout",
    "RateLimitedProvider",
    "RateLimiter",
    "RateLimiterConfig",
    "RateLimiterStatus",
    "RateLimits",
    "Recommendation",
    "RefusalDelta",
    "RequestTooLargeError",
    "Reranker",
    "ResponseFormat",
    "RetryPolicy",
    "RunResult",
    "RunStream",
    "ServerError",
    "Simulator",
    "StreamInterrupted",
    "StructuredOutputError",
    "SyncCalls",
    "SyncEventStream",
    "SyncHookedStream",
    "SyncPermit",
    "SyncRateLimiter",
    "SyncRunStream",
    "SyncTextStream",
    "TextDelta",
    "TextStream",
    "ThinkingDelta",
    "Timeouts",
    "TokenPrices",
    "Tokenizer",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallStart",
    "ToolLoopError",
    "ToolResultEvent",
    "TotalTimeout",
    "UnsupportedOption",
    "Usage",
    "UsageEvent",
    "__version__",
    "apply_cache_control",
    "count_tokens_if_needed",
    "estimate_tokens",
    "reciprocal_rank_fusion",
    "recommend_model",
    "tool",
    "traceparent_header",
]
