"""Small requests to a web server, tried again where that may help."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from idrstream.download.transports.errors import BusyError
from idrstream.download.transports.gate import connection_to
from idrstream.download.transports.pool import request
from idrstream.download.transports.retry import BUSY, retry_after_s, try_again
from idrstream.errors import DownloadError, TransientDownloadError
from idrstream.formats.hdf5_ranges.errors import ChangedError

_PIECE_BYTES = 256 * 1024
_AT_ONCE = 4
# These do not pass by waiting.
_FINAL = frozenset({400, 401, 403, 404, 405, 410, 451})


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How a web server is asked.

    Attributes
    ----------
    connect_timeout_s, stall_timeout_s : float
        Time limits for the connection and between two pieces of an answer.
    attempts : int
        Attempts for one request.
    wait_s, longest_wait_s : float
        Pause before the second attempt, doubled for each further one up to the longest.
    connections_per_host : int
        Requests to one host at a time, over all threads and ways.
    headers : Mapping[str, str]
        Further headers, for example of a signed request.
    """

    connect_timeout_s: float = 10.0
    stall_timeout_s: float = 30.0
    attempts: int = 5
    wait_s: float = 0.5
    longest_wait_s: float = 30.0
    connections_per_host: int = 4
    headers: Mapping[str, str] = field(default_factory=dict)


class WebClient:
    """Gets things from a web server; safe to use from several threads.

    Parameters
    ----------
    options : HttpOptions, optional
        Time limits and attempts.

    Attributes
    ----------
    bytes_moved, requests : int
        Bytes of content that came and requests made so far, failed ones too.
    at_once : int
        Requests that are worth making side by side.
    """

    def __init__(self, options: HttpOptions | None = None) -> None:
        self._options = options or HttpOptions()
        self.bytes_moved = self.requests = 0
        self.at_once = min(_AT_ONCE, self._options.connections_per_host)
        self._counting = threading.Lock()

    def get(self, url: str, headers: Mapping[str, str], take: Callable[[Any], bytes]) -> bytes:
        """Ask for `url` until an answer is good.

        Parameters
        ----------
        url : str
            Quoted.
        headers : Mapping[str, str]
            Beside the usual ones.
        take : callable
            Gets the answer (`urllib3.HTTPResponse`, its content not read) and returns the
            content by `body`, or raises.

        Returns
        -------
        bytes
            What `take` returned.

        Raises
        ------
        DownloadError, TransientDownloadError
            Of the last attempt. Only transient errors of an unchanged file are tried again.
        """
        options = self._options
        return try_again(
            partial(self._attempt, url, headers, take),
            may_pass=_may_pass,
            give_up=lambda attempts, _error: attempts >= options.attempts,
            wait_s=options.wait_s,
            longest_wait_s=options.longest_wait_s,
        )

    def body(self, answer: Any, url: str, expected: int | None = None) -> bytes:
        """Return the content of an answer, `expected` bytes long or as long as it says."""
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

    def _attempt(self, url: str, headers: Mapping[str, str], take: Callable[[Any], bytes]) -> bytes:
        with connection_to(urlsplit(url).netloc, self._options.connections_per_host):
            return self._ask(url, headers, take)

    def _ask(self, url: str, headers: Mapping[str, str], take: Callable[[Any], bytes]) -> bytes:
        from urllib3.exceptions import HTTPError

        options = self._options
        with self._counting:
            self.requests += 1
        try:
            answer = request(
                "GET",
                url,
                {**options.headers, **headers},
                connect_timeout_s=options.connect_timeout_s,
                stall_timeout_s=options.stall_timeout_s,
                # A signature is for one address.
                redirect=not options.headers,
            )
        except HTTPError as error:
            msg = f"{url} cannot be reached: {error}"
            raise TransientDownloadError(msg) from error
        whole = False
        try:
            data = take(answer)
            whole = True
        except (HTTPError, OSError) as error:
            msg = f"{url} came only in part: {error}"
            raise TransientDownloadError(msg) from error
        finally:
            # A connection with half an answer in it is of no further use.
            answer.release_conn() if whole else answer.close()
        return data


def refusal(answer: Any, url: str) -> DownloadError:
    """Return the error that an answer without the wanted content means."""
    words = f"{url}: the server answered {answer.status} {answer.reason or ''}".rstrip()
    if answer.status in BUSY:
        return BusyError(words, retry_after_s(answer.headers.get("Retry-After")))
    return (DownloadError if answer.status in _FINAL else TransientDownloadError)(words)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, TransientDownloadError) and not isinstance(error, ChangedError)
