"""A scripted TCP server for answers that are exact to the byte, and for seeing what a client does with its connection.

    with RawServer([answer(b"{}")], [head(), b"data: ", HOLD]) as server:
        ...
        server.requests[0].body

Each argument is what one request gets, as steps in order: bytes to send, a `threading.Event` to wait for, `HOLD` (send
nothing more and wait until the client closes), `CLOSE` or `RESET`. The last argument goes to all further requests too.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

from support.listener import Listener

if TYPE_CHECKING:
    import ssl

HOLD = object()
CLOSE = object()
RESET = object()


def head(status=200, content_type="text/event-stream", **headers):
    """Return an answer's head; the body ends where the connection does, unless `headers` say otherwise."""
    lines = [f"HTTP/1.1 {status} Reason", f"content-type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(body, status=200, content_type="application/json", **headers):
    """Return a whole answer whose length is announced; a dict becomes JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return head(status, content_type, content_length=len(body), **headers) + body


def chunk(data):
    """Return one chunk of a chunked body; an empty one ends it."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def sse(*payloads):
    """Return events of a stream, one `data:` line each; dicts become JSON."""
    texts = [payload if isinstance(payload, str) else json.dumps(payload) for payload in payloads]
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def openai_answer(text, **fields):
    """Return the body of a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage} | fields


def openai_delta(text=None, finish_reason=None):
    """Return one chunk of a streamed chat completion."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


class RawServer(Listener):
    """Plays scripted answers, byte by byte as they stand."""

    def __init__(self, *scripts, tls: ssl.SSLContext | None = None, gate: threading.Event | None = None):
        # `gate` holds back the handshakes until it is set.
        self.requests: list[SimpleNamespace] = []
        self.connections = 0
        self.closed_by_client = 0
        self._scripts = scripts or ([HOLD],)
        self._tls = tls
        self._gate = gate
        self._lock = threading.Lock()
        super().__init__()
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    @property
    def open_connections(self):
        """How many connections neither side has closed."""
        with self._lock:
            return len(self._sockets)

    def _accepted(self, sock):
        with self._lock:
            number = self.connections
            self.connections += 1
            self._sockets.append(sock)
        return sock, number

    def _serve(self, sock, number):
        plain = sock
        try:
            if self._gate is not None:
                self._gate.wait()
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            while (request := self._read(sock, number)) is not None:
                with self._lock:
                    turn = len(self.requests)
                    self.requests.append(request)
                if not self._play(sock, self._scripts[min(turn, len(self._scripts) - 1)]):
                    return
        except OSError:
            pass
        finally:
            with self._lock:
                if plain in self._sockets:
                    self._sockets.remove(plain)
            sock.close()

    def _play(self, sock, steps):
        """Send one scripted answer; return whether the connection serves on."""
        for step in steps:
            if isinstance(step, bytes):
                sock.sendall(step)
            elif isinstance(step, threading.Event):
                step.wait()
            elif step is HOLD:
                self._wait_for_close(sock)
                return False
            elif step is RESET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            else:
                return False
        return True

    def _wait_for_close(self, sock):
        try:
            while sock.recv(65536):
                pass
        except ConnectionError:
            pass
        with self._lock:
            self.closed_by_client += 1

    def _read(self, sock, number):
        """Read one request, or `None` at the connection's end."""
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := sock.recv(65536)):
                with self._lock:
                    self.closed_by_client += 1
                return None
            data += more
        top, _, body = data.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        while len(body) < length:
            if not (more := sock.recv(65536)):
                return None
            body += more
        return SimpleNamespace(connection=number, method=method, target=target, headers=headers, body=body)
