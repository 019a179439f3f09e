"""Folders that movies are in while they are on the disk."""

from __future__ import annotations

import shutil
from pathlib import Path


class MovieFolders:
    """Folders for movies, each for one at a time, so that equal file names never collide.

    The first movie of a plate goes to ``downloads/<plate>``, one that comes while that is in use
    to ``downloads_2/<plate>``, and so on.

    Parameters
    ----------
    root : Path
        The folder ``downloads``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._used: set[Path] = set()

    def acquire(self, plate: str) -> Path:
        """Return an unused folder."""
        number = 1
        while (folder := self._numbered(number) / plate) in self._used:
            number += 1
        self._used.add(folder)
        return folder

    def release(self, folder: Path | None) -> None:
        """Mark a folder as unused."""
        self._used.discard(folder or self.root)

    def clear(self) -> None:
        """Delete all such folders, also those of a crashed stream."""
        for path in self.root.parent.glob(f"{self.root.name}*"):
            if path != self.root and not path.name.removeprefix(f"{self.root.name}_").isdigit():
                continue
            if path.is_symlink():  # its target is not ours
                path.unlink()
            shutil.rmtree(path, ignore_errors=True)

    def _numbered(self, number: int) -> Path:
        return self.root if number == 1 else self.root.with_name(f"{self.root.name}_{number}")
