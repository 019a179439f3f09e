"""A TCP proxy that breaks the answers of a web server: one fault for each request."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    Attributes
    ----------
    kind : str
        ``none``; ``cut`` (closed), ``reset`` (RST), ``stall`` (nothing more comes), ``flip``
        (a byte is changed), ``call`` (a function is called and the connection closed);
        ``refuse`` (closed before a byte).
    at : int
        After so many bytes of content.
    call : callable, optional
        For ``call``.
    """

    kind: str = "none"
    at: int = 0
    call: Callable[[], None] | None = None


class FaultProxy:
    """Listens on loopback, hands on to `port` and plays `faults` in turn, then none."""

    def __init__(self, port: int, stall_s: float = 30.0) -> None:
        self.faults: list[Fault] = []
        self.connections = 0
        self.most_at_once = 0
        self._now = 0
        self._guard = threading.Lock()
        self._target = port
        self._stall_s = stall_s
        self._ended = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listening.settimeout(0.05)
        self.port = self._listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join(10)
        self._listening.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listening.accept()
            except TimeoutError:
                continue
            with self._guard:
                fault = self._next()
                self.connections += 1
                self._now += 1
                self.most_at_once = max(self.most_at_once, self._now)
            threading.Thread(target=self._serve, args=(client, fault), daemon=True).start()

    def _next(self) -> Fault:
        return self.faults.pop(0) if self.faults else Fault()

    def _serve(self, client: socket.socket, fault: Fault) -> None:
        try:
            if fault.kind == "refuse":
                return
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                self._copy(client, server, fault)
        except OSError:
            pass
        finally:
            with suppress(OSError):
                client.close()
            with self._guard:
                self._now -= 1

    def _copy(self, client: socket.socket, server: socket.socket, fault: Fault) -> None:
        seen, asked = _Content(), False
        while not self._ended.is_set():
            ready, _, _ = select.select([client, server], [], [], 0.1)
            if client in ready:
                data = client.recv(65536)
                if not data:
                    return
                if asked:  # the connection was kept for another request
                    seen = _Content()
                    fault = self._next()
                    if fault.kind == "refuse":
                        return
                asked = True
                server.sendall(data)
            if server in ready:
                data = server.recv(65536)
                if not data:
                    return
                place = None if fault.kind == "none" else seen.place_of(fault.at, data)
                if place is None:
                    client.sendall(data)
                    continue
                if self._play(client, fault, data, place):
                    return
                fault = Fault()

    def _play(self, client: socket.socket, fault: Fault, data: bytes, place: int) -> bool:
        """Play the fault at `place` of `data`; tell whether the connection ends."""
        if fault.kind == "flip":
            spoiled = bytearray(data)
            spoiled[place] ^= 0x55
            client.sendall(bytes(spoiled))
            return False
        client.sendall(data[:place])
        if fault.kind == "stall":
            ends = time.monotonic() + self._stall_s
            while time.monotonic() < ends and not self._ended.is_set():
                ready, _, _ = select.select([client], [], [], 0.05)
                if ready and not client.recv(65536):
                    break
        if fault.kind == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if fault.kind == "call" and fault.call is not None:
            fault.call()
        return True


class _Content:
    """Counts the bytes of content of an answer: those after its header."""

    def __init__(self) -> None:
        self._head = b""
        self._in_content = False
        self._bytes = 0

    def place_of(self, at: int, data: bytes) -> int | None:
        """Return where in `data` the content's byte `at` is; None when it is not in it."""
        begins = 0
        if not self._in_content:
            before = len(self._head)
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return None
            self._in_content = True
            begins = end + 4 - before
        place = begins + at - self._bytes
        self._bytes += len(data) - begins
        return place if begins <= place < len(data) else None
