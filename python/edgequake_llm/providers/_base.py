"""What every provider can do. A provider's own file only says where it is, how it is set up and what it defaults to."""

from __future__ import annotations

import os

from edgequake_llm import _core
from edgequake_llm._config import HTTPConfig, RetryPolicy, Timeouts
from edgequake_llm._exceptions import ConfigurationError, InvalidRequestError
from edgequake_llm.prompt_caching import CachePromptConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sys
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Any, ClassVar, TypeAlias, TypedDict

    if sys.version_info >= (3, 12):
        from typing import Unpack
    else:
        from typing_extensions import Unpack
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self

    from edgequake_llm._config import Seconds
    from edgequake_llm._options import CompletionOptions, EmbedFields, OptionFields, RequestFields
    from edgequake_llm.run import RunResult, RunStream, SyncRunStream

    Message: TypeAlias = _core.ChatMessage | Mapping[str, Any]
    Key: TypeAlias = str | Callable[[], str] | Callable[[], Awaitable[str]]

    class Settings(TypedDict, total=False):
        """How a provider is set up, as keyword arguments."""

        model: str | None
        embedding_model: str | None
        base_url: str | None
        headers: Mapping[str, str] | None
        timeout: Seconds | Timeouts | None
        retry: RetryPolicy | int | None
        http: HTTPConfig | None
        drop_unsupported: bool
        prompt_cache: CachePromptConfig | bool | None


def first_set(names: Iterable[str], environ: Mapping[str, str]) -> str | None:
    """Return the first of these environment variables that is set and not empty."""
    return next((value for name in names if (value := environ.get(name, "").strip())), None)


def _key(api_key: Key | None, variables: Iterable[str]) -> Key | None:
    """Return the key that is given, or set; a blank one is none."""
    if api_key is None:
        return first_set(variables, os.environ)
    return None if isinstance(api_key, str) and not api_key.strip() else api_key


class _Name:
    """The provider's name: for a class its own, for an object that of whom it talks to, which a preset may say."""

    __slots__ = ("_own",)

    def __init__(self, own: str) -> None:
        self._own = own

    def __get__(self, instance: Provider | None, owner: type | None = None) -> str:
        core = getattr(instance, "_core", None)
        return self._own if core is None else str(core.name)


class _Signature:
    """What a provider is made with, each setting by its name, for `help()` and whoever else asks for a signature."""

    def __get__(self, instance: Provider | None, owner: type[Provider]) -> object:
        from inspect import Parameter, Signature, signature

        own = list(signature(owner.__init__).parameters.values())[1:]
        shared = signature(owner._set_up).parameters.values()  # noqa: SLF001 - this module's own
        settings = [parameter for parameter in shared if parameter.kind is Parameter.KEYWORD_ONLY]
        spelled_out = [
            spelled
            for parameter in own
            for spelled in (settings if parameter.kind is Parameter.VAR_KEYWORD else [parameter])
        ]
        return Signature(spelled_out)


