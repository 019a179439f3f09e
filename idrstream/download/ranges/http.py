"""A file on a web server, read by ranges."""

from __future__ import annotations

from functools import partial
from typing import Any

from idrstream.download.client.answers import range_of
from idrstream.download.client.http import HttpClient
from idrstream.errors import TransientDownloadError
from idrstream.formats.hdf5_ranges.errors import NoRangesError, RemoteFileChangedError

_CHANGED, _NO_RANGES = 412, (200, 416)
_KNOWN = frozenset({_CHANGED, *_NO_RANGES})


class HttpFile:
    """Reads parts of a file on a web server; see `RemoteFile`.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://``, quoted.
    head_bytes : int
        How many of the first bytes to ask for at once.
    client : HttpClient
        Sends the requests for this file and no other.
    name : str
        Short name of the transport.

    Raises
    ------
    NoRangesError
        If the server ignores the range and sends the whole file.
    DownloadError
        If there is no such file or it cannot be read.
    """

    def __init__(
        self, url: str, head_bytes: int, client: HttpClient, *, name: str = "http"
    ) -> None:
        self.name = name
        self._url = url
        self._client = client
        self.at_once = client.at_once
        self._version = ""
        self.size_bytes = 0
        self.head = self._get(0, head_bytes)

    @property
    def bytes_moved(self) -> int:
        """Bytes received so far."""
        return self._client.bytes_moved

    @property
    def requests(self) -> int:
        """Requests made so far."""
        return self._client.requests

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes of a range; see `RemoteFile.read`."""
        try:
            return self._get(start, stop)
        except NoRangesError as error:
            msg = f"{self._url} is no longer sent by ranges"
            raise RemoteFileChangedError(msg) from error

    def close(self) -> None:
        """Do nothing: no connection is held between requests."""

    def _get(self, start: int, stop: int) -> bytes:
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if self._version.startswith('"'):  # a strong etag
            headers["If-Match"] = self._version
        return self._client.ask(self._url, headers, partial(self._take, start, stop), known=_KNOWN)

    def _take(self, start: int, stop: int, answer: Any) -> bytes:
        first, last = self._check(answer)
        expected = min(stop, self.size_bytes) - start
        if first != start or last + 1 - start != expected:
            msg = f"{self._url}: bytes {start:,} to {stop:,} asked, {first:,} to {last + 1:,} sent"
            raise TransientDownloadError(msg)
        return self._client.content(answer, self._url, expected)

    def _check(self, answer: Any) -> tuple[int, int]:
        """Return the first and last byte of an answer, after checking that the file is the same."""
        if answer.status == _CHANGED:
            msg = f"{self._url} changed while it was read"
            raise RemoteFileChangedError(msg)
        part = range_of(answer)
        if answer.status in _NO_RANGES:  # a whole file; or one without bytes
            raise NoRangesError
        if part is None:
            msg = f"{self._url}: the server answered 206 without saying which bytes"
            raise TransientDownloadError(msg)
        first, last, size = part
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        if not self.size_bytes:
            self.size_bytes, self._version = size, version
        if (size, version) != (self.size_bytes, self._version):
            msg = f"{self._url} changed while it was read ({self.size_bytes:,} bytes, now {size:,})"
            raise RemoteFileChangedError(msg)
        return first, last
