"""At most so many connections to one host, whoever opens them in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

_LOOK_S = 0.2


@contextmanager
def connection_to(host: str, limit: int, check: Callable[[], None]) -> Iterator[None]:
    """Hold one of the connections to a host.

    Archives count the connections of an address, not of an object: the limit holds for all
    transports of the process that name the same host and limit.

    Parameters
    ----------
    host : str
        Name and port; empty for no limit.
    limit : int
        Connections at a time.
    check : callable
        Called now and then while waiting; raises to give up.
    """
    if not host:
        yield
        return
    gate = _gate(host, limit)
    while not gate.acquire(timeout=_LOOK_S):
        check()
    try:
        yield
    finally:
        gate.release()


@cache
def _gate(host: str, limit: int) -> threading.BoundedSemaphore:  # noqa: ARG001, part of the key
    return threading.BoundedSemaphore(limit)
