"""Where a server may send a client on to."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

from idrstream.errors import DownloadError

MOST_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""Statuses of an answer that names another address."""

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", flags=re.ASCII)
# IPv4 as gateways of IPv6-only networks write it (RFC 6052).
_TRANSLATED = ip_network("64:ff9b::/96")
_SHOWN = 200

Resolve = Callable[[str], Sequence[str]]
"""Returns the addresses of a host's name; none if they are not known."""


def redirected(url: str, location: str, resolve: Resolve) -> str:
    """Return the address that a redirect leads to, if it may be followed.

    A public server may not send the client into the network that it runs in: to this machine,
    to private or to link-local addresses, where other services trust whoever asks. A server that
    is itself on such a network may name others there, link-local ones excepted.

    Parameters
    ----------
    url : str
        Where the request went.
    location : str
        Header ``Location`` of the answer.
    resolve : callable
        Returns the addresses of a host, as `addresses_of`.

    Returns
    -------
    str
        Quoted, made of the parts that were checked.

    Raises
    ------
    DownloadError
        If it is no web address, has a user or password, loses the encryption, or leads into a
        private network.
    """
    shown = "".join(char if char.isprintable() else "?" for char in location[:_SHOWN])
    start = f"{url} redirects to {shown!r}"
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
        host, port = (there.hostname or "").lower(), there.port
    except ValueError as error:
        msg = f"{start}, which is no address: {error}"
        raise DownloadError(msg) from error
    problem = _problem(here, there, host) or _private(here.hostname or "", host, resolve)
    if problem:
        msg = f"{start}, {problem}"
        raise DownloadError(msg)
    netloc = f"[{host}]" if ":" in host else host
    return urlunsplit((
        there.scheme,
        netloc if port is None else f"{netloc}:{port}",
        quote(there.path, safe="/%:@!$&'()*+,;=~"),
        quote(there.query, safe="/%:@!$&'()*+,;=~?"),
        "",
    ))  # fmt: skip


def _problem(here: SplitResult, there: SplitResult, host: str) -> str:
    if there.scheme not in ("http", "https"):
        return "which is not a web address"
    if here.scheme == "https" and there.scheme != "https":
        return "an address without encryption"
    if there.username or there.password:
        return "an address with a user or password"
    # Programs disagree about hosts with other characters.
    return "" if _HOST.fullmatch(host) else "which names no host"


def _private(here: str, host: str, resolve: Resolve) -> str:
    if host == here.lower():
        return ""
    inside = [address for address in _addresses(host, resolve) if not _is_public(address)]
    if not inside:
        return ""
    among = _addresses(here, resolve)
    at_home = bool(among) and not any(_is_public(address) for address in among)
    if at_home and not any(address.is_link_local for address in inside):
        return ""
    return f"in a private network ({inside[0]})"


def _addresses(host: str, resolve: Resolve) -> list[IPv4Address | IPv6Address]:
    try:
        return [_plain(ip_address(host))]
    except ValueError:
        return [_plain(ip_address(text)) for text in resolve(host)]


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for, or the address."""
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not address.is_multicast
