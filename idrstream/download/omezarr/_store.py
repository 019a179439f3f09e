"""Where the objects of OME-Zarr are: on a web server or in a folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from idrstream.config import DownloadSettings
from idrstream.download.client.answers import unpacked
from idrstream.download.client.errors import TooLargeError
from idrstream.download.client.http import HttpClient
from idrstream.download.modes import Traffic
from idrstream.errors import (
    ConfigError,
    DownloadError,
    MovieError,
    RemoteFileNotFoundError,
    TransientDownloadError,
)
from idrstream.text import parse_json

_MOST_BYTES = 64 * 1024 * 1024
# Python's objects take up to thirty times the bytes of their JSON.
_MOST_JSON_BYTES = 4 * 1024 * 1024
# 416: a range beyond the end.
_FORBIDDEN, _BEYOND = 403, 416
_GZIP = b"\x1f\x8b"


class Store:
    """Reads objects under a root one by one, in the calling thread.

    Parameters
    ----------
    address : str
        ``https://``, ``http://``, ``s3://bucket/path`` (read without signing), ``file://`` or a
        folder.
    settings : DownloadSettings, optional
        Limits, and the server of ``s3://`` addresses (``omezarr_endpoint_url``).

    Attributes
    ----------
    root : str
        The root as messages name it, without a slash at its end.
    refused : bool
        Whether the server answered 403 to the last request: there is no such object, in a bucket
        that cannot be listed, or it may not be read now.

    Raises
    ------
    ConfigError
        If the address is of another kind.
    """

    def __init__(self, address: str, settings: DownloadSettings | None = None) -> None:
        settings = settings or DownloadSettings()
        scheme = urlsplit(address).scheme if "://" in address else ""
        if scheme not in ("", "file", "http", "https", "s3"):
            msg = (
                f"{address!r}: OME-Zarr is read from https://, s3:// or file:// addresses or a "
                "folder"
            )
            raise ConfigError(msg)
        if scheme == "s3":
            address = s3_url(address, settings.omezarr_endpoint_url)
        self._folder: Path | None = None
        if scheme in ("", "file"):
            path = unquote(urlsplit(address).path) if scheme else address
            self._folder = Path(path).expanduser()
        self.root = address.rstrip("/") if self._folder is None else str(self._folder)
        self.refused = False
        self._client = HttpClient(settings)

    @property
    def traffic(self) -> Traffic:
        """Traffic so far."""
        return Traffic(self._client.bytes_moved, self._client.requests)

    @property
    def is_there(self) -> bool:
        """Whether its folder is there; of the web that is not known before something is asked."""
        return self._folder is None or self._folder.is_dir()

    def get(
        self, key: str, start: int | None = None, stop: int | None = None, most: int = _MOST_BYTES
    ) -> bytes | None:
        """Return an object or a range of it; None if there is no such object.

        Parameters
        ----------
        key : str
            Path under the root.
        start, stop : int, optional
            The bytes from `start` up to, not including, `stop`, as far as there are; a negative
            `start` without `stop` counts from the end.
        most : int
            Most bytes accepted.

        Raises
        ------
        TooLargeError
            If there are more.
        DownloadError, TransientDownloadError
            If the object cannot be read.
        """
        if ".." in PurePosixPath(key).parts:
            msg = f"{key!r} leads out of {self.root}"
            raise DownloadError(msg)
        read = self._from_web if self._folder is None else self._from_folder
        return read(key, slice(start, stop), most)

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Return a JSON object; None if there is no such file.

        Raises
        ------
        MovieError
            If it is not a JSON object.
        """
        data = self.get(key, most=_MOST_JSON_BYTES)
        if data is not None and data.startswith(_GZIP):  # as it was uploaded, and nobody says so
            data = unpacked(data, f"{self.root}/{key}", _MOST_JSON_BYTES)
        try:
            content = None if data is None else parse_json(data)
        except ValueError as error:
            msg = f"{self.root}/{key} is not JSON: {error}"
            raise MovieError(msg) from error
        if data is not None and not isinstance(content, dict):
            msg = f"{self.root}/{key} is not a JSON object"
            raise MovieError(msg)
        return content

    def _from_web(self, key: str, part: slice, most: int) -> bytes | None:
        url = urlsplit(f"{self.root}/{key}")
        path = quote(url.path, safe="/%:@!$&'()*+,;=~")  # as far as it is not quoted yet
        address = urlunsplit((url.scheme, url.netloc, path, url.query, ""))
        headers = {}
        if part.start is not None:
            stop = "" if part.stop is None else part.stop - 1
            dash = "-" if part.start >= 0 else ""
            headers["Range"] = f"bytes={part.start}{dash}{stop}"

        def take(reply: Any) -> bytes | None:
            self.refused = reply.status == _FORBIDDEN
            if self.refused or reply.status == _BEYOND:
                return None if self.refused else b""
            data = self._client.content(reply, address, most=most)
            return data[part] if reply.status == 200 else data

        try:
            return self._client.ask(address, headers, take, known=frozenset({_FORBIDDEN, _BEYOND}))
        except RemoteFileNotFoundError:
            self.refused = False
            return None

    def _from_folder(self, key: str, part: slice, most: int) -> bytes | None:
        path = Path(self.root) / key
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device might never end
                return None
            with path.open("rb") as file:
                first, last, _ = part.indices(os.fstat(file.fileno()).st_size)
                if last - first > most:
                    msg = f"{path}: it has more than {most:,} bytes"
                    raise TooLargeError(msg)
                file.seek(first)
                data = file.read(max(0, last - first))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            data = None
        except OSError as error:
            msg = f"{path} cannot be read: {error.strerror}"
            raise TransientDownloadError(msg) from error
        self._client.count(len(data or b""), 1)
        return data


def s3_url(address: str, endpoint_url: str = "") -> str:
    """Return the web address, not quoted yet, of a public ``s3://bucket/path``.

    `endpoint_url` is the server; by default Amazon's.
    """
    bucket_and_path = address.split("://", 1)[1].strip("/")
    return f"{(endpoint_url or 'https://s3.amazonaws.com').rstrip('/')}/{bucket_and_path}"
