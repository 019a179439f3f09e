"""The interfaces of this package: `Locator`, `Transport` and `Downloader`.

A `Locator` knows where a study keeps the movie of a task, a `Transport` copies one path of the
study to this disk, and a `Downloader` combines both. Transports know nothing of tasks, so several
of them can be chained for the same path. A transport that is also a `RangeTransport` can fetch
the frames of a movie that are needed without the rest of it.

Subclass `Transport` or `Downloader` to get defaults for the optional methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from idrstream.formats.reader import MovieInfo
from idrstream.records import ImageTask, Movie

FramesNeeded = Callable[[ImageTask, MovieInfo], Sequence[int]]
"""Returns the numbers of the frames that are needed of a movie."""
Channels = Sequence[tuple[str, str]]
"""Channels that will be read: name and key, as in ``image_channels``."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is on disk under its final name, and how it was transferred.

    Attributes
    ----------
    size_bytes : int
        Size of the file; equal to the size that the source states, if it states one.
    served_by : str
        Name of the transport; of a chain, of the transport that succeeded.
    bytes_moved : int or None
        Bytes of content received, failed attempts included; None if not counted.
    requests : int or None
        Requests or attempts made; None if not counted.
    etag : str
        Version identifier (HTTP's ETag or Last-Modified); empty if there is none.
    sha256 : str
        Hexadecimal digest of the file; empty if not computed.
    seconds : float
        Duration, pauses between attempts included.
    """

    size_bytes: int
    served_by: str
    bytes_moved: int | None = None
    requests: int | None = None
    etag: str = ""
    sha256: str = ""
    seconds: float = 0.0


@runtime_checkable
class Transport(Protocol):
    """Copies files of a study to this disk.

    Attributes
    ----------
    name : str
        Short name for the log and for `Movie.source`, for example ``aspera``.
    """

    name: str

    def fetch(self, remote: str, target: Path) -> Fetched:
        """Copy `remote` to `target`.

        The file appears under its final name only when it is complete; files written beside it
        are removed on failure. Safe to call from several threads for different targets.

        Parameters
        ----------
        remote : str
            Path under the transport's root, with forward slashes.
        target : Path
            The file to write. Its folder exists.

        Returns
        -------
        Fetched
            Size of the file, and how it was transferred.

        Raises
        ------
        DownloadError
            If this transport cannot fetch the file.
        TransientDownloadError
            If a later attempt may succeed.
        IncompleteFileError, MovieError
            If the file is truncated or not a movie.
        UserError
            If the transport itself cannot work: a program or key is missing.
        """
        ...

    def size(self, remote: str) -> int | None:  # noqa: ARG002
        """Return the size of a remote file in bytes; None if it is unknown beforehand.

        Raises
        ------
        DownloadError
            If there is no such file.
        """
        return None

    def interrupt(self) -> None:
        """Interrupt running transfers; called from another thread. Later calls work."""
        return


class RemoteFile(Protocol):
    """One version of one remote file, read by byte ranges.

    Starts no threads, so that h5py can read through it. Safe for `at_once` threads at a time.
    """

    @property
    def name(self) -> str:
        """Short name of the transport, as `Transport.name`."""
        ...

    @property
    def at_once(self) -> int:
        """Number of requests worth making in parallel; 1 if it is not thread-safe."""
        ...

    @property
    def size_bytes(self) -> int:
        """Size of the whole file."""
        ...

    @property
    def head(self) -> bytes:
        """First bytes of the file, received when it was opened."""
        ...

    @property
    def bytes_moved(self) -> int:
        """Bytes of content received so far, failed attempts included."""
        ...

    @property
    def requests(self) -> int:
        """Number of requests made so far, failed ones included."""
        ...

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to, not including, `stop`: all of them, or raise.

        Raises
        ------
        DownloadError
            If they cannot be read.
        TransientDownloadError
            If a later attempt may succeed; also if the file changed since it was opened.
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
            How many of the first bytes to read at once.

        Returns
        -------
        RemoteFile or None
            None if the source does not support ranges.

        Raises
        ------
        DownloadError
            If there is no such file or it cannot be read.
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
            If the location of the movie is unknown.
        """
        ...


@runtime_checkable
class StudyLocator(Locator, Protocol):
    """A locator whose paths are relative to the folder of one study."""

    study: str


@runtime_checkable
class Downloader(Protocol):
    """Downloads the movie of a task to this disk and verifies that it is complete."""

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Download the movie of `task` into `folder`, which is made if need be.

        Raises
        ------
        DownloadError, IncompleteFileError, MovieError
            If this movie did not arrive; its batch continues without it.
        UserError
            If no movie can arrive: a setting, a program or a key is wrong or missing.
        """
        ...

    def size(self, task: ImageTask) -> int | None:  # noqa: ARG002
        """Return the bytes that a task's movie will take on disk; None if unknown beforehand.

        Raises
        ------
        DownloadError, MovieError
            If there is no such movie.
        """
        return None

    def address(self, task: ImageTask) -> str | None:  # noqa: ARG002
        """Return where a task's movie is, for the provenance; None if unknown.

        Raises
        ------
        DownloadError
            If the location of the movie is unknown.
        """
        return None

    def limit_to(
        self,
        frames_needed: FramesNeeded | None,  # noqa: ARG002
        *,
        channels: Channels | None = None,  # noqa: ARG002
        z: int | None = None,  # noqa: ARG002
        all_planes: bool = False,  # noqa: ARG002
    ) -> None:
        """Limit later downloads to what is needed; downloaders of whole movies ignore this.

        Parameters
        ----------
        frames_needed : callable or None
            Returns the numbers of the frames needed, from the task and the movie's `MovieInfo`;
            None for all frames.
        channels : sequence of (str, str), optional
            Channels that will be read: name and key, which is a number, from 0, or a name, as in
            ``image_channels``. None leaves the downloader's own choice, as for the others.
        z : int, optional
            Plane that will be read, counted from 0.
        all_planes : bool
            Whether all planes will be read.
        """
        return

    def interrupt(self) -> None:
        """Interrupt running downloads; called from another thread. Later calls work."""
        return
