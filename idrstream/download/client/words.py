"""What an error of the network means, in one sentence: host, what failed, what to do."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator

_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://(\[[^\]]+\]|[^/\s:@]+)(?::(\d+))?", re.IGNORECASE)
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
_ENDED = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, EOFError)
# urllib3's, http.client's and requests' own, by name: none of them is imported for this.
_ENDED_NAMES = frozenset({"IncompleteRead", "RemoteDisconnected", "ProtocolError", "BadStatusLine"})


def network_words(error: BaseException, address: str) -> str:
    """Return what failed, of which host, and what to do.

    Parameters
    ----------
    error : BaseException
        An error of a library; what caused it is looked at, too.
    address : str
        Text with the address that was asked, ``scheme://host:port/…``.

    Returns
    -------
    str
        A sentence without a period; of an error that is none of the network, its own words.
    """
    match = _ADDRESS.search(address)
    host = match[1] if match else "the server"
    port = f" at port {match[2]}" if match and match[2] else ""
    causes = list(_causes(error))
    names = {type(cause).__name__ for cause in causes}
    if "ProxyError" in names:
        return (
            f"the proxy that the environment names did not pass on to {host}: correct "
            "HTTPS_PROXY or HTTP_PROXY, or name the host in NO_PROXY"
        )
    if any(isinstance(cause, socket.gaierror) for cause in causes) or (
        "NameResolutionError" in names
    ):
        return (
            f"the name {host} was not found: check how it is spelled, and whether this machine "
            "has a network and a name server (DNS)"
        )
    if found := _first(causes, ssl.SSLError):
        return _of_tls(found, host)
    if _first(causes, ConnectionRefusedError):
        return (
            f"{host} refuses connections{port}: check address and port; the server may be down or "
            "behind a firewall"
        )
    if _first(causes, TimeoutError) or names & {"ConnectTimeoutError", "ReadTimeoutError"}:
        return (
            f"{host} did not answer in time{port}: try again later; a firewall may drop what is "
            "sent there, or connect_timeout_s and stall_timeout_s are too short"
        )
    if any(isinstance(cause, OSError) and cause.errno in _NO_ROUTE for cause in causes):
        return f"there is no way to {host} from here: check the network of this machine"
    if _first(causes, *_ENDED) or names & _ENDED_NAMES:
        return f"{host} ended the connection: try again later"
    return _own_words(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and what it holds and was raised from."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [getattr(one, "reason", None), *one.args, one.__cause__, one.__context__]


def _first(causes: list[BaseException], *kinds: type[BaseException]) -> BaseException | None:
    return next((cause for cause in causes if isinstance(cause, kinds)), None)


def _of_tls(error: BaseException, host: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message
        return (
            f"the certificate of {host} is not accepted ({why}): check the clock of this machine; "
            "behind a proxy that reads along, name its certificate in SSL_CERT_FILE"
        )
    why = str(getattr(error, "reason", "") or error).replace("_", " ").lower()
    return (
        f"no encrypted connection (TLS) to {host} ({why}): check that address and port speak "
        "https, and the proxy"
    )


def _own_words(error: BaseException) -> str:
    """Return the words of the last cause: libraries wrap it in words about themselves."""
    reason = getattr(error, "reason", None)
    last = reason if isinstance(reason, BaseException) else error
    return f"{type(last).__name__}: {last}"
