"""What a way to the data has to offer: a few small protocols.

A `Locator` knows where a study keeps the movie of a task, a `Transport` moves one path of the
study to this disk, and a `Downloader` puts both together. Transports know nothing of tasks, so
that several of them can stand in a chain for the same path. A transport that is also a
`RangeTransport` lets a movie's wanted frames be had without the rest of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from idrstream.download.transports.fetched import Fetched
from idrstream.records import ImageTask, Movie


@runtime_checkable
class Transport(Protocol):
    """Moves one file of a study to this disk."""

    @property
    def name(self) -> str:
        """Short name for the log and for `Movie.source`, for example ``aspera``."""
        ...

    def fetch(self, remote: str, target: Path) -> Fetched:
        """Bring `remote` to `target`.

        The file appears under its final name only when all of it is there; whatever was
        written beside it on the way is removed on failure. Safe to call from several threads
        for different targets.

        Parameters
        ----------
        remote : str
            Path under the root the transport was built with, with forward slashes.
        target : Path
            The file to write. Its folder exists.

        Returns
        -------
        Fetched
            Its size, and how it came.

        Raises
        ------
        DownloadError
            If the file cannot be had this way.
        TransientDownloadError
            If a later attempt may succeed.
        IncompleteFileError, MovieError
            If what came is cut off or something else.
        UserError
            If the transport itself cannot work: a program or key is missing.
        """
        ...

    def size(self, remote: str) -> int | None:
        """Return the size of a file at its source in bytes, without bringing it.

        Raises
        ------
        DownloadError
            If there is no such file. None means that the size cannot be told beforehand.
        """
        ...


class RemoteFile(Protocol):
    """One version of one file at its source, read by byte ranges.

    Without threads of its own: h5py may stand on it. Not for several threads at a time, unless
    it has an attribute ``at_once`` that says for how many.
    """

    @property
    def name(self) -> str:
        """Short name of the way, as `Transport.name`."""
        ...

    @property
    def size_bytes(self) -> int:
        """Size of the whole file."""
        ...

    @property
    def head(self) -> bytes:
        """First bytes of the file, which came with its size."""
        ...

    @property
    def bytes_moved(self) -> int:
        """Bytes of content that came over the wire so far, in failed attempts too."""
        ...

    @property
    def requests(self) -> int:
        """Number of requests made so far, failed ones too."""
        ...

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to, not including, `stop`: all of them, or raise.

        Raises
        ------
        DownloadError
            If they cannot be had.
        TransientDownloadError
            If a later attempt may succeed; also when the file changed since it was opened.
        """
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


@runtime_checkable
class RangeTransport(Protocol):
    """A transport that can also read parts of a file."""

    def open_ranges(self, remote: str, head_bytes: int) -> RemoteFile | None:
        """Open `remote` for reading by ranges.

        Parameters
        ----------
        remote : str
            Path under the root, as for `Transport.fetch`.
        head_bytes : int
            How many of the first bytes to bring along.

        Returns
        -------
        RemoteFile or None
            None when the source has no ranges: take the whole file then.

        Raises
        ------
        DownloadError
            If there is no such file or it cannot be had.
        TransientDownloadError
            If a later attempt may succeed.
        """
        ...


@runtime_checkable
class Locator(Protocol):
    """Knows where a study keeps the movie of a task."""

    def movie_path(self, task: ImageTask) -> str:
        """Return the path of a task's movie under the root of the study.

        Raises
        ------
        DownloadError
            If the study's files do not tell where the movie is.
        """
        ...


@runtime_checkable
class Downloader(Protocol):
    """Brings the movie of a task to this disk, proven complete."""

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Download the movie of `task` into `folder`, which is made if need be.

        Raises
        ------
        DownloadError, IncompleteFileError, MovieError
            If this movie did not arrive; its batch goes on without it.
        UserError
            If no movie can arrive: a setting, a program or a key is wrong or missing.
        """
        ...

    def size(self, task: ImageTask) -> int | None:  # noqa: ARG002
        """Return the bytes that a task's movie will take on disk; None if unknown beforehand."""
        return None

    def interrupt(self) -> None:
        """Interrupt running downloads; called from another thread. Later calls work."""
        return
