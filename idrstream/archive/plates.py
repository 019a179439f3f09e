"""A plate whose index or folder is read: on this machine, at an address, in IDR's archive."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from idrstream.archive.published import Published
from idrstream.config import DownloadSettings
from idrstream.download.listing import Folder, Names, folder_at
from idrstream.errors import ConfigError, DownloadError, RemoteFileNotFoundError
from idrstream.screen.indexes import IMPLIED, PlateIndex, index_kind, index_names, read_index
from idrstream.screen.names import Preset, preset_of
from idrstream.screen.names.found import plates_of_names
from idrstream.screen.study.archive_paths import under_archive
from idrstream.screen.study.field_rows import OpenedPlate
from idrstream.text import counted, shorten_list

_MAX_FOLDERS = 20_000
_MAX_PATHS = 5_000_000
_MAX_DEPTH = 8
_QUOTED = ("http://", "https://", "ftp://")


@dataclass(frozen=True, slots=True)
class ArchiveFolder:
    """A folder of IDR's archive; what is asked for is kept in the cache.

    Attributes
    ----------
    published : Published
        Where the archive is.
    path : str
        Of the folder, below the archive's root.
    """

    published: Published
    path: str

    def names(self, folder: str = "") -> Names:
        """Return what is in a folder; see `Folder.names`."""
        return self.published.names(f"{self.path}/{folder}")

    def read(self, path: str) -> bytes:
        """Return the content of a file; see `Folder.read`."""
        below = f"{self.path}/{path}"
        file = self.published.file("archive", below)
        if file is None:
            msg = f"there is no {self.published.address('archive', below)}"
            raise RemoteFileNotFoundError(msg)
        return file.read_bytes()


def archive_plate(published: Published, target: str) -> OpenedPlate | None:
    """Return a plate of IDR's archive.

    Parameters
    ----------
    published : Published
        Where the archive is.
    target : str
        Path of its index or folder as a plates file of IDR has it.

    Returns
    -------
    OpenedPlate or None
        None if it is no path in the archive, or a file that is not read.

    Raises
    ------
    DownloadError
        If the index or folder is missing or cannot be used.
    """
    below = under_archive(target)
    if below is None:
        return place_of(target)
    if index_kind(target):
        folder = ArchiveFolder(published, str(PurePosixPath(below).parent))
        return opened_index(folder, PurePosixPath(target).name, _parent(target))
    if _is_file(target):
        return None
    return opened_folder(ArchiveFolder(published, below.rstrip("/")), f"{target.rstrip('/')}/")


def place_of(target: str, settings: DownloadSettings | None = None) -> OpenedPlate | None:
    """Return a plate on this machine or at an address.

    Parameters
    ----------
    target : str
        Path or address of its index or folder.
    settings : DownloadSettings, optional
        Limits, and the server of ``s3://`` addresses.

    Returns
    -------
    OpenedPlate or None
        None if there is no such path on this machine, or it is a file that is not read.

    Raises
    ------
    DownloadError
        If the index or folder cannot be used, or is missing at its address.
    """
    local = "://" not in target
    if local:
        path = Path(target).expanduser().absolute()
        if not path.exists():
            return None
        target = str(path)
    if index_kind(target):
        parent = _parent(target)
        made = opened_index(folder_at(parent, settings), PurePosixPath(target).name, parent)
    elif _is_file(target) and not (local and Path(target).is_dir()):
        return None
    else:
        made = opened_folder(folder_at(target, settings), f"{target.rstrip('/')}/")
    return quoted(made)


def opened_index(folder: Folder, name: str, prefix: str) -> OpenedPlate:
    """Return the plate of an index.

    Parameters
    ----------
    folder : Folder
        The index's folder.
    name : str
        Its name.
    prefix : str
        What stands in front of the paths of its images.

    Raises
    ------
    DownloadError
        If it is missing or cannot be used.
    """
    content = folder.read(name)
    try:
        index = read_index(name, content, _Beside(folder))
    except ValueError as error:
        msg = f"the {index_kind(name)} index {prefix}{name} cannot be used: {error}"
        raise DownloadError(msg) from error
    return OpenedPlate(index, prefix)


def opened_folder(folder: Folder, prefix: str) -> OpenedPlate:
    """Return the plate in a folder: by the index in it, else by how its files are called.

    Parameters
    ----------
    folder : Folder
        The plate's folder.
    prefix : str
        What stands in front of the paths of its images.

    Raises
    ------
    DownloadError
        If it cannot be listed, or nothing in it is understood.
    """
    top = folder.names()
    for below in ("", *(f"{name}/" for name in IMPLIED if name in top.folders)):
        for name in index_names((folder.names(below) if below else top).files)[:1]:
            inside = _Below(folder, below) if below else folder
            return opened_index(inside, name, prefix + below)
    paths = list(walk(folder))
    preset = preset_of(paths)
    if preset is None:
        some = f" such as {shorten_list(paths, 3)}" if paths else ""
        files = counted(len(paths), "file")
        pattern = "{plate}/{well}_s{site}_w{channel}.tif"
        msg = (
            f"the folder {prefix} has no index, and {files}{some} that are not called as a known "
            f"microscope calls them: say what their names mean, such as --files '{prefix}{pattern}'"
        )
        raise DownloadError(msg)
    return OpenedPlate(_by_names(paths, preset, prefix), prefix)


def walk(
    folder: Folder, patterns: Sequence[re.Pattern[str]] = (), depth: int = _MAX_DEPTH
) -> Iterator[str]:
    """Yield the paths of all files in a folder and its folders, sorted in each.

    Parameters
    ----------
    folder : Folder
        Where to begin.
    patterns : sequence of re.Pattern
        What folders are called at each level, as far as that is known.
    depth : int
        How many levels of folders to look at.

    Raises
    ------
    DownloadError
        If a folder cannot be listed, or there are too many.
    """
    waiting = deque([("", 0)])
    n_folders = n_paths = 0
    while waiting:
        at, level = waiting.popleft()
        names = folder.names(at)
        n_folders += 1
        n_paths += len(names.files)
        if n_folders > _MAX_FOLDERS or n_paths > _MAX_PATHS:
            msg = f"there are more than {_MAX_FOLDERS:,} folders or {_MAX_PATHS:,} files"
            raise DownloadError(msg)
        yield from (at + name for name in names.files)
        if level >= depth:
            continue
        for name in names.folders:
            if level >= len(patterns) or patterns[level].fullmatch(name):
                waiting.append((f"{at}{name}/", level + 1))


def quoted(plate: OpenedPlate) -> OpenedPlate:
    """Return a plate with paths as its addresses need them."""
    if not plate.folder.startswith(_QUOTED):
        return plate
    files = tuple(file._replace(path=quote(file.path)) for file in plate.index.files)
    return OpenedPlate(replace(plate.index, files=files), quote(plate.folder, safe="/:%@"))


def _by_names(paths: list[str], preset: Preset, prefix: str) -> PlateIndex:
    try:
        found = plates_of_names(paths, preset.path, "")
    except ValueError as error:
        msg = f"the folder {prefix} cannot be used: {error}"
        raise DownloadError(msg) from error
    index = found.plates[""]
    notes = [*index.notes, f"its files are called as {preset.name} calls them"]
    if found.left:
        notes.append(f"{counted(len(found.left), 'other image')}: {shorten_list(found.left, 3)}")
    return replace(index, notes=tuple(notes))


@dataclass(frozen=True, slots=True)
class _Below:
    """A folder in a folder."""

    folder: Folder
    below: str

    def names(self, folder: str = "") -> Names:
        return self.folder.names(self.below + folder)

    def read(self, path: str) -> bytes:
        return self.folder.read(self.below + path)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What is beside an index; what is missing is none."""

    folder: Folder

    def read(self, path: str) -> bytes | None:
        try:
            return self.folder.read(path)
        except RemoteFileNotFoundError:
            return None

    def names(self, folder: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
        try:
            return self.folder.names(folder)
        except RemoteFileNotFoundError:
            return (), ()


def _parent(target: str) -> str:
    folder = target.rpartition("/")[0]
    if not folder:
        msg = f"{target!r} has no folder"
        raise ConfigError(msg)
    return f"{folder}/"


def _is_file(target: str) -> bool:
    from idrstream.screen.study.plates_file import plate_kind

    return plate_kind(target) != "directory"
