"""What a way to the data has to offer: three small protocols.

A `Locator` knows where a study keeps the movie of a task, a `Transport` moves one path of the
study to this disk, and a `Downloader` puts both together. Transports know nothing of tasks, so
that several of them can stand in a chain for the same path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from idrstream.records import ImageTask, Movie


@runtime_checkable
class Transport(Protocol):
    """Moves one file of a study to this disk."""

    @property
    def name(self) -> str:
        """Short name for the log and for `Movie.source`, for example ``aspera``."""
        ...

    def fetch(self, remote: str, target: Path) -> int | None:
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
        int or None
            Size in bytes that the source states; None when it states none.

        Raises
        ------
        DownloadError
            If the file cannot be had this way.
        TransientDownloadError
            If a later attempt may succeed.
        UserError
            If the transport itself cannot work: a program or key is missing.
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
