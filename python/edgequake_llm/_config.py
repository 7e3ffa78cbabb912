"""Settings that providers share, as frozen value objects. Durations are seconds (float) or `timedelta`."""

from __future__ import annotations

from edgequake_llm._value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta
    from typing import ClassVar, Literal, TypeAlias

    Seconds: TypeAlias = float | timedelta


class Timeouts(Value):
    """Limits on a call's time. Each raises its own error; `None` is no limit.

    `connect`: until a connection is there (`ConnectTimeout`). `first_token`: from sending to the first event that
    carries something, or, for calls that do not stream, to the answer's head (`FirstTokenTimeout`); long by default,
    because models that think first are silent for minutes. `idle`: between two events that carry something; keep-alive
    comments and pings do not count (`IdleTimeout`). `total`: the whole call with all retries (`TotalTimeout`); none by
    default, because it would cut long healthy streams.
    """

    connect: Seconds | None = 10.0
    first_token: Seconds | None = 300.0
    idle: Seconds | None = 120.0
    total: Seconds | None = None


class RetryPolicy(Value):
    """How failed calls are tried again: 408, 409, 429, 5xx, 529 and connection errors, before anything was delivered.

    There are at most `max_retries`, after the first try. The wait before the n-th retry is uniform between 0 and
    `base_delay` x 2^(n-1), at most `max_delay` (exponential backoff with full jitter). A provider's `retry-after`,
    `retry-after-ms` or `RetryInfo` is kept instead; if it asks for more than `max_retry_after` seconds, the error is
    raised at once and tells it. Delays may be 0.
    """

    max_retries: int = 2
    base_delay: Seconds = 0.5
    max_delay: Seconds = 8.0
    max_retry_after: Seconds = 60.0


class HTTPConfig(Value):
    """How connections are made. Providers of equal settings share one pool of connections.

    `protocol`: `"auto"` is HTTP/2 where the server offers it by ALPN; `"http2"` also speaks it in clear by prior
    knowledge; `"http1"` never. `proxy`: a URL (`http`, `https`, `socks5`, `socks5h`), `False` for none; `None` obeys
    the variables `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. `ca_pem`: certificates (PEM) trusted besides
    the bundled and the system's. `client_pem`: the client's certificate chain and private key (PEM). `keep_alive`:
    seconds for which an unused connection is kept.
    """

    __hidden__: ClassVar = frozenset({"ca_pem", "client_pem"})

    protocol: Literal["auto", "http1", "http2"] = "auto"
    proxy: str | Literal[False] | None = None
    ca_pem: bytes | None = None
    client_pem: bytes | None = None
    keep_alive: Seconds = 90.0

    def __repr__(self) -> str:
        # A proxy's URL may hold a password, and the password anything.
        if isinstance(self.proxy, str) and "@" in self.proxy:
            before, _, host = self.proxy.rpartition("@")
            scheme = before.partition("://")[0]
            known = f"{scheme}://" if scheme in {"http", "https", "socks5", "socks5h"} else ""
            return repr(self.replace(proxy=f"{known}{host}"))
        return super().__repr__()
