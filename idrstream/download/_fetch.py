"""From a transport and a remote path to a movie that is proven complete."""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath
from typing import Any

from idrstream.download._protocol import Downloader, Locator, Transport
from idrstream.download.complete import check_complete
from idrstream.errors import ConfigError
from idrstream.records import ImageTask, Movie

logger = logging.getLogger("idrstream.download")


def fetch_movie(
    transport: Transport,
    remote: str,
    task: ImageTask,
    target: Path,
) -> Movie:
    """Fetch one movie and prove it complete.

    Parameters
    ----------
    transport : Transport
        How to fetch.
    remote : str
        Path under the transport's root.
    task : ImageTask
        What the movie is for.
    target : Path
        The file to write; its folder is made.

    Returns
    -------
    Movie
        The movie, with the size that its source states.

    Raises
    ------
    DownloadError, IncompleteFileError, MovieError
        If the movie did not arrive, or not whole, or is something else. Nothing of it is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    size_bytes = transport.fetch(remote, target)
    try:
        check_complete(target, size_bytes)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    logger.debug("%s: %s from %s", task.name, target.name, transport.name)
    return Movie(target, task, f"{transport.name}: {remote}", size_bytes)


class TransportDownloader:
    """A downloader made of a locator and a transport.

    Parameters
    ----------
    transport : Transport
        How files move; a chain of transports is one too.
    locator : Locator
        Where a task's movie is.
    """

    def __init__(self, transport: Transport, locator: Locator) -> None:
        self.transport = transport
        self.locator = locator

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Download the movie of `task` into `folder`; see `Downloader.download`."""
        remote = self.locator.movie_path(task)
        target = Path(folder) / PurePosixPath(remote).name
        return fetch_movie(self.transport, remote, task, target, wait_timeout_s=self.wait_timeout_s)
