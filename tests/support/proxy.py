"""A small HTTP proxy: tunnels by CONNECT, forwards plain requests, and remembers what it was asked for."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import SimpleNamespace
from urllib.parse import urlsplit


class Proxy:
    """Listens on a free port. With `authorization`, requests without that `proxy-authorization` get a 407."""

    def __init__(self, *, authorization=None):
        self.seen: list[SimpleNamespace] = []
        self._authorization = authorization
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.authority = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.authority}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for sock in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._sockets.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

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
            self._sockets.append(server)
            threading.Thread(target=_pump, args=(client, server), daemon=True).start()
            _pump(server, client)


def _pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for sock in (source, sink):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
