"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
