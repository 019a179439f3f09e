"""Connections to web servers: time limits, redirects, and the proxy set in the environment."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from idrstream.config import DownloadSettings

_REDIRECTS = 5
# Larger than any limit on connections to a host: idle sockets are limited by those in use.
_KEPT, _HOSTS = 64, 32


def user_agent() -> str:
    """Return the name and version that servers see, so that their administrators can find us."""
    from importlib.metadata import version

    return f"idrstream/{version('idrstream')}"


def request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    settings: DownloadSettings,
    *,
    redirect: bool = True,
) -> Any:
    """Send a request; the content of its answer is not read yet.

    All requests to a server share its connections. The caller holds a connection by
    `connection_to` until the answer is read or closed, which limits how many are open.

    Parameters
    ----------
    method, url : str
        The request; the URL is quoted.
    headers : Mapping[str, str]
        Headers beside the usual ones.
    settings : DownloadSettings
        Time limits.
    redirect : bool
        Whether to follow redirects.

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
        timeout=urllib3.Timeout(connect=settings.connect_timeout_s, read=settings.stall_timeout_s),
        # Only redirects are followed here: `retry` decides what else to repeat.
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
