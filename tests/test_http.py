"""The HTTP client: versions, TLS, proxies, headers, compression."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import socket
import zlib
from urllib.parse import urlsplit

import pytest

from edgequake_llm import (
    APIConnectionError,
    APIStatusError,
    ConfigurationError,
    HTTPConfig,
    InvalidResponseError,
    LLMError,
    OpenAIProvider,
    Simulator,
)
from support.proxy import Proxy, SocksProxy
from support.raw import HOLD, RawServer, answer, chunk, head, openai_answer, openai_delta, sse
from support.waiting import eventually


@pytest.fixture
def secure():
    with Simulator(tls=True, record=True) as simulator:
        yield simulator


def with_ca(sim, **settings):
    return HTTPConfig(ca_pem=sim.cert_pem.encode(), **settings)


# Versions.


async def test_alpn_chooses_http2(secure, provider_name):
    llm = secure.provider(provider_name, tls=True)
    response = await llm.complete("hi")
    assert response.http_version == "HTTP/2"
    assert "".join([text async for text in llm.stream("hi")]) == response.content
    assert (secure.stats().tls_handshakes, secure.stats().h2_requests) == (1, 2)


async def test_alpn_falls_back_to_http1():
    with Simulator(tls=True, h1_only=True) as sim:
        llm = sim.provider(tls=True)
        assert (await llm.complete("hi")).http_version == "HTTP/1.1"
        # The first callers at once wait for one connection to say which version it is, and then dial for themselves.
        responses = await asyncio.gather(*(llm.complete("hi") for _ in range(10)))
        assert {response.http_version for response in responses} == {"HTTP/1.1"}


async def test_http1_when_asked(secure):
    llm = secure.provider(http=with_ca(secure, protocol="http1"), tls=True)
    assert (await llm.complete("hi")).http_version == "HTTP/1.1"


async def test_http2_in_clear_by_prior_knowledge(sim, provider_name):
    llm = sim.provider(provider_name, http=HTTPConfig(protocol="http2"))
    assert (await llm.complete("hi")).http_version == "HTTP/2"


async def test_in_clear_it_is_http1_unless_asked(llm):
    assert (await llm.complete("hi")).http_version == "HTTP/1.1"


async def test_http2_that_is_not_there_says_so():
    with Simulator(tls=True, h1_only=True) as sim:
        llm = sim.provider(tls=True, http=with_ca(sim, protocol="http2"), retry=0)
        with pytest.raises(APIConnectionError, match=r"HTTP/2|protocol"):
            await llm.complete("hi")


# TLS.


async def test_an_unknown_certificate_is_refused(secure):
    llm = OpenAIProvider("key", base_url=secure.base_url("openai", tls=True), retry=0)
    with pytest.raises(APIConnectionError, match="certificate"):
        await llm.complete("hi")
    assert secure.stats().requests == 0


async def test_the_name_in_the_certificate_counts(secure, own_pool):
    # The certificate is for the loopback addresses and `localhost`, not for every name that leads here.
    url = secure.base_url("openai", tls=True).replace("127.0.0.1", "127.0.0.9").replace("localhost", "127.0.0.9")
    llm = OpenAIProvider("key", base_url=url, retry=0, http=with_ca(secure))
    with pytest.raises(APIConnectionError):
        await llm.complete("hi")
    assert secure.stats().requests == 0


async def test_a_client_certificate():
    with Simulator(tls=True, require_client_cert=True) as sim:
        http = with_ca(sim, client_pem=sim.client_pem.encode())
        assert (await sim.provider(tls=True, http=http).complete("hi")).content
        with pytest.raises(APIConnectionError):
            await sim.provider(tls=True, retry=0).complete("hi")
        assert sim.stats().requests == 1
        assert "PRIVATE" not in repr(http)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ca_pem": b"no certificate"}, "CA certificate"),
        ({"ca_pem": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "CA certificate"),
        ({"client_pem": b"nothing"}, "client certificate"),
        ({"proxy": "ftp://proxy"}, "proxy"),
        ({"proxy": "nonsense"}, "proxy"),
        ({"protocol": "http3"}, "protocol"),
        ({"keep_alive": -1}, "keep_alive"),
        ({"keep_alive": float("nan")}, "keep_alive"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_once(settings, says):
    with pytest.raises((ConfigurationError, LLMError), match=says):
        OpenAIProvider("key", http=HTTPConfig(**settings))


def test_a_client_certificate_without_its_key_is_refused_without_being_quoted(secure):
    with pytest.raises(ConfigurationError, match="private key"):
        OpenAIProvider("key", http=HTTPConfig(client_pem=secure.cert_pem.encode()))


# Proxies.


async def test_a_proxy_forwards_in_clear(sim, own_pool):
    with Proxy() as proxy:
        llm = sim.provider(http=HTTPConfig(proxy=proxy.url))
        assert (await llm.complete("hi")).content
        assert "".join([text async for text in llm.stream("hi")])
        assert [(seen.method, seen.target) for seen in proxy.seen] == [("POST", f"{sim.url}/v1/chat/completions")] * 2
    assert {request["headers"]["host"] for request in sim.requests()} == {sim.url.removeprefix("http://")}


async def test_a_proxy_tunnels_tls_and_sees_nothing_of_it(secure):
    with Proxy() as proxy:
        llm = secure.provider(tls=True, http=with_ca(secure, proxy=proxy.url))
        assert (await llm.complete("hi")).http_version == "HTTP/2"
        assert [(seen.method, seen.target) for seen in proxy.seen] == [
            ("CONNECT", secure.tls_url.removeprefix("https://"))
        ]
        assert "authorization" not in proxy.seen[0].headers


@pytest.mark.parametrize("tls", [False, True])
async def test_a_proxy_that_wants_a_password(secure, tls):
    with Proxy(authorization="Basic dXNlcjpwYSBzcw==") as proxy:
        right = with_ca(secure, proxy=f"http://user:pa%20ss@{proxy.authority}")
        assert (await secure.provider(tls=tls, http=right).complete("hi")).content
        wrong = with_ca(secure, proxy=f"http://user:wrong@{proxy.authority}")
        with pytest.raises((APIConnectionError, APIStatusError)) as caught:
            await secure.provider(tls=tls, http=wrong, retry=0).complete("hi")
        assert "wrong" not in str(caught.value)
        assert "wrong" not in repr(wrong)
    # The password is the proxy's business and goes no further.
    assert all("proxy-authorization" not in request["headers"] for request in secure.requests())


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_the_proxy_variables(sim, own_pool, monkeypatch, variable):
    with Proxy() as proxy:
        monkeypatch.setenv(variable, proxy.url)
        await sim.provider(http=own_pool()).complete("hi")
        assert len(proxy.seen) == 1
        await sim.provider(http=HTTPConfig(proxy=False)).complete("hi")
        assert len(proxy.seen) == 1
        monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
        await sim.provider(http=own_pool()).complete("hi")
        assert len(proxy.seen) == 1


async def test_https_proxy_is_for_https(secure, monkeypatch, own_pool):
    with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        http = own_pool()
        await secure.provider(http=http).complete("hi")
        assert proxy.seen == []
        http = with_ca(secure, keep_alive=http.keep_alive)
        await secure.provider(tls=True, http=http).complete("hi")
        assert [seen.method for seen in proxy.seen] == ["CONNECT"]


@pytest.mark.parametrize(("scheme", "kind"), [("socks5", 1), ("socks5h", 3)])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_socks_proxy(secure, scheme, kind, tls):
    """`socks5h` leaves it to the proxy to look the name up; `socks5` asks it for an address."""
    url = urlsplit(secure.tls_url if tls else secure.url)
    with SocksProxy() as proxy:
        base_url = f"{url.scheme}://localhost:{url.port}/v1"
        http = with_ca(secure, proxy=f"{scheme}://{proxy.authority}")
        llm = OpenAIProvider("key", base_url=base_url, http=http)
        assert (await llm.complete("hi")).content
        assert "".join([text async for text in llm.stream("hi")])
        (seen,) = proxy.seen
        assert (seen.command, seen.kind, seen.port) == (1, kind, url.port)
        assert seen.host == ("localhost" if kind == 3 else "127.0.0.1")


async def test_a_socks_proxy_that_wants_a_password(sim):
    with SocksProxy(login=(b"user", b"pa ss")) as proxy:
        right = HTTPConfig(proxy=f"socks5h://user:pa%20ss@{proxy.authority}")
        assert (await sim.provider(http=right).complete("hi")).content
        wrong = HTTPConfig(proxy=f"socks5h://user:wrong@{proxy.authority}")
        with pytest.raises(APIConnectionError, match="proxy") as caught:
            await sim.provider(http=wrong, retry=0).complete("hi")
        assert "wrong" not in str(caught.value)


async def test_a_dead_proxy_is_named_as_the_trouble(sim, own_pool):
    with Proxy() as proxy:
        url = proxy.url
    llm = sim.provider(http=HTTPConfig(proxy=url), retry=0)
    with pytest.raises(APIConnectionError, match="proxy"):
        await llm.complete("hi")


# Where requests go, and what they carry.


async def test_headers_of_the_provider_and_of_the_call(sim, provider_name):
    llm = sim.provider(provider_name, headers={"X-Team": "one", "User-Agent": "mine"})
    await llm.complete("hi", extra_headers={"x-team": "two", "x-call": "1"})
    await llm.complete("hi")
    async for _ in llm.stream("hi", extra_headers={"x-call": "3"}):
        pass
    first, second, third = (request["headers"] for request in sim.requests())
    assert (first["x-team"], second["x-team"], third["x-team"]) == ("two", "one", "one")
    assert second["user-agent"] == "mine"
    assert ("x-call" in first, "x-call" in second, third["x-call"]) == (True, False, "3")


@pytest.mark.parametrize("headers", [{"x-secret": "hunter2\r\nx-evil: 1"}, {"bad name": "hunter2"}])
def test_headers_that_cannot_be_sent_are_refused_without_being_quoted(sim, headers):
    for attempt in (
        lambda: OpenAIProvider("key", headers=headers),
        lambda: sim.provider().sync.complete("hi", extra_headers=headers),
    ):
        with pytest.raises(ConfigurationError) as caught:
            attempt()
        assert "hunter2" not in str(caught.value)
    assert sim.stats().requests == 0


def test_a_key_with_a_line_break_is_refused_without_being_quoted():
    with pytest.raises(ConfigurationError, match="line break") as caught:
        OpenAIProvider("sk-hunter2\n")
    assert "hunter2" not in str(caught.value)


async def test_a_base_url_with_a_path_and_a_query():
    with RawServer([answer(openai_answer("yes"))]) as server:
        llm = OpenAIProvider("key", base_url=f"{server.url}/deployments/x/?api-version=1")
        assert (await llm.complete("hi")).content == "yes"
        assert server.requests[0].target == "/deployments/x/chat/completions?api-version=1"
        assert server.requests[0].headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("url", ["ftp://x", "no url", "https://", "http://user:pw@host", "//host"])
def test_base_urls_that_cannot_be_used_are_refused_at_once(url):
    with pytest.raises(ConfigurationError, match="base URL"):
        OpenAIProvider("key", base_url=url)


async def test_the_key_is_never_in_the_url(llm, sim):
    await llm.complete("hi")
    async for _ in llm.stream("hi"):
        pass
    for request in sim.requests():
        assert "simulated" not in f"{request['path']}?{request['query']}"


async def test_a_redirect_is_not_followed_with_the_key():
    with RawServer([head(307, location="http://elsewhere.invalid/", content_length=0)]) as server:
        with pytest.raises(LLMError, match=r"redirects.*base_url"):
            await OpenAIProvider("key", base_url=server.url, retry=0).complete("hi")


async def test_nobody_listens():
    with RawServer() as server:
        url = server.url
    with pytest.raises(APIConnectionError, match=url.removeprefix("http://")) as caught:
        await OpenAIProvider("key", base_url=url, retry=0).complete("hi")
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.retryable


async def test_a_name_that_does_not_exist():
    with pytest.raises(APIConnectionError, match=r"does-not-exist\.invalid"):
        await OpenAIProvider("key", base_url="http://does-not-exist.invalid", retry=0).complete("hi")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks for the socket in /proc")
@pytest.mark.parametrize("proxied", [False, True])
async def test_tcp_probes_find_connections_that_died_silently(sim, own_pool, proxied):
    with Proxy() as proxy:
        http = HTTPConfig(proxy=proxy.url) if proxied else own_pool()
        port = int((proxy.authority if proxied else sim.url).rpartition(":")[2])
        sim.push(tokens=1000, gap=0.01)
        async with sim.provider(http=http).stream("hi") as stream:
            await stream
            found = []
            for fd in map(int, os.listdir("/proc/self/fd")):
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
                    if sock.getpeername()[1:] == (port,):
                        found.append(
                            [
                                sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                                sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                                sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                            ]
                        )
    assert [1, 1, 30] in found


# Compression.


def brotli(data):
    """Brotli's format with nothing compressed (RFC 7932, 9.2): a window, meta-blocks of literal bytes, an empty last one."""
    out, first = b"", True
    for start in range(0, len(data), 1 << 16):
        piece = data[start : start + (1 << 16)]
        if first:  # WBITS = 16 (one bit 0), ISLAST 0, MNIBBLES 0 (four), MLEN - 1, ISUNCOMPRESSED 1
            out += ((len(piece) - 1) << 4 | 1 << 20).to_bytes(3, "little") + piece
        else:  # the same without WBITS
            out += ((len(piece) - 1) << 3 | 1 << 19).to_bytes(3, "little") + piece
        first = False
    return out + b"\x03"


