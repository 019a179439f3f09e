"""A remote file that is open for reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from idrstream.errors import DownloadError


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A remote file, opened for reading at some byte offset.

    Attributes
    ----------
    blocks : iterator of bytes
        The content from `start` on. May end early; raises only kinds of `DownloadError`.
    start : int
        First byte: the one asked for, or 0 if the source cannot resume.
    size_bytes : int or None
        Size of the whole file; None if the source does not state it.
    version : str
        Version identifier (ETag or Last-Modified); empty if there is none, and then an
        interrupted transfer starts over.
    digests : Mapping[str, str]
        Digests of the whole file that the source states: ``sha256`` or ``md5``, hexadecimal.
    close : callable
        Returns the connection to the pool, or drops it if the content was not read to its end.
    abort : callable
        Called from another thread: ends `blocks` at once.
    """

    blocks: Iterator[bytes]
    start: int
    size_bytes: int | None
    version: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    close: Callable[[], None] = _nothing
    abort: Callable[[], None] = _nothing


def check_remote(remote: str) -> str:
    """Return `remote` if it is a path that stays under a root.

    Raises
    ------
    DownloadError
        If it is empty, leads out of the root or has control characters.
    """
    parts = PurePosixPath(remote).parts
    if not parts or ".." in parts or any(ord(char) < 32 or ord(char) == 127 for char in remote):
        msg = f"{remote!r} is not a path under the study's folder"
        raise DownloadError(msg)
    return remote