class Provider:
    """A provider of language models.

    Make it once and use it from anywhere: any number of calls at once, any event loop, any thread, and in forked
    children. It holds settings and no connection; connections belong to the process and are shared by all providers of
    equal settings. So even a new provider for each request is fast.

    `api_key` and `base_url` come from the environment where they are not given. `api_key` may be a function, async or
    not, that is asked for the key of each call; a token that it gives with `Bearer ` in front goes into the header
    `authorization`. `model` is what calls use unless they name another, `embedding_model` what `embed` uses. `headers`
    go into every request. `timeout` is seconds for the whole call, or `Timeouts`. `retry` is a `RetryPolicy`, or a
    number of retries. `http` is an `HTTPConfig`: how connections are made. `prompt_cache=True`, or a
    `CachePromptConfig`, has the provider cache the beginnings of prompts: Anthropic's, Bedrock's and OpenRouter's calls
    are marked, OpenAI's get the config's key, and the others cache by themselves. With `drop_unsupported` an option
    that the provider does not have is left out instead of raising `UnsupportedOption`.

    Raises `ConfigurationError` if the key is missing or a setting cannot be used.
    """

    name: ClassVar[str]
    wire: ClassVar[str]
    default_base_url: ClassVar[str]
    default_model: ClassVar[str | None]
    default_embedding_model: ClassVar[str | None] = None
    key_variables: ClassVar[tuple[str, ...]]
    base_url_variables: ClassVar[tuple[str, ...]]
    key_required: ClassVar[bool] = True

    __slots__ = {"_core": None, "sync": "The same calls for code without an event loop: `llm.sync.complete(...)`."}
    __signature__: ClassVar[_Signature] = _Signature()

    def __init_subclass__(cls) -> None:
        own = cls.__dict__.get("name")
        if isinstance(own, str):
            cls.name = _Name(own)  # type: ignore[assignment]  # read, it is text again

    def __init__(
        self,
        api_key: Key | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self._set_up(None, self.wire, api_key, **settings)

    def _set_up(
        self,
        preset: _core.Preset | None,
        wire: str,
        api_key: Key | None,
        credentials: tuple[str, str, str | None, str] | None = None,
        *,
        model: str | None = None,
        embedding_model: str | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Seconds | Timeouts | None = None,
        retry: RetryPolicy | int | None = None,
        http: HTTPConfig | None = None,
        drop_unsupported: bool = False,
        prompt_cache: CachePromptConfig | bool | None = None,
        **unknown: object,
    ) -> None:
        """Make the core's part; what a preset says comes before what the class says.

        `credentials` sign each request instead of a key: access key id, secret, session token, region.
        """
        if unknown:
            raise _no_setting(type(self), min(unknown))
        setup = self if preset is None else preset
        if headers is not None and not hasattr(headers, "keys"):
            raise _wrong(setup.name, "headers", "a dict of text", headers)
        if http is not None and not isinstance(http, HTTPConfig):
            raise _wrong(setup.name, "http", "an HTTPConfig", http)
        api_key = None if credentials is not None else _key(api_key, setup.key_variables)
        source = api_key if callable(api_key) else None
        if base_url is None:
            if preset is None:
                base_url = self._base_url(os.environ)
            else:
                base_url = first_set(preset.base_url_variables, os.environ) or preset.default_base_url
        if api_key is None and credentials is None and setup.key_required and not self._key_in(headers):
            variables = " or ".join(setup.key_variables)
            message = f"no API key: pass api_key=... or set {variables}"
            raise ConfigurationError(message, provider=setup.name)
        self._core = _core.Provider(
            wire,
            base_url=base_url,
            api_key=None if callable(api_key) else api_key,
            headers=dict(headers or {}),
            model=model or (self.default_model if preset is None else None),
            embedding_model=embedding_model or (self.default_embedding_model if preset is None else None),
            timeouts=_timeouts(timeout),
            retry=_retry_policy(retry),
            http=http or HTTPConfig(),
            drop_unsupported=drop_unsupported,
            prompt_cache=_prompt_cache(setup.name, prompt_cache),
            credentials=credentials,
        )
        if source is not None:
            from edgequake_llm._key_source import keyed

            self._core = keyed(self._core, source)  # type: ignore[assignment]  # it acts as one
        self.sync = self._sync_calls()

    def _sync_calls(self) -> SyncCalls:
        return SyncCalls(self._core)

    @classmethod
    def _base_url(cls, environ: Mapping[str, str]) -> str:
        return first_set(cls.base_url_variables, environ) or cls.default_base_url

    @staticmethod
    def _key_in(headers: Mapping[str, str] | None) -> bool:
        """Whether the caller authenticates by a header of their own, as gateways want it."""
        known = {"authorization", "x-api-key", "api-key", "x-goog-api-key"}
        return any(str(name).lower() in known for name in headers or {})

    @property
    def model(self) -> str | None:
        """The model that calls use unless they name another."""
        return self._core.model

    @property
    def embedding_model(self) -> str | None:
        """The embedding model that `embed` uses unless it names another."""
        return self._core.embedding_model

    @property
    def base_url(self) -> str:
        """Where requests go."""
        return self._core.base_url

    async def complete(
        self, prompt: str, options: CompletionOptions | None = None, **fields: Unpack[OptionFields]
    ) -> _core.LLMResponse:
        """Answer one prompt, and return the whole answer.

        `options` and keyword arguments are those of `CompletionOptions`; keywords win. Raises `InvalidRequestError` for
        bad input before anything is sent, and any other `LLMError` for what goes wrong later. Cancelling takes the
        request back at once.
        """
        return await self._core.chat(_prompt(prompt), options, fields)

    async def chat(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        **fields: Unpack[OptionFields],
    ) -> _core.LLMResponse:
        """Answer a conversation: a list of `ChatMessage` or dicts with `role` and `content`. Else as `complete`."""
        return await self._core.chat(messages, options, fields)

    def stream(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        **fields: Unpack[OptionFields],
    ) -> _core.TextStream:
        """Stream the answer to a prompt or a conversation: `async for text in provider.stream("...")`.

        The request is sent at once. See `TextStream`; options and errors as with `complete`, the errors raised while
        iterating.
        """
        return self._core.stream(messages, options, fields)

    async def run(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        *,
        max_rounds: int = 8,
        **fields: Unpack[OptionFields],
    ) -> RunResult:
        """Answer with the help of `tools`: call those that the model asks for, send it the results, until it is done.

        The calls of one round run concurrently: async functions as tasks, others in threads. What a tool raises, and
        arguments that do not fit, are sent to the model as an error for it to deal with. The model is asked at most
        `max_rounds` times; if it still calls tools then, `ToolLoopError` carries the conversation. A call of a tool
        without a function ends the run; it is in `result.response.tool_calls`. A `tool_choice` that forces a call holds
        for the first round only. Else as `chat`.
        """
        from edgequake_llm.run import run

        return await run(self, messages, options, max_rounds, fields)

    def run_stream(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        *,
        max_rounds: int = 8,
        **fields: Unpack[OptionFields],
    ) -> RunStream:
        """Stream a run of the tool loop: `async for text in provider.run_stream("...", tools=[...])`. As `run`."""
        from edgequake_llm.run import RunStream

        return RunStream(self, messages, options, max_rounds, fields)

    async def embed(self, texts: Sequence[str], **fields: Unpack[EmbedFields]) -> _core.Embeddings:
        """Embed any number of texts; the vectors come in their order.

        They are split at the provider's limit for a request, and some requests run at once. Options: `model`,
        `dimensions`, `task_type` (Gemini), `extra`, `timeout`, `extra_headers`. If a batch fails for good, the error's
        `embedded` holds the vectors that had come, by the place of their text. Raises `UnsupportedOption` if the
        provider has no embeddings, `InvalidRequestError` for an empty list or text, and else as `complete`.
        """
        return await self._core.embed(texts, fields)

    async def list_models(self, **fields: Unpack[RequestFields]) -> list[_core.ModelInfo]:
        """Return the models that the provider has, as it lists them, all pages. Options: as for `request`."""
        return await self._core.list_models(fields)

    async def count_tokens(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        **fields: Unpack[OptionFields],
    ) -> int:
        """Return how many tokens a prompt has, as the provider counts them: system prompt, messages and tools.

        Anthropic, Gemini and Bedrock count; it costs a request and no tokens. The others raise `UnsupportedOption`:
        there `Tokenizer` counts, without a request.
        """
        return await self._core.count_tokens(messages, options, fields)

    async def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **fields: Unpack[RequestFields]
    ) -> Any:
        """Call any other endpoint below the base URL and return its JSON: `await llm.request("GET", "/files")`.

        With the same retries, limits on time and errors as a chat. Options: `timeout`, `extra_headers`.
        """
        return await self._core.ask(method, path, body, fields)

    async def aclose(self) -> None:
        """Refuse further calls, and close the unused connections unless another provider shares them."""
        self._core.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        # Some gateways want a key in the query.
        base_url = self.base_url.partition("?")[0]
        return f"{type(self).__name__}(model={self.model!r}, base_url={base_url!r})"


