"""A file on a web server, read by ranges over one connection that stays open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from idrstream.download.frames._errors import ChangedError, NoRangesError
from idrstream.errors import DownloadError, TransientDownloadError

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_PIECE_BYTES = 256 * 1024
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
        Attempts for one range.
    wait_s, longest_wait_s : float
        Pause before the second attempt, doubled for each further one up to the longest.
    headers : Mapping[str, str]
        Further headers, for example of a signed request.
    """

    connect_timeout_s: float = 10.0
    stall_timeout_s: float = 30.0
    attempts: int = 5
    wait_s: float = 0.5
    longest_wait_s: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpFile:
    """Reads parts of a file on a web server; see `RemoteFile`.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://``, quoted.
    head_bytes : int
        How many of the first bytes to ask for at once.
    options : HttpOptions
        Time limits and attempts.

    Raises
    ------
    NoRangesError
        If the server sends the whole file when it is asked for a part.
    DownloadError
        If there is no such file or it cannot be had.
    """

    name = "http"

    def __init__(self, url: str, head_bytes: int, options: HttpOptions | None = None) -> None:
        import urllib3

        self._url = url
        self._options = options or HttpOptions()
        self._pool = urllib3.PoolManager(maxsize=1)
        self._version = ""
        self.size_bytes = self.bytes_moved = self.requests = 0
        try:
            self.head = self._read(0, head_bytes)
        except BaseException:
            self.close()
            raise

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes of a range; see `RemoteFile.read`."""
        try:
            return self._read(start, stop)
        except NoRangesError as error:
            msg = f"{self._url} is sent by ranges no more"
            raise ChangedError(msg) from error

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()

    def _read(self, start: int, stop: int) -> bytes:
        from tenacity import Retrying, retry_if_exception, stop_after_attempt
        from tenacity import wait_random_exponential as growing

        options = self._options
        retrying = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(options.attempts),
            wait=growing(multiplier=options.wait_s, max=options.longest_wait_s),
            reraise=True,
        )
        return retrying(self._attempt, start, stop)

    def _attempt(self, start: int, stop: int) -> bytes:
        import urllib3

        options = self._options
        self.requests += 1
        try:
            answer = self._pool.request(
                "GET",
                self._url,
                headers=self._headers(start, stop),
                preload_content=False,
                decode_content=False,
                retries=urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5),
                timeout=urllib3.Timeout(options.connect_timeout_s, options.stall_timeout_s),
            )
        except urllib3.exceptions.HTTPError as error:
            msg = f"{self._url} cannot be reached: {error}"
            raise TransientDownloadError(msg) from error
        whole = False
        try:
            data = self._body(answer, start, stop)
            whole = True
        except (urllib3.exceptions.HTTPError, OSError) as error:
            msg = f"{self._url}: bytes {start:,} to {stop:,} came only in part: {error}"
            raise TransientDownloadError(msg) from error
        finally:
            # A connection with half an answer in it is of no further use.
            answer.release_conn() if whole else answer.close()
        return data

    def _headers(self, start: int, stop: int) -> dict[str, str]:
        headers = {
            "User-Agent": f"idrstream/{version('idrstream')}",
            "Accept-Encoding": "identity",
            "Range": f"bytes={start}-{stop - 1}",
            **self._options.headers,
        }
        if self._version.startswith('"'):  # a strong etag
            headers["If-Match"] = self._version
        return headers

    def _body(self, answer: Any, start: int, stop: int) -> bytes:
        first, last = self._check(answer)
        expected = min(stop, self.size_bytes) - start
        if first != start or last + 1 - start != expected:
            msg = f"{self._url}: bytes {start:,} to {stop:,} asked, {first:,} to {last + 1:,} sent"
            raise TransientDownloadError(msg)
        data = bytearray()
        while len(data) < expected:
            piece = answer.read(min(_PIECE_BYTES, expected - len(data)))
            if not piece:
                msg = f"{self._url}: the answer ends after {len(data):,} of {expected:,} bytes"
                raise TransientDownloadError(msg)
            data += piece
            self.bytes_moved += len(piece)
        return bytes(data)

    def _check(self, answer: Any) -> tuple[int, int]:
        """Return first and last byte of an answer, once it is seen to be of the same file."""
        status = answer.status
        if status == 412:
            msg = f"{self._url} changed while it was read"
            raise ChangedError(msg)
        if status in (200, 416):  # a whole file; or one without bytes
            raise NoRangesError
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if status != 206 or match is None:
            msg = f"{self._url}: the server answered {status} {answer.reason or ''}".rstrip()
            raise (DownloadError if status in _FINAL else TransientDownloadError)(msg)
        first, last, size = (int(text) for text in match.groups())
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        if not self.size_bytes:
            self.size_bytes, self._version = size, version
        if (size, version) != (self.size_bytes, self._version):
            msg = f"{self._url} changed while it was read ({self.size_bytes:,} bytes, now {size:,})"
            raise ChangedError(msg)
        return first, last


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, TransientDownloadError) and not isinstance(error, ChangedError)
