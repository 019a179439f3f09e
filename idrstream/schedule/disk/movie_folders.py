"""Folders that movies lie in while they are on the disk."""

from __future__ import annotations

import shutil
from pathlib import Path


class Folders:
    """Folders for movies, each for one at a time, so that equal names never meet.

    The first movie of a plate goes to ``downloads/<plate>``, one that comes while that is there
    to ``downloads_2/<plate>``, and so on.

    Parameters
    ----------
    root : Path
        The folder ``downloads``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._taken: set[Path] = set()

    def take(self, plate: str) -> Path:
        """Return a folder that nobody has."""
        number = 1
        while (folder := self._numbered(number) / plate) in self._taken:
            number += 1
        self._taken.add(folder)
        return folder

    def give_back(self, folder: Path | None) -> None:
        """Note that a folder is empty again."""
        self._taken.discard(folder or self.root)

    def all(self) -> list[Path]:
        """Return all such folders that are there, also those of a stream that died."""
        return [
            path
            for path in self.root.parent.glob(f"{self.root.name}*")
            if path == self.root or path.name.removeprefix(f"{self.root.name}_").isdigit()
        ]

    def clear(self) -> None:
        """Delete them all."""
        for path in self.all():
            if path.is_symlink():  # where it leads is not ours
                path.unlink()
            shutil.rmtree(path, ignore_errors=True)

    def _numbered(self, number: int) -> Path:
        return self.root if number == 1 else self.root.with_name(f"{self.root.name}_{number}")
