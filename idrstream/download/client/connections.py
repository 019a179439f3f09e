"""The limit on connections to one host, shared by everything in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

_CHECK_INTERVAL_S = 0.2


@contextmanager
def connection_to(
    host: str, limit: int, check: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold one of the connections to a host while a socket to it is in use.

    Servers limit the connections of a client address, not of an object: whole files, ranges,
    sizes and OME-Zarr chunks are counted together, over all threads. Idle sockets are kept in
    one pool (`request`), and one is reused before a new one is opened.

    Parameters
    ----------
    host : str
        Name and port; empty for no limit.
    limit : int
        Connections at a time, including those opened with another limit.
    check : callable
        Called regularly while waiting; raises to give up.
    """
    if not host:
        yield
        return
    gate = _gate(host)
    gate.enter(limit, check)
    try:
        yield
    finally:
        gate.leave()


class _Gate:
    def __init__(self) -> None:
        self._free = threading.Condition()
        self._used = 0

    def enter(self, limit: int, check: Callable[[], None]) -> None:
        with self._free:
            while self._used >= limit:
                check()
                self._free.wait(_CHECK_INTERVAL_S)
            self._used += 1

    def leave(self) -> None:
        with self._free:
            self._used -= 1
            # Wake all: a thread with a lower limit may have to keep waiting.
            self._free.notify_all()


@cache
def _gate(_host: str) -> _Gate:
    return _Gate()
