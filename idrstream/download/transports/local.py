"""Movies from a folder: a mirror of the archive on this machine, or one that is mounted."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from idrstream.download.downloader import TransportDownloader
from idrstream.download.locate.table import TableLocator
from idrstream.download.modes import FetchMode
from idrstream.download.ranges.local import LocalFile
from idrstream.download.transports.errors import NotThereError, SpoiledError
from idrstream.download.transports.fetched import Fetched
from idrstream.download.transports.source import Answer
from idrstream.download.transports.transfer import TransferOptions, Transfers
from idrstream.errors import ConfigError, DownloadError, TransientDownloadError
from idrstream.records import ImageTask
from idrstream.screen.study.archive_paths import check_name
from idrstream.screen.study.idr0013 import (
    ANALYSIS_FOLDER,
    IDR0013_STUDY,
    Idr0013Locator,
    PlateScreens,
    movie_name,
)

logger = logging.getLogger("idrstream.download.transports.local")

_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR})
_BLOCK_BYTES = 1 << 20

LOCAL_OPTIONS = TransferOptions(attempts=3, wait_s=0.2, longest_wait_s=2.0, sidecar=False)
"""A folder gets a few quick attempts: what a network mount needs."""


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


class LocalSource:
    """A folder as a `Source`."""

    name = "local"
    host = ""

    def __init__(self, root: Path) -> None:
        self.root = root

    def address(self, remote: str) -> str:
        """Return the ``file://`` address of a file."""
        return self.path(remote).absolute().as_uri()

    def path(self, remote: str) -> Path:
        """Return the path of a file."""
        if ".." in PurePosixPath(remote).parts:
            msg = f"{remote!r} points out of {self.root}"
            raise DownloadError(msg)
        return self.root / remote

    def open(self, remote: str, start: int, version: str) -> Answer:
        """Open a file from a byte on; see `Source.open`."""
        source = self.path(remote)
        try:
            if source.exists() and not source.is_file():  # a pipe or device might never end
                msg = f"{source} is not a file"
                raise DownloadError(msg)
            file = source.open("rb")
        except OSError as error:
            raise _as_download_error(error, source) from error
        try:
            before = os.fstat(file.fileno())
            now = f"{before.st_mtime_ns}-{before.st_size}"
            start = start if now == version else 0
            file.seek(start)
        except OSError as error:
            file.close()
            raise _as_download_error(error, source) from error
        return Answer(
            self._blocks(file, source, before), start, before.st_size, now, close=file.close
        )

    def _blocks(self, file: BinaryIO, source: Path, before: os.stat_result) -> Iterator[bytes]:
        try:
            while block := file.read(_BLOCK_BYTES):
                yield block
            after = os.fstat(file.fileno())
        except OSError as error:
            raise _as_download_error(error, source) from error
        stable = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if not stable:
            msg = (
                f"{source} changed while it was copied ({before.st_size:,} bytes before, "
                f"{after.st_size:,} after): it is still being written"
            )
            raise SpoiledError(msg)


