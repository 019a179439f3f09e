"""The client of web servers, for whole files, ranges of files and OME-Zarr objects.

What a status means, which redirects and encodings are refused, what is tried again, and how many
connections a host gets is decided here, once for all of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from idrstream.config import DownloadSettings
from idrstream.download.client.answers import (
    finish,
    length_of,
    printable,
    refuse_packed,
    too_large,
    unpacked,
)
from idrstream.download.client.connections import connection_to
from idrstream.download.client.errors import BusyError, network_errors
from idrstream.download.client.pool import addresses_of, ended_after, pool, proxy_for
from idrstream.download.client.redirects import MOST_REDIRECTS, REDIRECTS, redirected
from idrstream.download.client.retry import retry_after_s, with_retries
from idrstream.errors import DownloadError, RemoteFileNotFoundError, TransientDownloadError

# They may pass with time, as everything from 500 on does.
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE = frozenset({404, 410})
_PIECE_BYTES = 256 * 1024
_AT_ONCE = 4

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
            self._check_time(url)
            limit = self._settings.connections_per_host
            with connection_to(urlsplit(url).netloc, limit, lambda: self._check_time(url)):
                reply = self.send("GET", url, headers, known)
                try:
                    with network_errors(f"{url}: the answer is incomplete"):
                        with ended_after(self._left_s(), reply.shutdown):
                            taken = take(reply)
                        self._check_time(url)  # an answer that was ended looks complete
                except BaseException:
                    reply.close()
                    raise
                finish(reply)
                return taken

        return with_retries(
            attempt,
            self._settings,
            give_up=lambda attempts, _error: (
                attempts >= self._settings.download_attempts or self._left_s() <= 0
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
        at = url + self._query
        for _ in range(MOST_REDIRECTS + 1):
            reply = self._send(method, url, at, headers)
            location = reply.headers.get("Location")
            if reply.status not in REDIRECTS or location is None or self._sign is not None:
                break
            finish(reply)
            at = redirected(at, location, addresses_of)
        else:
            msg = f"{url} redirects more than {MOST_REDIRECTS} times"
            raise DownloadError(msg)
        try:
            _check(reply, url, known)
        except DownloadError:
            finish(reply)
            raise
        return reply

    def _send(self, method: str, url: str, at: str, headers: Mapping[str, str]) -> Any:
        """Send one request to `at`; messages name `url`."""
        import urllib3

        limits = self._settings
        signed = dict(self._sign(method, url)) if self._sign is not None else {}
        usual = {"User-Agent": user_agent(), "Accept-Encoding": "identity"}
        self.count(0, 1)
        with network_errors(f"{url} cannot be reached"):
            return pool(proxy_for(at)).request(
                method,
                at,
                headers={**usual, **headers, **signed},
                timeout=urllib3.Timeout(limits.connect_timeout_s, limits.stall_timeout_s),
                # `redirected` decides where to go on, `with_retries` what to repeat.
                retries=urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=0, total=None),
                preload_content=False,
                decode_content=False,
                redirect=False,
            )

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
        stated = length_of(reply, url) if expected is None else expected
        data = bytearray()
        while len(data) != stated:
            if most is not None and max(len(data), stated or 0) > most:
                raise too_large(url, most)
            self._check_time(url)
            left = _PIECE_BYTES if stated is None else min(_PIECE_BYTES, stated - len(data))
            piece = reply.read1(left)
            if not piece:
                break
            data += piece
            self.count(len(piece))
        if stated is not None and len(data) < stated:
            msg = f"{url}: the answer ends after {len(data):,} of {stated:,} bytes"
            raise TransientDownloadError(msg)
        return unpacked(bytes(data), url, most) if packed else bytes(data)

    def count(self, n_bytes: int, requests: int = 0) -> None:
        """Add to the bytes and requests so far."""
        with self._counting:
            self.bytes_moved += n_bytes
            self.requests += requests

    def _left_s(self) -> float:
        return self._settings.total_timeout_s - (time.monotonic() - self._started)

    def _check_time(self, url: str) -> None:
        if self._left_s() <= 0:
            msg = f"{url}: not finished within {self._settings.total_timeout_s:g} s"
            raise TransientDownloadError(msg)


def user_agent() -> str:
    """Return the name and version that servers see, so that their administrators can find us."""
    from importlib.metadata import version

    return f"idrstream/{version('idrstream')}"


def _check(reply: Any, url: str, known: frozenset[int]) -> None:
    status = reply.status
    if status in known or status in (200, 206):
        length_of(reply, url)
        return
    words = f"{url}: the server answered {status} {printable(reply.reason or '')}".rstrip()
    if status in _GONE:
        msg = f"there is no {words}"
        raise RemoteFileNotFoundError(msg)
    if status in _BUSY:
        raise BusyError(words, retry_after_s(reply.headers.get("Retry-After")))
    raise (TransientDownloadError if status >= 500 else DownloadError)(words)
