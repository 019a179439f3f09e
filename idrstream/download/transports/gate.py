"""At most so many connections to one host, whoever opens them in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

_LOOK_S = 0.2


def _nothing() -> None:
    """Do nothing."""


@contextmanager
def connection_to(host: str, limit: int, check: Callable[[], None] = _nothing) -> Iterator[None]:
    """Hold one of the connections to a host while a socket to it is in use.

    Archives count the connections of an address, not of an object: whole files, ranges, sizes
    and OME-Zarr's chunks are counted together, in all threads. Sockets that are kept for later
    lie in one pool (`request`), and one is taken from there before a new one is opened.

    Parameters
    ----------
    host : str
        Name and port; empty for no limit.
    limit : int
        Connections at a time, those of others with another limit included.
    check : callable
        Called now and then while waiting; raises to give up.
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
                self._free.wait(_LOOK_S)
            self._used += 1

    def leave(self) -> None:
        with self._free:
            self._used -= 1
            # All, not one: the one that is woken may have a lower limit than another that waits.
            self._free.notify_all()


@cache
def _gate(_host: str) -> _Gate:
    return _Gate()
