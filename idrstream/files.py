"""Files and folders: written whole or not at all, compared by digest, never through links."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from idrstream.errors import StorageError

_BLOCK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def refuse_links(root: Path, *below: str) -> None:
    """Refuse folders of a stream that are links to somewhere else.

    A link in the place of a folder that is filled and emptied for every batch would make the
    stream write, and delete, in a folder that is not its own. Where `root` itself lies is the
    user's choice, also through links.

    Parameters
    ----------
    root : Path
        Folder that the user named.
    *below : str
        Paths under it, with forward slashes; each part of each is looked at.

    Raises
    ------
    StorageError
        Naming the link.
    """
    for relative in below:
        path = root
        for part in relative.split("/"):
            path = path / part
            if path.is_symlink():
                msg = (
                    f"{path} is a link, which may lead out of {root}: the stream deletes what is "
                    "in it; remove the link, or choose another folder"
                )
                raise StorageError(msg)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a path to write to, which becomes `path` when the block ends well.

    The file is written beside its final place as ``.<name>.part``, brought to the disk and
    renamed, so that a reader sees the old file or the whole new one, also after a power cut.
    When the block fails nothing is left of it.

    Parameters
    ----------
    path : Path
        Where the file is to be; its folder is made.

    Yields
    ------
    Path
        Where to write it.

    Raises
    ------
    OSError
        When the file cannot be written or was not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        _to_disk(part, os.O_RDWR)
        part.replace(path)
        # Some network file systems cannot bring folders to the disk; the file is there anyway.
        with suppress(OSError):
            _to_disk(path.parent, os.O_RDONLY)
    finally:
        part.unlink(missing_ok=True)


def _to_disk(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
