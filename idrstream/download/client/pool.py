"""Connections to web servers, whose answers begin within a time limit."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any
from urllib.parse import urlsplit

# Larger than any limit on connections to a host: idle sockets are limited by those in use.
_KEPT, _HOSTS = 64, 32


@contextmanager
def ended_after(seconds: float, end: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Call `end` from another thread if the block takes longer; yield whether it was called.

    The time limit of a socket counts from its last byte: a server that sends one a minute keeps
    a thread forever, within a single call.
    """
    ended = threading.Event()

    def call() -> None:
        ended.set()
        with suppress(Exception):  # the connection may have just ended by itself
            end()

    timer = threading.Timer(min(max(0.0, seconds), threading.TIMEOUT_MAX), call)
    timer.daemon = True
    timer.start()
    try:
        yield ended.is_set
    finally:
        timer.cancel()


@cache
def pool(proxy: str | None) -> Any:
    """Return the connections of this process, directly or by a proxy."""
    import urllib3

    found = (
        urllib3.PoolManager(_HOSTS, maxsize=_KEPT)
        if proxy is None
        else urllib3.ProxyManager(proxy, _HOSTS, maxsize=_KEPT)
    )
    found.pool_classes_by_scheme = _timed_pools()
    return found


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for an address; None for none."""
    parts = urlsplit(url)
    name = parts.hostname or ""
    if name == "localhost" or name.startswith("127.") or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def addresses_of(host: str) -> list[str]:
    """Return the addresses that this machine would connect to; none if a proxy does, or unknown."""
    if all(proxy_for(f"{scheme}://{host}") for scheme in ("http", "https")):
        return []
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]


@cache
def _timed_pools() -> dict[str, Any]:
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Timed(HTTPConnection):
        def getresponse(self) -> Any:
            """Return the answer, all of whose headers must come within the time limit."""
            return _answer(self, super().getresponse)

    class TimedEncrypted(HTTPSConnection):
        def getresponse(self) -> Any:
            """Return the answer, all of whose headers must come within the time limit."""
            return _answer(self, super().getresponse)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Timed

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = TimedEncrypted

    return {"http": Pool, "https": EncryptedPool}


def _answer(connection: Any, getresponse: Callable[[], Any]) -> Any:
    sock, limit_s = connection.sock, connection.timeout
    if sock is None or not isinstance(limit_s, int | float):
        return getresponse()
    msg = f"the answer did not begin within {limit_s:g} s"
    with ended_after(limit_s, lambda: sock.shutdown(socket.SHUT_RD)) as late:
        try:
            answer = getresponse()
        except OSError as error:  # as if the server had hung up
            if late():
                raise TimeoutError(msg) from error
            raise
    if late():  # headers that are cut look like whole ones
        answer.close()
        raise TimeoutError(msg)
    return answer
