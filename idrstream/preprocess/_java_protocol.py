"""What a Java reader and its process say to each other.

A message is four bytes of length (big-endian), a JSON header of that length, and as many bytes
of pixels as the header's ``nbytes`` says.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import IO, Any, Protocol

PREFIX = struct.Struct(">I")


class Backend(Protocol):
    """A Java library that reads images."""

    def info(self, path: str) -> dict[str, Any]:
        """Return ``n_frames, n_planes, n_channels, height, width, dtype`` of a file."""
        ...

    def plane(self, path: str, t: int, channel: int, z: int) -> bytes:
        """Return one plane's pixels, row by row, little-endian; indices count from 0."""
        ...

    def close(self) -> None:
        """Let go of the file that is open."""
        ...


def identity(path: str) -> tuple[str, int, int, int]:
    """Return what changes when another file takes the place of a file."""
    status = Path(path).stat()
    return path, status.st_ino, status.st_size, status.st_mtime_ns


class MissingError(Exception):
    """Something is not installed; the message says how to get it."""


class ImageProblemError(Exception):
    """The library cannot read the image."""


def write_message(stream: IO[bytes], header: dict[str, Any], body: bytes = b"") -> None:
    """Write one message and flush it."""
    text = json.dumps({**header, "nbytes": len(body)}).encode()
    stream.write(PREFIX.pack(len(text)) + text)
    stream.write(body)
    stream.flush()


def read_message(stream: IO[bytes]) -> dict[str, Any] | None:
    """Read one message without a body; None when the input has ended."""
    prefix = stream.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    text = stream.read(PREFIX.unpack(prefix)[0])
    request: dict[str, Any] = json.loads(text)
    return request
