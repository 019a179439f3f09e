"""Connections to web servers: time limits, redirects, and the proxy that the environment names."""

from __future__ import annotations

import urllib.request
from typing import Any
from urllib.parse import urlsplit

_REDIRECTS = 5


def user_agent() -> str:
    """Return who asks: an honest name, so that a server's keepers can find us."""
    from importlib.metadata import version

    return f"idrstream/{version('idrstream')}"


def new_pool(
    url: str, *, connections: int, connect_timeout_s: float, stall_timeout_s: float
) -> Any:
    """Return a urllib3 pool manager for the server of an address.

    Parameters
    ----------
    url : str
        An address on the server; it decides whether a proxy stands between.
    connections : int
        Connections that are kept.
    connect_timeout_s, stall_timeout_s : float
        Time limits for the connection and between two pieces of an answer.
    """
    import urllib3

    kind: dict[str, Any] = {
        "maxsize": connections,
        "timeout": urllib3.Timeout(connect=connect_timeout_s, read=stall_timeout_s),
        # Only redirects are followed here: what to try again is decided by kind of error.
        "retries": urllib3.Retry(
            connect=0, read=0, status=0, other=0, redirect=_REDIRECTS, total=None
        ),
    }
    proxy = _proxy_for(url)
    return urllib3.ProxyManager(proxy, **kind) if proxy else urllib3.PoolManager(**kind)


def _proxy_for(url: str) -> str | None:
    parts = urlsplit(url)
    name = parts.hostname or ""
    if name == "localhost" or name.startswith("127.") or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
