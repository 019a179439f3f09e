"""Stores of OME-Zarr objects: a web server or a folder.

The calling thread reads objects one by one. A missing object is an answer, not an error: only
the caller knows whether it must exist.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from idrstream.config import DownloadSettings
from idrstream.download.client.errors import RemoteFileNotFoundError
from idrstream.download.client.http import HttpClient
from idrstream.download.modes import Traffic
from idrstream.errors import ConfigError, DownloadError, TransientDownloadError

# Buckets that cannot be listed answer 403 for missing objects.
_FORBIDDEN = 403
MOST_BYTES = 64 * 1024 * 1024
"""Most bytes of an object of metadata."""


class Store(Protocol):
    """Reads objects under a root; for one thread at a time."""

    @property
    def root(self) -> str:
        """Address of the root, without a slash at its end."""
        ...

    @property
    def traffic(self) -> Traffic:
        """Traffic so far."""
        ...

    def get(self, key: str, start: int | None = None, stop: int | None = None) -> bytes | None:
        """Return an object or a range of it; None if there is no such object.

        Parameters
        ----------
        key : str
            Path under the root.
        start, stop : int, optional
            The bytes from `start` up to, not including, `stop`; a negative `start` without
            `stop` counts from the end.

        Raises
        ------
        DownloadError, TransientDownloadError
            If the store cannot be read.
        """
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


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


class WebStore:
    """Objects on a web server."""

    def __init__(self, root: str, settings: DownloadSettings) -> None:
        self.root = root.rstrip("/")
        self._client = HttpClient(settings)

    @property
    def traffic(self) -> Traffic:
        """Traffic so far."""
        return Traffic(self._client.bytes_moved, self._client.requests)

    def get(
        self, key: str, start: int | None = None, stop: int | None = None, *, most: int = MOST_BYTES
    ) -> bytes | None:
        """Return an object or a range of it; see `Store.get`."""
        url = _quoted(f"{self.root}/{key}")
        headers = {}
        if start is not None:
            end = "" if stop is None else str(stop - 1)
            headers["Range"] = f"bytes={start}-{end}" if start >= 0 else f"bytes={start}"

        def take(reply: Any) -> bytes | None:
            if reply.status == _FORBIDDEN:
                return None
            data = self._client.content(reply, url, most=most)
            return data[start:stop] if reply.status == 200 and headers else data

        try:
            return self._client.ask(url, headers, take, known=frozenset({_FORBIDDEN}))
        except RemoteFileNotFoundError:
            return None

    def close(self) -> None:
        """Do nothing: no connection is held between requests."""


class FolderStore:
    """Objects in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = str(folder)
        self.traffic = Traffic()

    def get(self, key: str, start: int | None = None, stop: int | None = None) -> bytes | None:
        """Return a file or a range of it; see `Store.get`."""
        if ".." in PurePosixPath(key).parts:
            msg = f"{key!r} leads out of {self.root}"
            raise DownloadError(msg)
        try:
            with (self._folder / key).open("rb") as file:
                if start is not None:
                    file.seek(start, os.SEEK_END if start < 0 else os.SEEK_SET)
                data = file.read(-1 if stop is None or start is None else stop - start)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self.traffic += Traffic(0, 1)
            return None
        except OSError as error:
            msg = f"{self._folder / key} cannot be read: {error.strerror}"
            raise TransientDownloadError(msg) from error
        self.traffic += Traffic(len(data), 1)
        return data

    def close(self) -> None:
        """Do nothing: files are closed after every call."""


def _quoted(url: str) -> str:
    """Quote the path of a web address as far as it is not quoted yet."""
    parts = urlsplit(url)
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~")
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
