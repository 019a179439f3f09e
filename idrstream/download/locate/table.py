"""The ``Path`` and ``URL`` columns of the table, which locate movies.

A ``Path`` is a path in the archive (``/uod/idr/filesets/<study>/...`` as in IDR's own metadata),
under the transport's root, or an absolute one on this machine. The scheme of a ``URL`` chooses
the transport. Paths are plain text; each transport quotes them as needed.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from idrstream.download.protocol import Locator
from idrstream.errors import DownloadError
from idrstream.records import ImageTask
from idrstream.screen.study.archive_paths import under_archive

PATH, URL = "Path", "URL"
SCHEMES = ("file", "ftp", "http", "https", "s3")
"""Schemes that a ``URL`` column may have."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNFIT = re.compile(r"[^\w.+=@,()\[\] -]", flags=re.ASCII)
_MAX_NAME = 120
_REMEMBERED = 256


class TableLocator:
    """A locator that prefers a task's own ``URL`` and ``Path`` to another locator.

    Parameters
    ----------
    otherwise : Locator, optional
        For tasks without the two columns; without it every row needs one of them.
    study : str
        Name of the study's folder when the transport's root is that folder; empty when the
        root is the one above all studies.
    """

    def __init__(self, otherwise: Locator | None = None, *, study: str = "") -> None:
        self.otherwise = otherwise
        self.study = study

    def movie_path(self, task: ImageTask) -> str:
        """Return the path of a task's movie under the transport's root, or its address.

        Returns
        -------
        str
            An address contains ``://`` (see `Addresses.transport_for`); everything else is a
            path with forward slashes.

        Raises
        ------
        DownloadError
            If the columns are empty or wrong, naming the column.
        """
        given = given_location(task, study=self.study)
        if given is not None:
            return given
        if self.otherwise is None:
            msg = (
                f"{task.name}: neither the column {PATH} nor {URL} says where its movie is, and "
                "no plates file of idr0013 (screens_path) is given"
            )
            raise DownloadError(msg)
        return self.otherwise.movie_path(task)


def given_location(task: ImageTask, *, study: str = "") -> str | None:
    """Return the address or path in the task's own columns; None if they are empty.

    Raises
    ------
    DownloadError
        If a column has neither, naming task and column.
    """
    address = task.metadata.get(URL, "").strip()
    if address:
        return _checked_address(address, task)
    text = task.metadata.get(PATH, "").strip()
    if not text:
        return None
    path = under_archive(text)
    if path is None:
        if "://" in text:
            return _checked_address(text, task)
        if text.startswith(("/", "~")):
            _check_parts(text, task)
            return Path(text).expanduser().as_uri()
        path = text
    elif study:
        folder, _, rest = path.partition("/")
        if folder != study:
            msg = (
                f"{task.name}: column {PATH}: {text!r} belongs to the study {folder}, but movies "
                f"are taken from {study}; set idr_index_name to the study of the table"
            )
            raise DownloadError(msg)
        path = rest
    _check_parts(path, task)
    return path


def is_given(task: ImageTask) -> bool:
    """Return whether the task's own columns locate its movie."""
    return bool(task.metadata.get(URL, "").strip() or task.metadata.get(PATH, "").strip())


def target_name(task: ImageTask, remote: str) -> str:
    """Return the local name of a file that the table names.

    Files of several wells may have the same name, and several wells may share a file, so the
    name starts with well and site. Unsafe characters are replaced and long names are cut.

    Parameters
    ----------
    task : ImageTask
        The image that the file is for.
    remote : str
        Path or address of the file.

    Returns
    -------
    str
        For example ``00025_02_00004_01.ch5``.
    """
    path = unquote(urlsplit(remote).path) if "://" in remote else remote
    name = _UNFIT.sub("_", PurePosixPath(path).name) or "movie"
    return f"{task.well_number:05d}_{task.site:02d}_{name[-_MAX_NAME:]}"


def _checked_address(address: str, task: ImageTask) -> str:
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    if scheme not in SCHEMES or _CONTROL.search(address):
        msg = (
            f"{task.name}: column {URL}: {address!r} is not an address that starts with "
            f"{', '.join(f'{scheme}://' for scheme in SCHEMES)}"
        )
        raise DownloadError(msg)
    return address


def _check_parts(path: str, task: ImageTask) -> None:
    problem = None
    if ".." in PurePosixPath(path).parts:
        problem = "leads out of its folder"
    elif _CONTROL.search(path):
        problem = "has a control character"
    elif path.startswith("-"):
        problem = "begins with '-'"
    if problem:
        msg = f"{task.name}: column {PATH}: {path!r} {problem}"
        raise DownloadError(msg)


class _Kept(NamedTuple):
    path: Path
    identity: tuple[int, int, int]
    source: str
    size_bytes: int | None


class SharedFiles:
    """Files that several tasks share: downloaded once, hard-linked for the others.

    While a downloaded file is on disk unchanged, another task that needs it gets a hard link;
    each name can be deleted on its own. Thread-safe: of two threads that need the same file, one
    waits for the other.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def lock(self, remote: str) -> threading.Lock:
        """Return the lock to hold while a file is looked up and downloaded."""
        with self._guard:
            return self._locks.setdefault(remote, threading.Lock())

    def link(self, remote: str, target: Path) -> tuple[str, int | None] | None:
        """Link a file that is still on disk.

        Returns
        -------
        tuple of str and (int or None), or None
            Source and stated size as remembered; None if it has to be downloaded.
        """
        with self._guard:
            kept = self._kept.get(remote)
        if kept is None or kept.path == target:
            return None
        try:
            if _identity(kept.path) != kept.identity:
                return None
            target.unlink(missing_ok=True)
            os.link(kept.path, target)
        except OSError:  # deleted meanwhile, or no links on this disk
            return None
        return kept.source, kept.size_bytes

    def remember(self, remote: str, path: Path, source: str, size_bytes: int | None) -> None:
        """Remember a file that was downloaded and verified."""
        with self._guard:
            self._kept[remote] = _Kept(path, _identity(path), source, size_bytes)
            self._kept.move_to_end(remote)
            while len(self._kept) > _REMEMBERED:
                oldest, _ = self._kept.popitem(last=False)
                self._locks.pop(oldest, None)


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_ino, status.st_size, status.st_mtime_ns
