"""Small proxies that remember what they were asked for: an HTTP one, which tunnels and forwards, and a SOCKS5 one."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import SimpleNamespace
from urllib.parse import urlsplit

from support.listener import Listener


class _Relay(Listener):
    """A proxy of either kind."""

    def __init__(self):
        self.seen: list[SimpleNamespace] = []
        super().__init__()
        self.authority = f"127.0.0.1:{self.port}"

    def _connect(self, client, server):
        """Hand on what either side sends until one of them is done."""
        self._sockets.append(server)
        threading.Thread(target=_pump, args=(client, server), daemon=True).start()
        _pump(server, client)


class Proxy(_Relay):
    """An HTTP proxy. With `authorization`, requests without that `proxy-authorization` get a 407."""

    def __init__(self, *, authorization=None):
        self._authorization = authorization
        super().__init__()
        self.url = f"http://{self.authority}"

    def _serve(self, client):
        with contextlib.suppress(OSError), client:
            data = b""
            while b"\r\n\r\n" not in data:
                if not (more := client.recv(65536)):
                    return
                data += more
            top, _, rest = data.partition(b"\r\n\r\n")
            first, *lines = top.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            self.seen.append(SimpleNamespace(method=method, target=target, headers=headers))
            if self._authorization not in (None, headers.get("proxy-authorization")):
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                return
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
                server = socket.create_connection((host, int(port)))
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                url = urlsplit(target)
                server = socket.create_connection((url.hostname, url.port))
                lines = [line for line in lines if not line.lower().startswith("proxy-")]
                # One request a connection keeps the proxy small: it would have to look for the next one's head.
                lines = [*lines, "connection: close"]
                server.sendall("\r\n".join([f"{method} {url.path} HTTP/1.1", *lines, "", ""]).encode() + rest)
            self._connect(client, server)


class SocksProxy(_Relay):
    """A SOCKS5 proxy (RFC 1928), with a user and password (RFC 1929) if `login` is given as bytes of both."""

    def __init__(self, *, login=None):
        self._login = login
        super().__init__()

    def _serve(self, client):
        with contextlib.suppress(OSError), client, client.makefile("rb") as asked:
            version, methods = asked.read(2)
            offered = asked.read(methods)
            wanted = 2 if self._login else 0
            client.sendall(bytes([5, wanted if version == 5 and wanted in offered else 255]))
            if self._login:
                _, length = asked.read(2)
                user = asked.read(length)
                password = asked.read(asked.read(1)[0])
                refused = (user, password) != self._login
                client.sendall(bytes([1, refused]))
                if refused:
                    return
            _, command, _, kind = asked.read(4)
            host = socket.inet_ntoa(asked.read(4)) if kind == 1 else asked.read(asked.read(1)[0]).decode()
            port = int.from_bytes(asked.read(2), "big")
            self.seen.append(SimpleNamespace(command=command, kind=kind, host=host, port=port))
            server = socket.create_connection((host, port))
            client.sendall(bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
            self._connect(client, server)


def _pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for sock in (source, sink):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
