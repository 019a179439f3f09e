"""Atomic writes, digests of files, and folders of idrstream's own."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from idrstream.errors import StorageError
from idrstream.opening import check_regular, open_own, open_regular

_BLOCK_BYTES = 1 << 20
_TOKEN = re.compile(r"[0-9a-f]{16,32}")
OWN_MARK = ".idrstream"
"""File that marks a folder as idrstream's own."""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def check_own_folder(path: Path) -> None:
    """Raise unless a folder is idrstream's own, empty, or not there yet.

    Raises
    ------
    StorageError
        If what is there was made by somebody else.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        msg = f"{path} is no folder: remove it, or choose another tmp_dir"
    elif path.is_dir() and not _is_marked(path) and any(path.iterdir()):
        msg = (
            f"{path} has files that idrstream did not make (it lacks {OWN_MARK}): everything in "
            "there would be deleted. Move them, or choose another tmp_dir"
        )
    else:
        return
    raise StorageError(msg)


@contextmanager
def own_folder(path: Path) -> Iterator[Path]:
    """Make a folder for files that are deleted again, and mark it as idrstream's own.

    At the end it is removed if nothing but the mark is left in it.

    Raises
    ------
    StorageError
        As `check_own_folder`, or if it cannot be made.
    """
    check_own_folder(path)
    mark = path / OWN_MARK
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not _is_marked(path):
            with open_own(mark, os.O_WRONLY, "wb") as file:
                file.write(b"idrstream made this folder and deletes what is in it.\n")
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    try:
        yield path
    finally:
        if [one.name for one in path.iterdir()] == [OWN_MARK]:
            mark.unlink()
            path.rmdir()


def empty_own_folder(path: Path) -> None:
    """Delete everything in a folder but its mark; nothing in one that lacks the mark.

    Links are deleted, never what they lead to.

    Raises
    ------
    StorageError
        If something cannot be deleted.
    """
    if not _is_marked(path):
        return
    for one in path.iterdir():
        if one.is_dir() and not one.is_symlink():
            delete_folder(one)
        elif one.name != OWN_MARK:
            one.unlink()


def _is_marked(folder: Path) -> bool:
    mark = folder / OWN_MARK
    return mark.is_file() and not mark.is_symlink()


@contextmanager
def atomic_file(path: Path, *, durable: bool = True, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield an open file, which becomes `path` when the block succeeds; see `atomic_path`.

    The partial file is opened only if nothing has its name, so that nobody can plant a link there.

    Parameters
    ----------
    path : Path
        The final file.
    durable : bool
        As for `atomic_path`.
    mode : int
        Permissions, of which the umask takes away.

    Raises
    ------
    OSError
        If it cannot be written, or something else than a file has that name.
    """
    with atomic_path(path, durable=durable) as part:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, mode), "wb") as file:
            yield file


@contextmanager
def atomic_path(path: Path, *, durable: bool = True, or_device: bool = False) -> Iterator[Path]:
    """Yield a partial file to write, which becomes `path` when the block succeeds.

    The partial file lies beside `path` as ``.<name>.<random>.part`` and is renamed at the end, so
    that readers see the old file or the new one, never a mixture, also when several threads or
    processes write the same file. If the block fails, the partial file is deleted.

    Parameters
    ----------
    path : Path
        The final file. Its folder is created if missing. A link of that name is replaced.
    durable : bool
        Flush the file to the disk before the rename, so that it survives a power cut.
    or_device : bool
        Yield a pipe or a device itself, such as ``/dev/stdout``, for a path that the user chose.

    Yields
    ------
    Path
        The partial file.

    Raises
    ------
    OSError
        If the file cannot be written, or the block did not write it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file() and not path.is_dir():
        if not or_device:
            check_regular(path)
        yield path
        return
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield partial
        if durable:
            _flush(partial, os.O_RDWR)
        partial.replace(path)
        if durable:
            flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def move_folder(source: Path, target: Path) -> None:
    """Move a folder to its final place, which is replaced; across disks it is copied first.

    Raises
    ------
    StorageError
        If it cannot be moved; the old one is kept then.
    """
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, partial)
        if target.is_dir():
            shutil.rmtree(target)
        partial.replace(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        msg = f"{target} cannot be written: {error}"
        raise StorageError(msg) from error


def delete_folder(path: Path) -> None:
    """Delete a folder, if it is there.

    Raises
    ------
    StorageError
        If it cannot be deleted.
    """
    try:
        if path.is_dir():
            shutil.rmtree(path)
    except OSError as error:
        msg = f"{path} cannot be deleted: {error}"
        raise StorageError(msg) from error


def is_partial(name: str) -> bool:
    """Return whether a file name is one that `atomic_path` gives to partial files."""
    return name.startswith(".") and name.endswith(".part") and len(name) > len("..part")


def final_name(partial: str) -> str:
    """Return the name of the file that a partial file of `atomic_path` becomes."""
    name = partial.removeprefix(".").removesuffix(".part")
    stem, _, token = name.rpartition(".")
    return stem if stem and _TOKEN.fullmatch(token) else name


def leftovers(folder: Path) -> Iterator[Path]:
    """Yield the partial files that killed processes left in a folder and below it."""
    return (path for path in folder.rglob(".*.part") if is_partial(path.name))


def leftovers_of(path: Path) -> Iterator[Path]:
    """Yield the partial files of `path` that killed processes left."""
    return path.parent.glob(f".{glob.escape(path.name)}.*part")


def flush(path: Path) -> None:
    """Let a file, or the names in a folder, reach the disk.

    Raises
    ------
    OSError
        If a file cannot be flushed; some network file systems cannot flush folders.
    """
    with suppress(OSError) if path.is_dir() else nullcontext():
        _flush(path, os.O_RDONLY)


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
