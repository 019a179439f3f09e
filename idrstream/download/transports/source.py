"""What the transfer core needs of a way to the data: open a file from a byte on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from idrstream.errors import DownloadError


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A file at its source, opened for reading from some byte on.

    Attributes
    ----------
    blocks : iterator of bytes
        The content from `start` on. May end early; raises `DownloadError` kinds only.
    start : int
        Where it begins: where it was asked to, or 0 when the source would not.
    size_bytes : int or None
        Size of the whole file; None when the source does not state it.
    version : str
        The source's word for this version of the file; empty when it has none, and then a
        transfer that broke off is begun anew.
    digests : Mapping[str, str]
        What the source states of the whole file: ``sha256`` or ``md5``, hexadecimal.
    close : callable
        Gives the connection back, or drops it when the content was not read to its end.
    abort : callable
        Called from another thread: makes `blocks` end at once.
    """

    blocks: Iterator[bytes]
    start: int
    size_bytes: int | None
    version: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    close: Callable[[], None] = _nothing
    abort: Callable[[], None] = _nothing


class Source(Protocol):
    """A server, bucket or folder that files are read from."""

    @property
    def name(self) -> str:
        """Short name of the way."""
        ...

    @property
    def host(self) -> str:
        """What the number of connections is limited for; empty for no limit."""
        ...

    def address(self, remote: str) -> str:
        """Return the address of a file for messages and the sidecar, without any secret."""
        ...

    def open(self, remote: str, start: int, version: str) -> Answer:
        """Open a file for reading.

        Parameters
        ----------
        remote : str
            Path under the root.
        start : int
            First byte wanted.
        version : str
            The version that the first `start` bytes are of; when it changed, the answer
            begins at 0.

        Raises
        ------
        NotThereError
            If there is no such file.
        DownloadError, TransientDownloadError
            If it cannot be had.
        """
        ...


def check_remote(remote: str) -> str:
    """Return `remote` if it is a path that stays under a root.

    Raises
    ------
    DownloadError
        If it is empty, points out of the root or has control characters.
    """
    parts = PurePosixPath(remote).parts
    if not parts or ".." in parts or any(ord(char) < 32 or ord(char) == 127 for char in remote):
        msg = f"{remote!r} is not a path under the study's folder"
        raise DownloadError(msg)
    return remote
