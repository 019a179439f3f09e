"""Folders and small files at an address: on a web server, an FTP server, in S3, on this machine.

A web server's folder is the page of links that Apache, nginx and others make of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote, unquote, urljoin, urlsplit

from idrstream.config import DownloadSettings
from idrstream.download.transports.ftp import FtpTransport
from idrstream.download.transports.http import HttpTransport
from idrstream.download.transports.local import path_from_address
from idrstream.download.transports.s3 import S3Transport
from idrstream.download.transports.source import check_remote
from idrstream.download.transports.transfer import SourceTransport
from idrstream.errors import ConfigError, DownloadError, RemoteFileNotFoundError
from idrstream.opening import read_regular
from idrstream.screen.indexes.xml import child_texts, elements

MAX_FILE_BYTES = 256 * 2**20
"""Largest index that is read."""

MAX_NAMES = 1_000_000
"""Largest number of names in a folder."""

_MAX_PAGE_BYTES = 256 * 2**20
_CONTROL = re.compile(r"[\x00-\x1f\x7f/\\]")


class Names(NamedTuple):
    """Names of the files and of the folders in a folder, each sorted."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


class Folder(Protocol):
    """A folder whose files can be listed and read; paths are below it, with forward slashes."""

    def names(self, folder: str = "") -> Names:
        """Return what is in a folder.

        Raises
        ------
        DownloadError
            If it cannot be listed; `RemoteFileNotFoundError` if there is none.
        """
        ...

    def read(self, path: str) -> bytes:
        """Return the content of a file.

        Raises
        ------
        DownloadError
            If it cannot be read or has more than `MAX_FILE_BYTES`; `RemoteFileNotFoundError` if
            there is none.
        """
        ...


def folder_at(address: str, settings: DownloadSettings | None = None) -> Folder:
    """Return the folder at an address or path.

    Parameters
    ----------
    address : str
        ``https://``, ``http://``, ``ftp://``, ``s3://``, ``file://`` or a path on this machine.
    settings : DownloadSettings, optional
        Limits, and the server of ``s3://`` addresses.

    Raises
    ------
    ConfigError
        If there is no such kind of address.
    """
    settings = settings or DownloadSettings()
    root = f"{address.rstrip('/')}/"
    scheme = urlsplit(address).scheme.lower() if "://" in address else "file"
    if scheme in ("http", "https"):
        return _WebFolder(HttpTransport(root, settings))
    if scheme == "ftp":
        return _FtpFolder(FtpTransport(root, settings))
    if scheme == "s3":
        return _S3Folder(S3Transport(root, settings), root)
    if scheme == "file":
        return _LocalFolder(path_from_address(address))
    msg = f"{address!r}: folders of {scheme}:// addresses cannot be listed"
    raise ConfigError(msg)


class _LocalFolder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, folder: str = "") -> Names:
        path = self._root / folder
        files, folders = [], []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    elif entry.is_file():
                        files.append(entry.name)
        except (FileNotFoundError, NotADirectoryError) as error:
            msg = f"there is no folder {path}"
            raise RemoteFileNotFoundError(msg) from error
        except OSError as error:
            msg = f"the folder {path} cannot be listed: {error.strerror}"
            raise DownloadError(msg) from error
        return _names(files, folders)

    def read(self, path: str) -> bytes:
        source = self._root / check_remote(path)
        try:
            return read_regular(source, MAX_FILE_BYTES)
        except FileNotFoundError as error:
            msg = f"there is no file {source}"
            raise RemoteFileNotFoundError(msg) from error
        except OSError as error:
            msg = f"{source} cannot be read: {error.strerror}"
            raise DownloadError(msg) from error


class _WebFolder:
    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport

    def names(self, folder: str = "") -> Names:
        url = self._transport.address(folder) if folder.strip("/") else self._transport.root
        url = f"{url.rstrip('/')}/"
        page = self._transport.content_of(url, _MAX_PAGE_BYTES)
        return names_of_page(page, url)

    def read(self, path: str) -> bytes:
        return self._transport.content_of(self._transport.address(path), MAX_FILE_BYTES)


class _FtpFolder:
    def __init__(self, transport: FtpTransport) -> None:
        self._transport = transport

    def names(self, folder: str = "") -> Names:
        return _names(*self._transport.names(folder, MAX_NAMES))

    def read(self, path: str) -> bytes:
        return _whole(self._transport, path)