def zstd(data):
    """Zstandard's format with nothing compressed (RFC 8878): a header with the size, then raw blocks."""
    out = b"\x28\xb5\x2f\xfd" + bytes([2 << 6 | 1 << 5]) + len(data).to_bytes(4, "little")
    pieces = [data[start : start + (1 << 16)] for start in range(0, len(data), 1 << 16)]
    for n, piece in enumerate(pieces):
        out += (len(piece) << 3 | (n == len(pieces) - 1)).to_bytes(3, "little") + piece
    return out


ENCODINGS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli, "zstd": zstd}


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_compressed_answers(encoding):
    text = "é and more " * 20_000
    body = ENCODINGS[encoding](json.dumps(openai_answer(text)).encode())
    with RawServer([answer(body, content_encoding=encoding)]) as server:
        llm = OpenAIProvider("key", base_url=server.url)
        assert (await llm.complete("hi")).content == text
        assert {"gzip", "br", "zstd"} <= set(server.requests[0].headers["accept-encoding"].split(", "))


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_compressed_errors(encoding):
    body = ENCODINGS[encoding](json.dumps({"error": {"message": "no such model", "code": "x"}}).encode())
    with RawServer([answer(body, 404, content_encoding=encoding)]) as server:
        with pytest.raises(LLMError, match="no such model"):
            await OpenAIProvider("key", base_url=server.url, retry=0).complete("hi")


