"""The client of web servers, for whole files, ranges of files and OME-Zarr objects.

What a status means, which redirects and encodings are refused, what is tried again, and how many
connections a host gets is decided here, once for all of them.
"""

from __future__ import annotations

import re
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

from idrstream.config import DownloadSettings
from idrstream.download.client.connections import connection_to
from idrstream.download.client.errors import BusyError, TooLargeError, network_errors
from idrstream.download.client.retry import retry_after_s, with_retries
from idrstream.errors import DownloadError, RemoteFileNotFoundError, TransientDownloadError

# They may pass with time, as everything from 500 on does.
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE = frozenset({404, 410})
_REDIRECTS = 5
_PIECE_BYTES = 256 * 1024
_AT_ONCE = 4
# Larger than any limit on connections to a host: idle sockets are limited by those in use.
_KEPT, _HOSTS = 64, 32

T = TypeVar("T")
Headers = Callable[[str, str], Mapping[str, str]]
"""Returns extra headers of a request, such as a signature, given its method and URL."""


class HttpClient:
    """Sends requests for one movie; safe to use from several threads.

    Parameters
    ----------
    settings : DownloadSettings, optional
        Time limits and attempts; the limit on a movie counts from here.
    sign : callable, optional
        Returns extra headers of a request. Redirects are not followed then: a signature is valid
        for one address.
    query : str
        Query of every request; may be a secret, and is sent to the server only.

    Attributes
    ----------
    bytes_moved, requests : int
        Bytes received by `content` and requests made so far, failed ones included.
    at_once : int
        Number of requests worth making in parallel.
    """

    def __init__(
        self,
        settings: DownloadSettings | None = None,
        sign: Headers | None = None,
        query: str = "",
    ) -> None:
        self._settings = settings or DownloadSettings()
        self._sign = sign
        self._query = f"?{query}" if query else ""
        self._started = time.monotonic()
        self._counting = threading.Lock()
        self.bytes_moved = self.requests = 0
        self.at_once = min(_AT_ONCE, self._settings.connections_per_host)

    def ask(
        self,
        url: str,
        headers: Mapping[str, str],
        take: Callable[[Any], T],
        known: frozenset[int] = frozenset(),
    ) -> T:
        """Request `url` until `take` accepts an answer, and return what `take` returns.

        `url` is quoted; `headers` are sent beside the usual ones. `take` reads the content of an
        answer by `content`. Of the errors of `send`, those that may pass are tried again.
        """

        def attempt() -> T:
            if self._is_late():
                msg = f"{url}: not finished within {self._settings.total_timeout_s:g} s"
                raise TransientDownloadError(msg)
            with connection_to(urlsplit(url).netloc, self._settings.connections_per_host):
                reply = self.send("GET", url, headers, known)
                try:
                    with network_errors(f"{url}: the answer is incomplete"):
                        taken = take(reply)
                except BaseException:
                    reply.close()
                    raise
                _finish(reply)
                return taken

        return with_retries(
            attempt,
            self._settings,
            give_up=lambda attempts, _error: (
                attempts >= self._settings.download_attempts or self._is_late()
            ),
        )

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        known: frozenset[int] = frozenset(),
    ) -> Any:
        """Send one request, by a connection that the caller holds by `connection_to`.

        Returns
        -------
        urllib3.HTTPResponse
            With status 200, 206 or one of `known`; to be read to its end or closed.

        Raises
        ------
        RemoteFileNotFoundError
            If there is no such file.
        BusyError, TransientDownloadError
            If a later attempt may succeed.
        DownloadError
            If the server refuses or the answer came without encryption.
        """
        import urllib3

        limits = self._settings
        signed = dict(self._sign(method, url)) if self._sign is not None else {}
        usual = {"User-Agent": user_agent(), "Accept-Encoding": "identity"}
        self.count(0, 1)
        with network_errors(f"{url} cannot be reached"):
            reply = _pool(_proxy_for(url)).request(
                method,
                url + self._query,
                headers={**usual, **headers, **signed},
                timeout=urllib3.Timeout(limits.connect_timeout_s, limits.stall_timeout_s),
                # Only redirects are followed here: `with_retries` decides what else to repeat.
                retries=urllib3.Retry(
                    connect=0, read=0, status=0, other=0, redirect=_REDIRECTS, total=None
                ),
                preload_content=False,
                decode_content=False,
                redirect=not signed,
            )
        try:
            _check(reply, url, known)
        except DownloadError:
            _finish(reply)
            raise
        return reply

    def content(
        self, reply: Any, url: str, expected: int | None = None, most: int | None = None
    ) -> bytes:
        """Return the content of an answer, unpacked if the server sends it compressed.

        `expected` is the number of bytes sent, by default as the answer states; `most` are the
        most bytes accepted, unpacked or not.

        Raises
        ------
        TooLargeError
            If there are more.
        TransientDownloadError
            If the answer ends early or cannot be unpacked.
        """
        packed = reply.status != 206 and reply.headers.get("Content-Encoding") in ("gzip", "x-gzip")
        if not packed:
            refuse_packed(reply, url)
        stated = length_of(reply) if expected is None else expected
        data = bytearray()
        while len(data) != stated:
            if most is not None and max(len(data), stated or 0) > most:
                raise _too_large(url, most)
            left = _PIECE_BYTES if stated is None else min(_PIECE_BYTES, stated - len(data))
            piece = reply.read(left)
            if not piece:
                break
            data += piece
            self.count(len(piece))
        if stated is not None and len(data) < stated:
            msg = f"{url}: the answer ends after {len(data):,} of {stated:,} bytes"
            raise TransientDownloadError(msg)
        return _unpacked(bytes(data), url, most) if packed else bytes(data)

    def count(self, n_bytes: int, requests: int = 0) -> None:
        """Add to the bytes and requests so far."""
        with self._counting:
            self.bytes_moved += n_bytes
            self.requests += requests

    def _is_late(self) -> bool:
        return time.monotonic() - self._started > self._settings.total_timeout_s


