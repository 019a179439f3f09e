"""Opening files that may not be what they seem, and joining names that come from a file.

An output folder may come from somebody else, or lie where others can write. Names that a file
gives are joined by `inside`; what is read is opened by `open_regular`, what is written by
`open_own` or `idrstream.files.atomic_file`: nothing follows a link out of its folder or waits for a
pipe.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from idrstream.errors import StorageError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_SECOND_NAME = "it has a second name (a hard link)"
_NO_FILE = "it is a pipe or a device, not a file"
# What the kernel answers to O_NOFOLLOW and O_NONBLOCK, in words.
_SPECIAL = {errno.ELOOP: "it is a link", errno.ENXIO: _NO_FILE}


def inside(root: Path, name: str) -> Path:
    """Return the path of a name that comes from a file.

    Parameters
    ----------
    root : Path
        The folder that the name must stay in; it may itself be reached through links.
    name : str
        A relative path with forward slashes.

    Raises
    ------
    StorageError
        If the name leads out of the folder: by ``..``, as an absolute path, or through a link.
    """
    if not name or "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
        msg = f"{name!r} is no name of a file in {root}: what names it is damaged, or not to trust"
        raise StorageError(msg)
    path = root
    for part in name.split("/"):
        path = path / part
        if path.is_symlink():
            msg = (
                f"{path} is a link, which may lead out of {root}: remove the link, or choose "
                "another folder"
            )
            raise StorageError(msg)
    return path


def refuse_links(root: Path, *below: str) -> None:
    """Raise if a folder under `root` is a symbolic link.

    The stream fills and empties these folders for every batch; through a link it would delete
    files outside `root`. `root` itself may be reached through links.

    Parameters
    ----------
    root : Path
        Folder that the user chose.
    *below : str
        Paths under it, with forward slashes; every component of each is checked.

    Raises
    ------
    StorageError
        If one of them is a link; the message names it.
    """
    for relative in below:
        inside(root, relative)


def everybody_may_write(folder: Path) -> bool:
    """Return whether every user of the machine may write to a folder."""
    return bool(folder.stat().st_mode & stat.S_IWOTH)


def check_regular(path: Path) -> None:
    """Raise unless a path, through links, is a regular file.

    For libraries that open a file by its name: a pipe would let them wait for ever.

    Raises
    ------
    OSError
        If it is missing, or a folder, a pipe or a device.
    """
    _require_regular(path.stat(), path)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; does not wait for a pipe or a device.

    Raises
    ------
    OSError
        If it is missing, or a folder, a pipe or a device.
    """
    return _opened(path, os.O_RDONLY | os.O_NONBLOCK, "rb")


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises
    ------
    OSError
        If it cannot be read, is no regular file, or has more than `most_bytes`.
    """
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes} bytes", str(path))
    return content


def open_own(path: Path, flags: int, mode: str) -> BinaryIO:
    """Open a file of idrstream's own for writing, in a folder that others may have filled.

    Its permissions let nobody else write to it, whatever the umask.

    Parameters
    ----------
    path : Path
        The file; it is created if missing.
    flags : int
        ``os.O_RDWR``, ``os.O_WRONLY | os.O_APPEND`` ...
    mode : str
        The same as for `open`.

    Raises
    ------
    OSError
        If it is a link, has a second name (a hard link), or is no regular file.
    """
    file = _opened(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    found = os.fstat(file.fileno())
    if found.st_nlink > 1:
        file.close()
        raise OSError(errno.EMLINK, _SECOND_NAME, str(path))
    if found.st_mode & _OTHERS_WRITE and found.st_uid == os.getuid():
        os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode) & ~_OTHERS_WRITE)
    return file


def refuse_strange(path: Path, *, written: bool) -> None:
    """Raise if a file that a library opens by its name is no plain file; it may be missing.

    Parameters
    ----------
    path : Path
        The file.
    written : bool
        Whether the library writes to it: then a second name (a hard link) is refused, too.

    Raises
    ------
    StorageError
        If it is a link, a folder, a pipe or a device, or has a second name.
    """
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise OSError(errno.ELOOP, _SPECIAL[errno.ELOOP])
        _require_regular(found, path)
        if written and found.st_nlink > 1:
            raise OSError(errno.EMLINK, _SECOND_NAME)
    except FileNotFoundError:
        return
    except OSError as error:
        msg = f"{path} is not used: {error.strerror}; put a copy of the file in its place"
        raise StorageError(msg) from error


def _opened(path: Path, flags: int, mode: str) -> BinaryIO:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in _SPECIAL:
            raise OSError(error.errno, _SPECIAL[error.errno], str(path)) from error
        raise
    try:
        _require_regular(os.fstat(descriptor), path)
        return os.fdopen(descriptor, mode)  # type: ignore[return-value]  # mode is binary
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(found: os.stat_result, path: Path) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    why = "it is a folder, not a file" if stat.S_ISDIR(found.st_mode) else _NO_FILE
    raise OSError(errno.EINVAL, why, str(path))
