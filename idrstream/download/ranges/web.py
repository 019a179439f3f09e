"""Small requests to a web server, with retries."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from idrstream.config import DownloadSettings
from idrstream.download.client.connections import connection_to
from idrstream.download.client.errors import BusyError
from idrstream.download.client.pool import request
from idrstream.download.client.retry import BUSY, retry_after_s, with_retries
from idrstream.errors import DownloadError, TransientDownloadError
from idrstream.formats.hdf5_ranges.errors import RemoteFileChangedError

_PIECE_BYTES = 256 * 1024
_AT_ONCE = 4
# Status codes that do not pass with time.
_FINAL = frozenset({400, 401, 403, 404, 405, 410, 451})


class WebClient:
    """Sends GET requests to a web server for one movie; safe to use from several threads.

    Parameters
    ----------
    settings : DownloadSettings, optional
        Time limits and attempts; the limit on a movie counts from here.
    headers : Mapping[str, str], optional
        Extra headers, such as a signature.

    Attributes
    ----------
    bytes_moved, requests : int
        Bytes of content received and requests made so far, failed ones included.
    at_once : int
        Number of requests worth making in parallel.
    """

    def __init__(
        self, settings: DownloadSettings | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings or DownloadSettings()
        self._headers = dict(headers or {})
        self._started = time.monotonic()
        self.bytes_moved = self.requests = 0
        self.at_once = min(_AT_ONCE, self._settings.connections_per_host)
        self._counting = threading.Lock()

    def get(self, url: str, headers: Mapping[str, str], take: Callable[[Any], bytes]) -> bytes:
        """Request `url` until `take` accepts an answer.

        Parameters
        ----------
        url : str
            Quoted.
        headers : Mapping[str, str]
            Headers beside the usual ones.
        take : callable
            Takes the answer (`urllib3.HTTPResponse`, its content not read) and returns the
            content by `body`, or raises.

        Returns
        -------
        bytes
            What `take` returned.

        Raises
        ------
        DownloadError, TransientDownloadError
            From the last attempt. Only transient errors of an unchanged file are retried.
        """
        return with_retries(
            partial(self._attempt, url, headers, take),
            self._settings,
            may_pass=_may_pass,
            give_up=lambda attempts, _error: (
                attempts >= self._settings.download_attempts or self._is_late()
            ),
        )

    def body(self, answer: Any, url: str, expected: int | None = None) -> bytes:
        """Return the content of an answer, of `expected` or else its stated number of bytes."""
        if expected is None:
            expected = int(answer.headers.get("Content-Length", -1))
        data = bytearray()
        while len(data) != expected:
            left = expected - len(data) if expected >= 0 else _PIECE_BYTES
            piece = answer.read(min(_PIECE_BYTES, left))
            if not piece:
                break
            data += piece
            with self._counting:
                self.bytes_moved += len(piece)
        if len(data) < expected:
            msg = f"{url}: the answer ends after {len(data):,} of {expected:,} bytes"
            raise TransientDownloadError(msg)
        return bytes(data)

    def _is_late(self) -> bool:
        return time.monotonic() - self._started > self._settings.total_timeout_s

    def _attempt(self, url: str, headers: Mapping[str, str], take: Callable[[Any], bytes]) -> bytes:
        if self._is_late():
            msg = f"{url}: not finished within {self._settings.total_timeout_s:g} s"
            raise TransientDownloadError(msg)
        with connection_to(urlsplit(url).netloc, self._settings.connections_per_host):
            return self._ask(url, headers, take)

    def _ask(self, url: str, headers: Mapping[str, str], take: Callable[[Any], bytes]) -> bytes:
        from urllib3.exceptions import HTTPError

        with self._counting:
            self.requests += 1
        try:
            answer = request(
                "GET",
                url,
                {**self._headers, **headers},
                self._settings,
                # A signature is valid for one address.
                redirect=not self._headers,
            )
        except HTTPError as error:
            msg = f"{url} cannot be reached: {error}"
            raise TransientDownloadError(msg) from error
        whole = False
        try:
            data = take(answer)
            whole = True
        except (HTTPError, OSError) as error:
            msg = f"{url}: the answer is incomplete: {error}"
            raise TransientDownloadError(msg) from error
        finally:
            # A connection with an unread rest cannot be reused.
            answer.release_conn() if whole else answer.close()
        return data


def refusal(answer: Any, url: str) -> DownloadError:
    """Return the error for an answer without the requested content."""
    words = f"{url}: the server answered {answer.status} {answer.reason or ''}".rstrip()
    if answer.status in BUSY:
        return BusyError(words, retry_after_s(answer.headers.get("Retry-After")))
    return (DownloadError if answer.status in _FINAL else TransientDownloadError)(words)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, TransientDownloadError) and not isinstance(
        error, RemoteFileChangedError
    )
