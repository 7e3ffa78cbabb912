"""`CompletionOptions`: everything that shapes an answer."""

from __future__ import annotations

from edgequake_llm._value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import UnionType
    from typing import Any, ClassVar, Literal, TypeAlias, TypedDict

    from edgequake_llm._config import Seconds, Timeouts
    from edgequake_llm.structured import ResponseFormat
    from edgequake_llm.tools import ToolLike

    ToolChoice: TypeAlias = str | Mapping[str, Any] | ToolLike
    Format: TypeAlias = Literal["text", "json"] | Mapping[str, Any] | ResponseFormat | type | UnionType

    class OptionFields(TypedDict, total=False):
        """The options as keyword arguments of a call."""

        max_tokens: int | None
        temperature: float | None
        top_p: float | None
        top_k: int | None
        stop: str | Sequence[str] | None
        seed: int | None
        presence_penalty: float | None
        frequency_penalty: float | None
        user: str | None
        metadata: Mapping[str, str] | None
        tools: Sequence[ToolLike] | None
        tool_choice: ToolChoice | None
        parallel_tool_calls: bool | None
        response_format: Format | None
        reasoning: str | bool | int | Mapping[str, Any] | None
        prompt_cache_key: str | None
        cached_content: str | None
        extra: Mapping[str, Any] | None
        model: str | None
        system: str | None
        timeout: Seconds | Timeouts | None
        extra_headers: Mapping[str, str] | None
        drop_unsupported: bool | None

    class RequestFields(TypedDict, total=False):
        """The options of `request` as keyword arguments."""

        timeout: Seconds | Timeouts | None
        extra_headers: Mapping[str, str] | None

    class EmbedFields(TypedDict, total=False):
        """The options of `embed` as keyword arguments."""

        model: str | None
        dimensions: int | None
        task_type: str | None
        extra: Mapping[str, Any] | None
        timeout: Seconds | Timeouts | None
        extra_headers: Mapping[str, str] | None


class CompletionOptions(Value):
    """Everything that shapes an answer. `None` leaves the choice to the provider and sends nothing.

    `max_tokens`: at most this many output tokens. `temperature`: 0 to 2. `top_p`: 0 to 1. `top_k`: sample from this
    many best tokens (Anthropic, Gemini, Ollama). `stop`: texts that end the answer. `seed`: for repeatable sampling.
    `presence_penalty`, `frequency_penalty`: -2 to 2. `user`: an id of the end user. `metadata`: labels of the request
    for the provider's records (OpenAI, Azure, OpenRouter, Mistral). `tools`: functions with type annotations, `Tool`
    objects, pydantic models and other classes of fields, or JSON schemas in a provider's form. `tool_choice`: `"auto"`,
    `"none"`, `"required"`, or a tool or its name. `parallel_tool_calls`: whether several may be called at once.
    `response_format`: `"text"`, `"json"`, a JSON schema, or a type (a pydantic model, a dataclass, a list of them),
    which `response.parsed` is of. `reasoning`: an effort (`"low"`), a budget of tokens (2048), or just `True` or
    `False`. `prompt_cache_key`: calls of equal keys go to the machine that knows their beginning (OpenAI).
    `cached_content`: the name of a stored prompt to put in front (Gemini; see `GeminiProvider.caches`). `extra`: fields
    that go into the request's body as they are; they win over the others. `model`: instead of the provider's. `system`:
    a system message put in front. `timeout`: seconds for the whole call, or `Timeouts`. `extra_headers`: for this call.
    `drop_unsupported`: go on without an option that the provider does not have, instead of raising `UnsupportedOption`.

    Values are checked when a call is made, before anything is sent: `InvalidRequestError` names the option and its
    range.
    """

    __hidden__: ClassVar = frozenset({"extra_headers"})

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | Sequence[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    user: str | None = None
    metadata: Mapping[str, str] | None = None
    tools: Sequence[ToolLike] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    reasoning: str | bool | int | Mapping[str, Any] | None = None
    prompt_cache_key: str | None = None
    cached_content: str | None = None
    extra: Mapping[str, Any] | None = None
    model: str | None = None
    system: str | None = None
    timeout: Seconds | Timeouts | None = None
    extra_headers: Mapping[str, str] | None = None
    drop_unsupported: bool | None = None