async def test_streams_ask_for_no_compression_and_read_it_piece_by_piece():
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(sse(openai_delta("first"))) + packer.flush(zlib.Z_SYNC_FLUSH)
    with RawServer([head(content_encoding="gzip", transfer_encoding="chunked"), chunk(first), HOLD]) as server:
        async with OpenAIProvider("key", base_url=server.url).stream("hi") as stream:
            # The server sends nothing more: whoever waits for the whole hangs here.
            assert await anext(stream) == "first"
        assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_gzip_from_the_simulator(provider_name):
    with Simulator(gzip=True) as sim:
        llm = sim.provider(provider_name)
        assert (await llm.complete("hi")).content == "".join([text async for text in llm.stream("hi")])


@pytest.mark.parametrize("encoding", [*ENCODINGS, "lzma"])
async def test_broken_or_unknown_compression_is_a_clear_error(encoding):
    with RawServer([answer(b"<html>not compressed</html>", content_encoding=encoding)], [HOLD]) as server:
        with pytest.raises(InvalidResponseError, match=r"compression|encoded"):
            await OpenAIProvider("key", base_url=server.url).complete("hi")


# HTTP/1.1 as others speak it.


async def test_bodies_in_chunks_and_to_the_end_of_the_connection():
    body = json.dumps(openai_answer("yes")).encode()
    chunked = [
        head(content_type="application/json", transfer_encoding="chunked"),
        *map(chunk, (body[:7], body[7:], b"")),
    ]
    with RawServer(chunked, chunked, [head(content_type="application/json"), body, "end"]) as server:
        llm = OpenAIProvider("key", base_url=server.url)
        for _ in range(3):
            assert (await llm.complete("hi")).content == "yes"
        assert [request.connection for request in server.requests] == [0, 0, 0]


