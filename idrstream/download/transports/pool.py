"""Connections to web servers: time limits, redirects, and the proxy that the environment names."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

_REDIRECTS = 5
# More than any limit of connections to a host: what is kept is limited by what is in use.
_KEPT, _HOSTS = 64, 32


def user_agent() -> str:
    """Return who asks: an honest name, so that a server's keepers can find us."""
    from importlib.metadata import version

    return f"idrstream/{version('idrstream')}"


def request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    connect_timeout_s: float,
    stall_timeout_s: float,
    redirect: bool = True,
) -> Any:
    """Ask a web server; the content of its answer is not read yet.

    All who ask the same server share its connections; who asks holds a place by `connection_to`
    until the answer is read or closed, so that no more are open than that allows.

    Parameters
    ----------
    method, url : str
        What to ask; the address is quoted.
    headers : Mapping[str, str]
        Beside the usual ones.
    connect_timeout_s, stall_timeout_s : float
        Time limits for the connection and between two pieces of an answer.
    redirect : bool
        Whether to follow the server to another address.

    Returns
    -------
    urllib3.HTTPResponse
        Read it to its end or close it.
    """
    import urllib3

    return _pool(_proxy_for(url)).request(
        method,
        url,
        headers={"User-Agent": user_agent(), "Accept-Encoding": "identity", **headers},
        timeout=urllib3.Timeout(connect=connect_timeout_s, read=stall_timeout_s),
        # Only redirects are followed here: what to try again is decided by kind of error.
        retries=urllib3.Retry(
            connect=0, read=0, status=0, other=0, redirect=_REDIRECTS, total=None
        ),
        preload_content=False,
        decode_content=False,
        redirect=redirect,
    )


@cache
def _pool(proxy: str | None) -> Any:
    import urllib3

    if proxy is None:
        return urllib3.PoolManager(_HOSTS, maxsize=_KEPT)
    return urllib3.ProxyManager(proxy, _HOSTS, maxsize=_KEPT)


def _proxy_for(url: str) -> str | None:
    parts = urlsplit(url)
    name = parts.hostname or ""
    if name == "localhost" or name.startswith("127.") or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
