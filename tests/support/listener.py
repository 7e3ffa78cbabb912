"""What the small servers of the tests have in common: a free port, a thread for each connection, and an end."""

from __future__ import annotations

import contextlib
import socket
import threading


class Listener:
    """Listens on a free port of the loopback device and hands each connection to `_serve`, in a thread of its own."""

    def __init__(self):
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        # Not `close` alone: it leaves a thread that is in `accept` or `recv` where it is.
        for sock in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=self._accepted(sock), daemon=True).start()

    def _accepted(self, sock):
        """Note a connection; returns what `_serve` is called with."""
        self._sockets.append(sock)
        return (sock,)

    def _serve(self, *given):
        raise NotImplementedError
