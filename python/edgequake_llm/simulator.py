"""`Simulator`: a loopback server that speaks all four wire formats, for tests and load tests that cost nothing.

    with Simulator(ttft=0.2, gap=0.01) as sim:
        llm = sim.provider("openai")

It is not evidence of compatibility with the real providers.
"""

from __future__ import annotations

from edgequake_llm import _core
from edgequake_llm._config import HTTPConfig
from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm._value import Value
from edgequake_llm.factory import ProviderFactory, ProviderType

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sys
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Any, TypedDict

    if sys.version_info >= (3, 12):
        from typing import Unpack
    else:
        from typing_extensions import Unpack
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self

    from edgequake_llm._config import Seconds
    from edgequake_llm.providers import Provider

    class SimulatorSettings(TypedDict, total=False):
        """How a simulator listens, answers, limits and records."""

        port: int
        tls: bool
        tls_port: int
        require_client_cert: bool
        h1_only: bool
        max_concurrent_streams: int
        send_buffer: int | None
        text: str | None
        tokens: int | None
        ttft: Seconds
        gap: Seconds
        jitter: float
        seed: int
        chunk_events: int
        embedding_dims: int
        gzip: bool
        failure_rate: float
        failure_status: int
        requests_per_minute: int | None
        tokens_per_minute: int | None
        limit_window: Seconds
        max_concurrent: int | None
        record: bool
        record_limit: int

    class ReplySettings(TypedDict, total=False):
        """What one answer does otherwise than the simulator's settings say."""

        path: str | None
        status: int | None
        headers: Mapping[str, str] | None
        body: bytes | None
        pieces: Sequence[bytes] | None
        text: str | None
        tokens: int | None
        tool_calls: Sequence[tuple[str, str]] | None
        thinking: str | None
        delay: Seconds | None
        ttft: Seconds | None
        gap: Seconds | None
        jitter: float | None
        chunk_events: int | None
        error: str | None
        retry_after: Seconds | None
        gzip: bool | None
        fault: str | None
        after_events: int | None
        after_bytes: int | None
        keep_alive: Seconds | None
        error_status: int | None
        raw: bytes | None


_PATHS = {ProviderType.OPENAI: "/v1", ProviderType.GEMINI: "/v1beta"}


class SimulatorStats(Value):
    """What a simulator saw since it began.

    `connections`, and `connections_open` of them now; `tls_handshakes`; `requests`, and `h2_requests` of them over
    HTTP/2; `in_flight` now and at most (`max_in_flight`). Of the requests, `completed` were answered whole, `aborted`
    taken back by the client before that, `faulted` broken off as `push(fault=...)` said, `rate_limited` answered 429.
    `events_sent` in streams, and `bytes_sent` in all.
    """

    connections: int
    connections_open: int
    tls_handshakes: int
    requests: int
    h2_requests: int
    in_flight: int
    max_in_flight: int
    completed: int
    aborted: int
    faulted: int
    rate_limited: int
    events_sent: int
    bytes_sent: int


class Simulator:
    """A running simulator; ends with `stop()`, at the end of `with`, or when it is dropped.

    Settings (durations in seconds): `port` (0 takes a free one), `tls` and `tls_port` (HTTP/2 and 1.1 by ALPN, with a
    throw-away certificate), `require_client_cert` (then the client must show `client_pem`), `h1_only`,
    `max_concurrent_streams`, `send_buffer` (the kernel's, in bytes); `text` or `tokens` (how many text deltas), `ttft`,
    `gap` between tokens, `jitter` (0 to 1) and `seed`, `chunk_events` (events a write), `embedding_dims`, `gzip`;
    `failure_rate` and `failure_status`; `requests_per_minute`, `tokens_per_minute`, `max_concurrent` (more are answered
    429 with the provider's headers) and `limit_window`; `record` keeps the latest `record_limit` requests for
    `requests()`.

    OpenAI's Responses API is there beside chat completions (`sim.provider("openai", api="responses")`); its answers are
    remembered, unless `store` is false, for a `previous_response_id`.

    A request can override them by its header `x-simulator`, as `tokens=1000;ttft_ms=50;gap_ms=2;cut_after=5`.
    """

    __slots__ = ("_core",)

    def __init__(self, **settings: Unpack[SimulatorSettings]) -> None:
        self._core = _core.Simulator(**settings)

    def push(self, **reply: Unpack[ReplySettings]) -> None:
        """Queue a one-shot reply for the next request (whose path contains `path`, if given).

        `text` and `tool_calls` (name and JSON arguments; empty ones are made up from the tool's schema) may stand
        together; `thinking` comes before them, signed where the provider signs. A model that is asked to think does so
        by itself, and a conversation must bring signed thinking back as it was, as with Anthropic and Gemini.

        `status` gives the provider's own error body, whose code or type is `error` and which asks to wait for
        `retry_after` seconds; `body` or `pieces` are exact bytes; `headers` go beside. The answer waits `delay`
        seconds. The others are as in the settings: `ttft`, `gap`, `jitter`, `tokens`, `chunk_events`, `gzip`.

        `fault`: `"close_before_headers"`, `"cut"` (reset), `"close"`, `"end"` (a clean end too soon), `"stall"` (with
        signs of life every `keep_alive` seconds), each after `after_events` or `after_bytes`; `"error"` (an error event
        of `error_status` in a 200 stream); `"raw"` (the bytes `raw` instead of HTTP).
        """
        self._core.push(**reply)

    def stats(self) -> SimulatorStats:
        """Return what it saw so far."""
        return SimulatorStats(**self._core.stats())

    def requests(self) -> list[dict[str, Any]]:
        """Return the latest requests, oldest first, keys and all; none unless `record` is set."""
        return self._core.requests()

    def clear(self) -> None:
        """Forget the queued replies."""
        self._core.clear()

    def close_connections(self) -> None:
        """Close every open connection, as a server does that restarts."""
        self._core.close_connections()

    def stop(self) -> None:
        """Stop listening and drop all connections."""
        self._core.stop()

    @property
    def url(self) -> str:
        """The base URL in clear, without a path."""
        return self._core.url

    @property
    def tls_url(self) -> str | None:
        """The base URL for TLS, if there is one."""
        return self._core.tls_url

    @property
    def cert_pem(self) -> str | None:
        """The certificate (PEM) to trust for TLS."""
        return self._core.cert_pem

    @property
    def client_pem(self) -> str | None:
        """A client's certificate and key (PEM) of the same authority, for `require_client_cert`."""
        return self._core.client_pem

    def base_url(self, provider: ProviderType | str, *, tls: bool = False) -> str:
        """Return the base URL that a provider of this type wants."""
        url = self.tls_url if tls else self.url
        if url is None:
            raise ConfigurationError("this simulator does not speak TLS; make it with tls=True")
        kind = ProviderType(provider)
        if kind is ProviderType.BEDROCK:
            raise ConfigurationError("this simulator does not speak Bedrock's format")
        return f"{url}{_PATHS.get(kind, '')}"

    def provider(self, provider: ProviderType | str = "openai", *, tls: bool = False, **settings: Any) -> Provider:
        """Make a provider of this type that talks to this simulator."""
        if tls and self.cert_pem is not None:
            settings.setdefault("http", HTTPConfig(ca_pem=self.cert_pem.encode()))
        settings.setdefault("api_key", "simulated")
        llm, _ = ProviderFactory.create(provider, base_url=self.base_url(provider, tls=tls), **settings)
        return llm

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Simulator {self.url}>"
