"""Atomic writes, digests of files, and protection against symbolic links."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from idrstream.errors import StorageError

_BLOCK_BYTES = 1 << 20
_TOKEN = re.compile(r"[0-9a-f]{16,32}")
OWN_MARK = ".idrstream"
"""File that marks a folder as idrstream's own."""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


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
        path = root
        for name in relative.split("/"):
            path = path / name
            if path.is_symlink():
                msg = (
                    f"{path} is a link, which may lead out of {root}: the stream deletes what is "
                    "in it; remove the link, or choose another folder"
                )
                raise StorageError(msg)


def check_own_folder(path: Path) -> None:
    """Raise unless a folder is idrstream's own, empty, or not there yet.

    Raises
    ------
    StorageError
        If what is there was made by somebody else.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        msg = f"{path} is no folder: remove it, or choose another tmp_dir"
    elif path.is_dir() and not (path / OWN_MARK).is_file() and any(path.iterdir()):
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
        mark.write_text("idrstream made this folder and deletes what is in it.\n")
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
    if not (path / OWN_MARK).is_file():
        return
    for one in path.iterdir():
        if one.is_dir() and not one.is_symlink():
            delete_folder(one)
        elif one.name != OWN_MARK:
            one.unlink()


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a partial file to write, which becomes `path` when the block succeeds.

    The partial file lies beside `path` as ``.<name>.<random>.part`` and is renamed at the end, so
    that readers see the old file or the new one, never a mixture, also when several threads or
    processes write the same file. If the block fails, the partial file is deleted.

    Parameters
    ----------
    path : Path
        The final file. Its folder is created if missing. A pipe or a device is yielded itself.
    durable : bool
        Flush the file to the disk before the rename, so that it survives a power cut.

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
        yield path  # a pipe or a device, such as /dev/stdout, is no file to replace
        return
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield partial
        if durable:
            _flush(partial, os.O_RDWR)
        partial.replace(path)
        if durable:
            # Some network file systems cannot flush folders.
            with suppress(OSError):
                _flush(path.parent, os.O_RDONLY)
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


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
