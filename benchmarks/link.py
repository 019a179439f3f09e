"""A link with a given rate and round trip in front of a server on this machine.

nginx's own ``limit_rate`` lets the first second of every answer through at once, which flatters
whoever asks for little. This link has one rate for all connections together and no such credit.
Only what the operating system wakes a waiting thread too late is made up for: without that, a busy
machine slows one connection down more than four, and the link is not what limits.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

_PIECE = 16 * 1024
_LATEST_S = 0.25


class Link:
    """Passes connections on to a port of this machine; a context manager.

    Parameters
    ----------
    port : int
        Where the server listens.
    bytes_per_s : float
        Rate of the answers, all connections together.
    round_trip_s : float
        Pause before the first byte of every answer, as a server far away has it.
    """

    def __init__(self, port: int, bytes_per_s: float, round_trip_s: float = 0.0) -> None:
        self._target = port
        self._rate = bytes_per_s
        self._round_trip_s = round_trip_s
        self._free_at = 0.0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.bytes_passed = 0

    def __enter__(self) -> Link:
        """Begin to listen."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more; open connections end with their clients."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            asked = threading.Event()
            threading.Thread(target=self._ask, args=(client, server, asked), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client, asked), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, asked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_PIECE):
                asked.set()
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket, asked: threading.Event) -> None:
        late_s = 0.0
        with contextlib.suppress(OSError), client, server:
            while data := server.recv(_PIECE):
                if asked.is_set():
                    asked.clear()
                    time.sleep(self._round_trip_s)
                    late_s = 0.0  # the link was idle meanwhile
                late_s = self._wait_for(len(data), late_s)
                client.sendall(data)

    def _wait_for(self, n_bytes: int, late_s: float) -> float:
        """Wait until the link has passed bytes that came `late_s` ago; return how late it is."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - late_s) + n_bytes / self._rate
            self.bytes_passed += n_bytes
            passed_at = self._free_at
        if passed_at - now > 0.002:
            time.sleep(passed_at - now)
        return min(_LATEST_S, max(0.0, time.monotonic() - passed_at))