class SyncCalls:
    """The same calls for code without an event loop: `provider.sync.complete(...)`.

    They wait on the same core with the interpreter's lock released, start no event loop, and Ctrl-C interrupts them.
    """

    __slots__ = ("_core",)

    def __init__(self, core: _core.Provider) -> None:
        self._core = core

    def complete(
        self, prompt: str, options: CompletionOptions | None = None, **fields: Unpack[OptionFields]
    ) -> _core.LLMResponse:
        """As `Provider.complete`."""
        return self._core.chat_sync(_prompt(prompt), options, fields)

    def chat(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        **fields: Unpack[OptionFields],
    ) -> _core.LLMResponse:
        """As `Provider.chat`."""
        return self._core.chat_sync(messages, options, fields)

    def stream(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        **fields: Unpack[OptionFields],
    ) -> _core.SyncTextStream:
        """As `Provider.stream`: `for text in provider.sync.stream("...")`."""
        return self._core.stream_sync(messages, options, fields)

    def run(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        *,
        max_rounds: int = 8,
        **fields: Unpack[OptionFields],
    ) -> RunResult:
        """As `Provider.run`, with functions that are not async; several calls of one round run in threads."""
        from edgequake_llm.run import run_sync

        return run_sync(self, messages, options, max_rounds, fields)

    def run_stream(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        *,
        max_rounds: int = 8,
        **fields: Unpack[OptionFields],
    ) -> SyncRunStream:
        """As `Provider.run_stream`: `for text in provider.sync.run_stream("...", tools=[...])`."""
        from edgequake_llm.run import SyncRunStream

        return SyncRunStream(self, messages, options, max_rounds, fields)

    def embed(self, texts: Sequence[str], **fields: Unpack[EmbedFields]) -> _core.Embeddings:
        """As `Provider.embed`."""
        return self._core.embed_sync(texts, fields)

    def list_models(self, **fields: Unpack[RequestFields]) -> list[_core.ModelInfo]:
        """As `Provider.list_models`."""
        return self._core.list_models_sync(fields)

    def count_tokens(
        self,
        messages: Sequence[Message] | Message | str,
        options: CompletionOptions | None = None,
        **fields: Unpack[OptionFields],
    ) -> int:
        """As `Provider.count_tokens`."""
        return self._core.count_tokens_sync(messages, options, fields)

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **fields: Unpack[RequestFields]
    ) -> Any:
        """As `Provider.request`."""
        return self._core.ask_sync(method, path, body, fields)