def user_agent() -> str:
    """Return the name and version that servers see, so that their administrators can find us."""
    from importlib.metadata import version

    return f"idrstream/{version('idrstream')}"


def length_of(reply: Any) -> int | None:
    """Return the number of bytes that an answer states; None if it states none."""
    text = reply.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def range_of(reply: Any) -> tuple[int, int, int] | None:
    """Return first byte, last byte and size of the whole file of a part; None if not stated."""
    text = reply.headers.get("Content-Range", "").strip()
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]))


def refuse_packed(reply: Any, url: str) -> None:
    """Raise `DownloadError` if an answer is compressed: its bytes are not those of the file."""
    if reply.headers.get("Content-Encoding", "identity") != "identity":
        msg = f"{url}: the server sends it compressed, against the request"
        raise DownloadError(msg)


def _check(reply: Any, url: str, known: frozenset[int]) -> None:
    hops = reply.retries.history if reply.retries else ()
    if url.startswith("https:") and any(
        str(hop.redirect_location).lower().startswith("http:") for hop in hops
    ):
        msg = f"{url} redirects to an address without encryption"
        raise DownloadError(msg)
    status = reply.status
    if status in known or status in (200, 206):
        return
    words = f"{url}: the server answered {status} {reply.reason or ''}".rstrip()
    if status in _GONE:
        msg = f"there is no {words}"
        raise RemoteFileNotFoundError(msg)
    if status in _BUSY:
        raise BusyError(words, retry_after_s(reply.headers.get("Retry-After")))
    raise (TransientDownloadError if status >= 500 else DownloadError)(words)


def _finish(reply: Any) -> None:
    """Return the connection of an answer, unless much of its content is not read."""
    left = reply.length_remaining
    if left is None or left > _PIECE_BYTES:
        reply.close()
    else:
        reply.drain_conn()
        reply.release_conn()


def _unpacked(data: bytes, url: str, most: int | None) -> bytes:
    decoder = zlib.decompressobj(wbits=31)
    try:
        content = decoder.decompress(data, 0 if most is None else most + 1)
    except zlib.error as error:
        msg = f"{url}: it is sent compressed and cannot be unpacked: {error}"
        raise TransientDownloadError(msg) from error
    if most is not None and len(content) > most:
        raise _too_large(url, most)
    if not decoder.eof:
        msg = f"{url}: it is sent compressed and ends early"
        raise TransientDownloadError(msg)
    return content


def _too_large(url: str, most: int) -> TooLargeError:
    return TooLargeError(f"{url}: it has more than {most:,} bytes")


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
