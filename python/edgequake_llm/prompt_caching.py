"""Prompt caching: the provider keeps the beginning of a prompt and charges a tenth for reading it again."""

from __future__ import annotations

from edgequake_llm import _core
from edgequake_llm._value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from edgequake_llm.providers._base import Message


class CachePromptConfig(Value):
    """What of a prompt is marked to be cached, where the provider wants marks (Anthropic; OpenRouter before it).

    A mark covers all that is read before it, in the order tools, system prompt, messages. There are at most 4, marks of
    one's own included. `cache_system_prompt`: behind the system prompt, which covers the tools too. `cache_tools`:
    behind the tools, for when the system prompt changes and they do not. `cache_last_turns`: behind so many last turns
    of the user's side (a row of tool results is one), so that each call reads what the one before it wrote. `ttl`: how
    long tools and system prompt are kept, `"5m"` (writing costs 1.25 times the input price) or `"1h"` (2 times);
    reading costs a tenth, and starts the time anew. `turns_ttl`: the same for the turns, `"5m"` unless given; `"1h"`
    needs a `ttl` of `"1h"`, and what stands before a mark of one hour gets one hour too. `min_tokens`: shorter prefixes
    are not marked; `None` is the model's own minimum (512 to 4,096;
    https://platform.claude.com/docs/en/build-with-claude/prompt-caching), below which the provider ignores marks.
    `key`: OpenAI's `prompt_cache_key` for all calls. `enabled`: `False` switches it off.
    """

    enabled: bool = True
    cache_system_prompt: bool = True
    cache_tools: bool = True
    cache_last_turns: int = 2
    ttl: Literal["5m", "1h"] = "5m"
    turns_ttl: Literal["5m", "1h"] | None = None
    min_tokens: int | None = None
    key: str | None = None


def apply_cache_control(
    config: CachePromptConfig, messages: Sequence[Message] | Message | str, *, model: str | None = None
) -> list[_core.ChatMessage]:
    """Return the messages with cache marks, as `config` says; the ones given stay as they are.

    `model` tells the minimum length; without it the smallest of any model holds. Marks on tools need the provider's
    `prompt_cache=`, which marks every call by itself. Raises `ConfigurationError` for a config without meaning and
    `InvalidRequestError` for bad messages.
    """
    return _core.mark_messages(config, messages, model)
