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
from idrstream.download.client.answers import length_of, range_of, refuse_packed
from idrstream.download.client.connections import connection_to
from idrstream.download.client.errors import PartialFileInvalidError, network_errors
from idrstream.download.client.http import Headers, HttpClient
from idrstream.download.ranges.http import HttpFile
from idrstream.download.transports.source import Answer, check_remote
from idrstream.download.transports.transfer import SourceTransport
from idrstream.errors import ConfigError
from idrstream.formats.hdf5_ranges.errors import NoRangesError

_BLOCK_BYTES = 256 * 1024


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
        self._query = query
        self._sign = headers

    def address(self, remote: str) -> str:
        """Return the quoted URL of a file, given its path as plain text."""
        return self.root + quote(check_remote(remote).lstrip("/"), safe="/")

    def open(self, remote: str, start: int, version: str) -> Answer:
        """Open a file at a byte offset; see `SourceTransport.open`."""
        asked: dict[str, str] = {}
        if start and version:
            asked = {"Range": f"bytes={start}-", "If-Range": version}
        url = self.address(remote)
        reply = self._client().send("GET", url, asked, known=frozenset({416}))
        try:
            first, size = _place(reply, url, start)
        except BaseException:
            reply.close()
            raise
        return Answer(
            _blocks(reply, url),
            first,
            size,
            version_of(reply.headers),
            digests_of(reply.headers, whole=reply.status == 200, s3=self.name == "s3"),
            reply.close,
            lambda: _shut(reply),
        )

    def size(self, remote: str) -> int | None:
        """Return the size of a file as the server states it, asked once: many are asked for."""
        url = self.address(remote)
        with connection_to(self.host, self.settings.connections_per_host):
            reply = self._client().send("HEAD", url, {})
            reply.drain_conn()  # it has no content: the connection is kept
        refuse_packed(reply, url)
        return length_of(reply, url)

    def content_of(self, url: str, most: int) -> bytes:
        """Return the whole answer of a quoted URL of this server, of at most `most` bytes."""
        client = self._client()
        return client.ask(url, {}, lambda reply: client.content(reply, url, most=most))

    def open_ranges(self, remote: str, head_bytes: int) -> HttpFile | None:
        """Open a file for reading by ranges; see `RangeTransport.open_ranges`."""
        try:
            return HttpFile(self.address(remote), head_bytes, self._client(), name=self.name)
        except NoRangesError:
            return None

    def _client(self) -> HttpClient:
        return HttpClient(self.settings, self._sign, self._query)


def _place(reply: Any, url: str, start: int) -> tuple[int, int | None]:
    """Return the first byte of an answer and the size of the file."""
    if reply.status == 416:
        msg = f"{url}: the server answered 416: it changed while it was transferred"
        raise PartialFileInvalidError(msg)
    refuse_packed(reply, url)
    if reply.status == 200:
        return 0, length_of(reply, url)
    part = range_of(reply)
    if part is None or not start:
        msg = f"{url}: the server answered 206, which does not match the request"
        raise PartialFileInvalidError(msg)
    return part[0], part[2]


def _blocks(reply: Any, url: str) -> Iterator[bytes]:
    with network_errors(url):
        # read1 returns what has arrived: those bytes survive a broken connection.
        while block := reply.read1(_BLOCK_BYTES):
            yield block


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


def _shut(reply: Any) -> None:
    """End an answer that another thread is reading."""
    with suppress(Exception):
        reply.shutdown()
