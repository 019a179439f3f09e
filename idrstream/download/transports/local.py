"""Movies from a folder: a mirror of the archive, on a local or a mounted disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from idrstream.config import DownloadSettings
from idrstream.download.client.errors import PartialFileInvalidError
from idrstream.download.ranges.local import LocalFile
from idrstream.download.transports.source import Answer
from idrstream.download.transports.transfer import SourceTransport
from idrstream.errors import (
    ConfigError,
    DownloadError,
    RemoteFileNotFoundError,
    TransientDownloadError,
)

_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR})
_BLOCK_BYTES = 1 << 20


def path_from_address(address: Path | str) -> Path:
    """Return the path that a ``file://`` address or a plain path names.

    Parameters
    ----------
    address : Path or str
        ``/mnt/idr``, ``~/idr``, ``file:///mnt/idr`` or ``file://localhost/mnt/my%20idr``; only
        addresses are percent-decoded.

    Returns
    -------
    Path
        With ``~`` expanded.

    Raises
    ------
    ConfigError
        If it is an address of another kind or of another machine.
    """
    text = str(address)
    if "://" not in text:
        return Path(text).expanduser()
    parts = urlsplit(text)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        msg = f"{text!r} is not a folder or file:// address on this machine"
        raise ConfigError(msg)
    # '?' and '#' are ordinary characters of a file's path.
    path = text.split("://", 1)[1].removeprefix(parts.netloc)
    return Path(unquote(path))


class LocalTransport(SourceTransport):
    """Copies files from a folder.

    Parameters
    ----------
    root : Path or str
        The folder, or its ``file://`` address.
    settings : DownloadSettings, optional
        Limits; pauses between attempts are a fifth of those for a network.
    sleep : callable, optional
        For tests: waits between two attempts.

    Raises
    ------
    ConfigError
        If there is no such folder.
    """

    def __init__(
        self,
        root: Path | str,
        settings: DownloadSettings | None = None,
        *,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.root = path_from_address(root)
        if not self.root.is_dir():
            msg = f"there is no folder {self.root} to take movies from"
            raise ConfigError(msg)
        super().__init__("local", "", settings, retry_scale=0.2, sleep=sleep)

    def address(self, remote: str) -> str:
        """Return the ``file://`` address of a file."""
        return self.path(remote).absolute().as_uri()

    def path(self, remote: str) -> Path:
        """Return the path of a file."""
        if ".." in PurePosixPath(remote).parts:
            msg = f"{remote!r} leads out of {self.root}"
            raise DownloadError(msg)
        return self.root / remote

    def open(self, remote: str, start: int, version: str) -> Answer:
        """Open a file at a byte offset; see `SourceTransport.open`."""
        source = self.path(remote)
        try:
            _refuse_special(source)
            file = source.open("rb")
        except OSError as error:
            raise self._error(error, source) from error
        try:
            before = os.fstat(file.fileno())
            now = f"{before.st_mtime_ns}-{before.st_size}"
            start = start if now == version else 0
            file.seek(start)
        except OSError as error:
            file.close()
            raise self._error(error, source) from error
        return Answer(
            self._blocks(file, source, before), start, before.st_size, now, close=file.close
        )

    def size(self, remote: str) -> int:
        """Return the size of a file in bytes."""
        source = self.path(remote)
        try:
            return source.stat().st_size
        except OSError as error:
            raise self._error(error, source) from error

    def _blocks(self, file: BinaryIO, source: Path, before: os.stat_result) -> Iterator[bytes]:
        try:
            while block := file.read(_BLOCK_BYTES):
                yield block
            after = os.fstat(file.fileno())
        except OSError as error:
            raise self._error(error, source) from error
        stable = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if not stable:
            msg = (
                f"{source} changed while it was copied ({before.st_size:,} bytes before, "
                f"{after.st_size:,} after): it is still being written"
            )
            raise PartialFileInvalidError(msg)

    def open_ranges(self, remote: str, head_bytes: int) -> LocalFile:
        """Open a file for reading by ranges; see `RangeTransport.open_ranges`."""
        source = self.path(remote)
        try:
            _refuse_special(source)
            return LocalFile(source, head_bytes)
        except OSError as error:
            raise self._error(error, source) from error

    def _error(self, error: OSError, source: Path) -> DownloadError:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)) and not source.exists():
            if not self.root.is_dir():  # a disk that is not mounted any more lacks nothing for good
                return TransientDownloadError(f"the folder {self.root} is not there any more")
            folder = source.parent
            where = "its folder is there" if folder.is_dir() else f"there is no folder {folder}"
            return RemoteFileNotFoundError(f"there is no file {source} ({where})")
        words = f"{source} cannot be read: {error.strerror}"
        if error.errno in _PASSING:
            return TransientDownloadError(words)
        return DownloadError(words)


def _refuse_special(source: Path) -> None:
    if source.exists() and not source.is_file():  # a pipe or device might never end
        msg = f"{source} is not a file"
        raise DownloadError(msg)