def _no_setting(cls: type[Provider], name: str) -> TypeError:
    from difflib import get_close_matches
    from inspect import signature

    names = list(signature(cls).parameters)
    near = get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names)}"
    return TypeError(f"{cls.__name__} has no setting {name!r}; {hint}")


def _wrong(provider: str, name: str, expected: str, given: object) -> ConfigurationError:
    message = f"{name} must be {expected}, not {type(given).__name__}"
    return ConfigurationError(message, provider=provider)


def _prompt_cache(provider: str, given: CachePromptConfig | bool | None) -> CachePromptConfig | None:
    if given is None or isinstance(given, CachePromptConfig):
        return given
    if not isinstance(given, bool):
        raise _wrong(provider, "prompt_cache", "True, False or a CachePromptConfig", given)
    return CachePromptConfig() if given else None


def _timeouts(timeout: Seconds | Timeouts | None) -> Timeouts:
    if timeout is None:
        return Timeouts()
    return timeout if isinstance(timeout, Timeouts) else Timeouts(total=timeout)


def _retry_policy(retry: RetryPolicy | int | None) -> RetryPolicy:
    if retry is None:
        return RetryPolicy()
    return retry if isinstance(retry, RetryPolicy) else RetryPolicy(max_retries=retry)


def _prompt(prompt: str) -> str:
    if not isinstance(prompt, str):
        message = f"the prompt must be text, not {type(prompt).__name__}; use chat() for messages"
        raise InvalidRequestError(message)
    return prompt