async def test_connection_close_is_kept():
    with RawServer([answer(openai_answer("yes"), connection="close")]) as server:
        llm = OpenAIProvider("key", base_url=server.url)
        for _ in range(3):
            response = await llm.complete("hi")
            assert (response.content, response.attempts) == ("yes", 1)
        assert [request.connection for request in server.requests] == [0, 1, 2]


async def test_an_interim_answer_is_passed_over():
    with RawServer([b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n", answer(openai_answer("yes"))]) as server:
        assert (await OpenAIProvider("key", base_url=server.url).complete("hi")).content == "yes"


@pytest.mark.parametrize(
    "raw",
    [
        b"not http at all\r\n\r\n",
        b"\x00\x01\x02",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000,
    ],
)
async def test_what_is_not_http_is_a_clear_error(sim, raw):
    sim.push(fault="raw", raw=raw)
    llm = sim.provider(retry=0)
    with pytest.raises(APIConnectionError):
        await llm.complete("hi")
    assert (await llm.complete("hi")).content


def test_a_long_answer_does_not_keep_others_waiting(own_pool):
    # Read and decoded while another call over the same I/O thread is answered.
    with Simulator(tokens=300_000) as sim:
        llm = sim.provider(http=own_pool("http2"))
        sim.push(tokens=1)
        assert llm.sync.complete("hi").usage.completion_tokens == 1
        assert llm.sync.complete("hi").usage.completion_tokens == 300_000
        eventually(lambda: sim.stats().in_flight == 0)
