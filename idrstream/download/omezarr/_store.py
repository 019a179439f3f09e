"""Stores of OME-Zarr objects: a web server or a folder.

The calling thread reads objects one by one. A missing object is an answer, not an error: only
the caller knows whether it must exist.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from idrstream.config import DownloadSettings
from idrstream.download.client.errors import RemoteFileNotFoundError, TooLargeError
from idrstream.download.client.http import HttpClient
from idrstream.download.modes import Traffic
from idrstream.errors import ConfigError, DownloadError, MovieError, TransientDownloadError

_MOST_BYTES = 64 * 1024 * 1024
# Buckets that cannot be listed answer 403 for missing objects; 416 is a range beyond the end.
_FORBIDDEN, _BEYOND = 403, 416


class Store(ABC):
    """Reads objects under a root; for one thread at a time.

    Attributes
    ----------
    root : str
        Its address, without a slash at its end.
    """

    root: str

    @property
    @abstractmethod
    def traffic(self) -> Traffic:
        """Traffic so far."""

    @abstractmethod
    def get(
        self,
        key: str,
        start: int | None = None,
        stop: int | None = None,
        *,
        most: int = _MOST_BYTES,
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
            If the object or range has more bytes.
        DownloadError, TransientDownloadError
            If the store cannot be read.
        """

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Return a JSON object; None if there is no such file.

        Raises
        ------
        MovieError
            If it is not a JSON object.
        """
        data = self.get(key)
        if data is None:
            return None
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            msg = f"{self.root}/{key} is not JSON: {error}"
            raise MovieError(msg) from error
        if not isinstance(content, dict):
            msg = f"{self.root}/{key} is not a JSON object"
            raise MovieError(msg)
        return content


def open_store(address: str, settings: DownloadSettings | None = None) -> Store:
    """Return the store of an address; no request is sent yet.

    Parameters
    ----------
    address : str
        ``https://``, ``http://``, ``s3://bucket/path`` (read without signing), ``file://`` or a
        folder.
    settings : DownloadSettings, optional
        Limits, and the server of ``s3://`` addresses (``omezarr_endpoint_url``).

    Raises
    ------
    ConfigError
        If the address is of another kind.
    """
    settings = settings or DownloadSettings()
    scheme = urlsplit(address).scheme if "://" in address else ""
    if scheme in ("http", "https"):
        return WebStore(address, settings)
    if scheme == "s3":
        return WebStore(s3_url(address, settings.omezarr_endpoint_url), settings)
    if scheme == "file":
        return FolderStore(Path(unquote(urlsplit(address).path)))
    if scheme:
        msg = f"{address!r}: OME-Zarr is read from https://, s3:// or file:// addresses or a folder"
        raise ConfigError(msg)
    return FolderStore(Path(address).expanduser())


def s3_url(address: str, endpoint_url: str = "") -> str:
    """Return the web address, not quoted yet, of a public ``s3://bucket/path``.

    `endpoint_url` is the server; by default Amazon's.
    """
    bucket_and_path = address.split("://", 1)[1].strip("/")
    return f"{(endpoint_url or 'https://s3.amazonaws.com').rstrip('/')}/{bucket_and_path}"


class WebStore(Store):
    """Objects on a web server."""

    def __init__(self, root: str, settings: DownloadSettings) -> None:
        self.root = root.rstrip("/")
        self._client = HttpClient(settings)

    @property
    def traffic(self) -> Traffic:
        """Traffic so far."""
        return Traffic(self._client.bytes_moved, self._client.requests)

    def get(
        self,
        key: str,
        start: int | None = None,
        stop: int | None = None,
        *,
        most: int = _MOST_BYTES,
    ) -> bytes | None:
        """Return an object or a range of it; see `Store.get`."""
        parts = urlsplit(f"{self.root}/{key}")
        path = quote(parts.path, safe="/%:@!$&'()*+,;=~")  # as far as it is not quoted yet
        url = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
        headers = {}
        if start is not None:
            end = "" if stop is None else str(stop - 1)
            headers["Range"] = f"bytes={start}-{end}" if start >= 0 else f"bytes={start}"

        def take(reply: Any) -> bytes | None:
            if reply.status in (_FORBIDDEN, _BEYOND):
                return None if reply.status == _FORBIDDEN else b""
            data = self._client.content(reply, url, most=most)
            return data[start:stop] if reply.status == 200 and headers else data

        try:
            return self._client.ask(url, headers, take, known=frozenset({_FORBIDDEN, _BEYOND}))
        except RemoteFileNotFoundError:
            return None


class FolderStore(Store):
    """Objects in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = str(folder)
        self._traffic = Traffic()

    @property
    def traffic(self) -> Traffic:
        """Traffic so far."""
        return self._traffic

    def get(
        self,
        key: str,
        start: int | None = None,
        stop: int | None = None,
        *,
        most: int = _MOST_BYTES,
    ) -> bytes | None:
        """Return a file or a range of it; see `Store.get`."""
        if ".." in PurePosixPath(key).parts:
            msg = f"{key!r} leads out of {self.root}"
            raise DownloadError(msg)
        data: bytes | None = None
        try:
            with (self._folder / key).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                first, last, _ = slice(start, stop).indices(size)
                if last - first > most:
                    msg = f"{self._folder / key}: it has more than {most:,} bytes"
                    raise TooLargeError(msg)
                file.seek(first)
                data = file.read(max(0, last - first))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            pass
        except OSError as error:
            msg = f"{self._folder / key} cannot be read: {error.strerror}"
            raise TransientDownloadError(msg) from error
        self._traffic += Traffic(len(data or b""), 1)
        return data