class _S3Folder:
    def __init__(self, transport: S3Transport, root: str) -> None:
        self._transport = transport
        bucket, _, prefix = root.split("://", 1)[1].partition("/")
        self._bucket, self._prefix = bucket, prefix
        self._server = transport.root.split(f"/{quote(bucket)}/", 1)[0]

    def names(self, folder: str = "") -> Names:
        prefix = f"{self._prefix}{folder.strip('/')}/".lstrip("/") if folder else self._prefix
        files: list[str] = []
        folders: list[str] = []
        token = ""
        for _ in range(MAX_NAMES // 1000):
            asked = [("delimiter", "/"), ("list-type", "2"), ("prefix", prefix)]
            asked += [("continuation-token", token)] if token else []
            query = "&".join(f"{key}={quote(value, safe='')}" for key, value in sorted(asked))
            url = f"{self._server}/{quote(self._bucket)}?{query}"
            token = _add_objects(
                self._transport.content_of(url, _MAX_PAGE_BYTES), prefix, files, folders
            )
            if not token:
                break
        if not files and not folders:
            msg = f"there is nothing under s3://{self._bucket}/{prefix}"
            raise RemoteFileNotFoundError(msg)
        return _names(files, folders)

    def read(self, path: str) -> bytes:
        return self._transport.content_of(self._transport.address(path), MAX_FILE_BYTES)


def names_of_page(page: bytes, url: str) -> Names:
    """Return the names that a web server's page of a folder links to.

    Parameters
    ----------
    page : bytes
        HTML.
    url : str
        Its address; links to anything that is not directly below it are left out.

    Raises
    ------
    DownloadError
        If it is no page of links.
    """
    links = _Links()
    links.feed(page.decode("utf-8", "replace"))
    if not links.found:
        msg = f"{url}: the server does not list its folders (the answer has no links)"
        raise DownloadError(msg)
    below = urlsplit(url)
    files: list[str] = []
    folders: list[str] = []
    for link in links.found:
        try:
            parts = urlsplit(urljoin(url, link))
        except ValueError:
            continue
        inside = parts.path.startswith(below.path) and parts.netloc == below.netloc
        name = parts.path[len(below.path) :]
        if inside and name and not parts.query:
            (folders if name.endswith("/") else files).append(unquote(name.removesuffix("/")))
    return _names(files, folders)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for key, value in attrs if key == "href" and value]
        if len(self.found) > MAX_NAMES:
            msg = f"a folder has more than {MAX_NAMES:,} names"
            raise DownloadError(msg)


def _add_objects(page: bytes, prefix: str, files: list[str], folders: list[str]) -> str:
    """Add the names of an answer of S3; return the token of the next one."""
    token = ""
    try:
        for element in elements(page, {"Contents", "CommonPrefixes", "NextContinuationToken"}):
            if element.tag == "NextContinuationToken":
                token = element.text or ""
            elif element.tag == "Contents":
                files.append(child_texts(element).get("Key", "").removeprefix(prefix))
            else:
                inner = child_texts(element).get("Prefix", "")
                folders.append(inner.removeprefix(prefix).rstrip("/"))
    except ValueError as error:
        msg = f"the server's list of objects cannot be read: {error}"
        raise DownloadError(msg) from error
    return token


def _whole(transport: SourceTransport, path: str) -> bytes:
    """Return a small file of a transport."""
    answer = transport.open(path, 0, "")
    data = bytearray()
    try:
        for block in answer.blocks:
            data += block
            if len(data) > MAX_FILE_BYTES:
                msg = f"{path} has more than {MAX_FILE_BYTES:,} bytes"
                raise DownloadError(msg)
    finally:
        answer.close()
    if answer.size_bytes is not None and answer.size_bytes != len(data):
        msg = f"{path} ended after {len(data):,} of {answer.size_bytes:,} bytes"
        raise DownloadError(msg)
    return bytes(data)


def _names(files: Iterable[str], folders: Iterable[str]) -> Names:
    """Return names that can be of files, sorted."""
    kept = Names(_usable(files), _usable(folders))
    if len(kept.files) + len(kept.folders) > MAX_NAMES:
        msg = f"a folder has more than {MAX_NAMES:,} names"
        raise DownloadError(msg)
    return kept


def _usable(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({n for n in names if n.strip(".") and not _CONTROL.search(n)}))
