"""A web server on loopback that says whatever a test tells it to, byte for byte."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def hostile(answer: Callable[[str], Iterator[bytes]], *, asked: bool = True) -> Iterator[str]:
    """Serve the bytes that `answer` yields for the head of each request; yield the address.

    A server that is not `asked` speaks first, as FTP's do.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while asked and b"\r\n\r\n" not in head:
                more = connection.recv(65536)
                if not more:
                    return
                head += more
            for piece in answer(head.decode("latin-1")):
                if ended.is_set():
                    return
                connection.sendall(piece)

    def serve() -> None:
        while not ended.is_set():
            with suppress(OSError):
                connection, _ = listening.accept()
                connection.settimeout(5)
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        ended.set()
        with suppress(OSError):
            socket.create_connection(listening.getsockname(), 1).close()
        listening.close()


def head(status: str = "200 OK", **headers: str) -> bytes:
    """Return the head of an answer; ``_`` in names stands for ``-``."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def forever(piece: bytes, pause_s: float = 0.0) -> Iterator[bytes]:
    """Yield the same bytes without end."""
    while True:
        yield piece
        time.sleep(pause_s)