class LocalTransport:
    """Copies files from a folder.

    Parameters
    ----------
    root : Path or str
        The folder, or its ``file://`` address.
    options : TransferOptions, optional
        Limits; by default a few quick attempts.
    sleep : callable, optional
        For tests: waits between two attempts.

    Raises
    ------
    ConfigError
        If there is no such folder.
    """

    name = "local"

    def __init__(
        self,
        root: Path | str,
        options: TransferOptions | None = None,
        *,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.root = path_from_address(root)
        if not self.root.is_dir():
            msg = f"there is no folder {self.root} to take movies from"
            raise ConfigError(msg)
        self.options = options or LOCAL_OPTIONS
        self.source = LocalSource(self.root)
        self._transfers = Transfers(self.source, self.options, sleep)

    def open_ranges(self, remote: str, head_bytes: int) -> LocalFile:
        """Open a file for reading by ranges; see `RangeTransport.open_ranges`."""
        source = self.source.path(remote)
        try:
            return LocalFile(source, head_bytes)
        except OSError as error:
            raise _as_download_error(error, source) from error

    def size(self, remote: str) -> int:
        """Return the size of a file in bytes; see `Transport.size`."""
        source = self.source.path(remote)
        try:
            return source.stat().st_size
        except OSError as error:
            raise _as_download_error(error, source) from error

    def fetch(self, remote: str, target: Path) -> Fetched:
        """Copy one file; see `Transport.fetch`.

        Raises
        ------
        DownloadError
            If there is no such file or it cannot be read or written.
        TransientDownloadError
            If it kept changing while it was copied or the mount failed.
        StorageError
            If the disk of the target is full.
        """
        return self._transfers.fetch(remote, target)

    def interrupt(self) -> None:
        """End what is under way at once."""
        self._transfers.interrupt()


class FolderLocator:
    """Finds idr0013's movies by looking at the folders of a mirror, without a plates file.

    Parameters
    ----------
    study_folder : Path
        The folder that holds ``20150916-mitocheck-analysis``.
    """

    def __init__(self, study_folder: Path) -> None:
        self.study_folder = study_folder

    def movie_path(self, task: ImageTask) -> str:
        """Return the path of the task's movie under the study's folder.

        Raises
        ------
        DownloadError
            If no folder, or more than one, is named after the plate.
        """
        if (problem := check_name(task.plate)) is not None:
            msg = f"the plate name {task.plate!r} {problem}"
            raise DownloadError(msg)
        parents = [f"{ANALYSIS_FOLDER}/mitocheck", f"{ANALYSIS_FOLDER}/analysis/mitocheck"]
        found = [
            f"{parent}/{folder.name}"
            for parent in parents
            for folder in sorted(_folders(self.study_folder / parent))
            if folder.name == task.plate or folder.name.startswith(f"{task.plate}--")
        ]
        if len(found) != 1:
            names = ", ".join(found) or "none"
            places = " and ".join(str(self.study_folder / parent) for parent in parents)
            msg = (
                f"{task.name}: expected one folder named {task.plate} or {task.plate}--... in "
                f"{places}, found {names}; give the study's plates file to say which"
            )
            raise DownloadError(msg)
        return f"{found[0]}/hdf5/{movie_name(task)}"


class MirrorLocator:
    """Finds the movies of idr0013 under the root of a mirror, wherever the study is in it.

    Parameters
    ----------
    root : Path
        The folder above the study's, the study's folder, or the one that has
        ``20150916-mitocheck-analysis`` in it.
    screens : PlateScreens, optional
        The study's plates file; without it the folder of a plate is looked for by its name.
    study : str
        Name of the study's folder.
    """

    def __init__(self, root: Path, screens: PlateScreens | None, study: str) -> None:
        self.root = root
        self.screens = screens
        self.study = study

    def movie_path(self, task: ImageTask) -> str:
        """Return the path of the task's movie under the root; see `Locator.movie_path`."""
        folder = self._study_folder()
        if self.screens is None:
            path = FolderLocator(folder).movie_path(task)
        else:
            path = Idr0013Locator(self.screens, self.study).movie_path(task)
        return (folder.relative_to(self.root) / path).as_posix()

    def _study_folder(self) -> Path:
        tried = [self.root / self.study, self.root]
        for folder in tried:
            if (folder / ANALYSIS_FOLDER).is_dir():
                return folder
        names = " and ".join(str(folder / ANALYSIS_FOLDER) for folder in tried)
        msg = f"no movies of {self.study} under {self.root}: tried {names}"
        raise ConfigError(msg)


class LocalDownloader(TransportDownloader):
    """Takes movies from a mirror of the archive on this machine.

    A task whose metadata has a ``Path`` (relative to `root`, as in IDR's own metadata, or
    absolute) or a ``URL`` gets that file; every other task gets the movie of its well from
    idr0013's layout.

    Parameters
    ----------
    root : Path or str
        The folder above the study's, the study's folder, or the one that has
        ``20150916-mitocheck-analysis`` in it; also as a ``file://`` address.
    screens_path : Path or str, optional
        The study's plates file; without it the folder of a plate is looked for by its name.
    idr_index_name : str
        Name of the study's folder.
    fetch : {"auto", "frames", "file"}
        Copy what is less; only the needed frames; or always the whole movie.

    Raises
    ------
    ConfigError, TableError
        If the folder or the plates file is missing or wrong.
    """

    def __init__(
        self,
        root: Path | str,
        screens_path: Path | str | None = None,
        idr_index_name: str = IDR0013_STUDY,
        *,
        fetch: FetchMode = "auto",
    ) -> None:
        transport = LocalTransport(root)
        screens = None if screens_path is None else PlateScreens.read(screens_path)
        self.root = transport.root
        # A root may be the study's own folder.
        is_study = self.root.name == idr_index_name or (
            (self.root / ANALYSIS_FOLDER).is_dir() and not (self.root / idr_index_name).is_dir()
        )
        study = idr_index_name if is_study else ""
        locator = MirrorLocator(self.root, screens, idr_index_name)
        super().__init__(transport, TableLocator(locator, study=study), fetch=fetch)


def _folders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        msg = f"the folder {parent} cannot be read: {error.strerror}"
        raise DownloadError(msg) from error


def _as_download_error(error: OSError, source: Path) -> DownloadError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)) and not source.exists():
        folder = source.parent
        where = "its folder is there" if folder.is_dir() else f"there is no folder {folder}"
        return NotThereError(f"there is no file {source} ({where})")
    words = f"{source} cannot be read: {error.strerror}"
    if error.errno in _PASSING:
        return TransientDownloadError(words)
    return DownloadError(words)
