"""Movies from a web server: ``https://``, and ``http://`` for local servers."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

from idrstream.config import DownloadSettings
from idrstream.download.client.connections import connection_to
from idrstream.download.client.errors import (
    BusyError,
    PartialFileInvalidError,
    RemoteFileNotFoundError,
)
from idrstream.download.client.pool import request
from idrstream.download.client.retry import BUSY, retry_after_s
from idrstream.download.ranges.http import HttpFile
from idrstream.download.transports.source import Answer, check_remote
from idrstream.download.transports.transfer import SourceTransport, network_errors
from idrstream.errors import ConfigError, DownloadError
from idrstream.formats.hdf5_ranges.errors import NoRangesError

_BLOCK_BYTES = 256 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

Headers = Callable[[str, str], Mapping[str, str]]
"""Returns extra headers of a request, such as a signature, given its method and URL."""


class HttpTransport(SourceTransport):
    """Transfers files from a web server.

    Parameters
    ----------
    root : str
        Address of the folder above the paths.
    settings : DownloadSettings, optional
        Limits.
    headers : callable, optional
        Returns extra headers of a request, given its method and URL.
    name : str, optional
        Name in log and result; by default the scheme.
    query : str
        Query of every request; may be a secret, and is sent to the server only.
    sleep : callable, optional
        For tests: waits between two attempts.

    Raises
    ------
    ConfigError
        If `root` is not a web address, or has a password in it.
    """

    def __init__(
        self,
        root: str,
        settings: DownloadSettings | None = None,
        *,
        headers: Headers | None = None,
        name: str | None = None,
        query: str = "",
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        parts = urlsplit(root)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            msg = f"{root!r} is not an http:// or https:// address"
            raise ConfigError(msg)
        if parts.username or parts.password:
            msg = "an address with a user or password is refused: it would be logged"
            raise ConfigError(msg)
        super().__init__(name or parts.scheme, parts.netloc, settings, sleep=sleep)
        self.root = root if root.endswith("/") else f"{root}/"
        self._scheme = parts.scheme
        self._query = query
        self._headers = headers

    def address(self, remote: str) -> str:
        """Return the quoted URL of a file, given its path as plain text."""
        return self.root + quote(check_remote(remote).lstrip("/"), safe="/")

    def _request(self, method: str, remote: str, headers: Mapping[str, str]) -> Any:
        """Send a request; the content of its answer is not read yet."""
        import urllib3

        url = self.address(remote)
        signed = dict(self._headers(method, url)) if self._headers is not None else {}
        with network_errors(url, urllib3.exceptions.HTTPError, OSError):
            return request(
                method,
                f"{url}?{self._query}" if self._query else url,
                {**headers, **signed},
                self.settings,
                # A signature is valid for one address.
                redirect=not signed,
            )

    def open(self, remote: str, start: int, version: str) -> Answer:
        """Open a file at a byte offset; see `SourceTransport.open`."""
        asked: dict[str, str] = {}
        if start and version:
            asked = {"Range": f"bytes={start}-", "If-Range": version}
        reply = self._request("GET", remote, asked)
        try:
            first, size = self._check(reply, remote, start)
        except BaseException:
            reply.close()
            raise
        return Answer(
            self._blocks(reply, remote),
            first,
            size,
            version_of(reply.headers),
            digests_of(reply.headers, whole=reply.status == 200, s3=self.name == "s3"),
            reply.close,
            lambda: _shut(reply),
        )

    def size(self, remote: str) -> int | None:
        """Return the size of a file as the server states it."""
        with connection_to(self.host, self.settings.connections_per_host):
            reply = self._request("HEAD", remote, {})
            try:
                self._check(reply, remote, 0)
                return _length(reply.headers)
            finally:
                reply.drain_conn()  # it has no content: the connection is kept

    def _check(self, reply: Any, remote: str, start: int) -> tuple[int, int | None]:
        """Return the first byte of an answer and the size of the file."""
        url, status = self.address(remote), reply.status
        if status in (404, 410):
            msg = f"there is no {url} ({status})"
            raise RemoteFileNotFoundError(msg)
        words = f"{url}: the server answered {status} {reply.reason or ''}".rstrip()
        if status == 416:
            msg = f"{words}: it changed while it was transferred"
            raise PartialFileInvalidError(msg)
        if status in BUSY:
            raise BusyError(words, retry_after_s(reply.headers.get("Retry-After")))
        if status not in (200, 206):
            raise DownloadError(words)
        if self._scheme == "https" and (reply.url or "").startswith("http://"):
            msg = f"{url} redirects to an address without encryption"
            raise DownloadError(msg)
        if reply.headers.get("Content-Encoding", "identity") != "identity":
            msg = f"{url}: the server sends it compressed, against the request"
            raise DownloadError(msg)
        if status == 200:
            return 0, _length(reply.headers)
        match = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
        if match is None or not start or match[3] == "*":
            msg = f"{words}, which does not match the request"
            raise PartialFileInvalidError(msg)
        return int(match[1]), int(match[3])

    def _blocks(self, reply: Any, remote: str) -> Iterator[bytes]:
        import urllib3

        with network_errors(self.address(remote), urllib3.exceptions.HTTPError, OSError):
            while True:
                # read1 returns what has arrived: those bytes survive a broken connection.
                block = reply.read1(_BLOCK_BYTES)
                if not block:
                    return
                yield block

    def open_ranges(self, remote: str, head_bytes: int) -> HttpFile | None:
        """Open a file for reading by ranges; see `RangeTransport.open_ranges`."""
        if self._query:
            return None  # its messages would show the query
        url = self.address(remote)
        headers = None if self._headers is None else self._headers("GET", url)
        try:
            return HttpFile(url, head_bytes, self.settings, headers=headers, name=self.name)
        except NoRangesError:
            return None


def version_of(headers: Mapping[str, str]) -> str:
    """Return the version identifier of a file for ``If-Range``; empty if there is none."""
    etag = headers.get("ETag", "").strip()
    if etag.startswith('"'):  # a weak one does not identify bytes
        return etag
    return str(headers.get("Last-Modified", "")).strip()


def digests_of(headers: Mapping[str, str], *, whole: bool, s3: bool = False) -> dict[str, str]:
    """Return the digests of the whole file that a server states.

    ``Repr-Digest`` (RFC 9530), ``Digest`` (RFC 3230), ``Content-MD5`` of a whole answer, and
    for S3 ``x-amz-checksum-sha256`` and the ETag of an object that was uploaded in one piece.
    """
    found: dict[str, str] = {}
    for name in ("Repr-Digest", "Digest"):
        for kind, text in re.findall(r"(sha-256|md5)=:?([\w+/=-]+)", headers.get(name, ""), re.I):
            _add(found, kind.lower().replace("-", ""), text)
    if whole:
        _add(found, "md5", headers.get("Content-MD5", ""))
    if s3:
        _add(found, "sha256", headers.get("x-amz-checksum-sha256", ""))
        etag = headers.get("ETag", "").strip('"')
        encrypted = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
        if re.fullmatch(r"[0-9a-f]{32}", etag) and not encrypted:
            found.setdefault("md5", etag)
    return found


def _add(found: dict[str, str], kind: str, text: str) -> None:
    with suppress(binascii.Error, ValueError):
        digest = base64.b64decode(text, validate=True).hex()
        if len(digest) == {"sha256": 64, "md5": 32}[kind]:
            found.setdefault(kind, digest)


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _shut(reply: Any) -> None:
    """End an answer that another thread is reading."""
    with suppress(Exception):
        reply.shutdown()
