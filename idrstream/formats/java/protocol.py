"""What the Java libraries are to their process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Backend(Protocol):
    """A Java library that reads images."""

    def info(self, path: str, image: int) -> dict[str, Any]:
        """Return ``n_frames, n_planes, n_channels, height, width, dtype`` of an image of a file.

        And ``n_images``, how many it has.
        """
        ...

    def plane(self, path: str, image: int, t: int, channel: int, z: int) -> bytes:
        """Return one plane's pixels, row by row, little-endian; indices count from 0."""
        ...

    def close(self) -> None:
        """Let go of the file that is open."""
        ...


def identity(path: str) -> tuple[str, int, int, int]:
    """Return a value that changes if a file is replaced."""
    status = Path(path).stat()
    return path, status.st_ino, status.st_size, status.st_mtime_ns


class MissingError(Exception):
    """Something is not installed; the message says how to get it."""


class ImageProblemError(Exception):
    """The library cannot read the image."""
