"""From a transport and a remote path to a movie that is proven complete."""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath
from typing import Any

from idrstream.download._protocol import Downloader, Locator, Transport
from idrstream.download.addresses import transport_for
from idrstream.download.complete import check_complete
from idrstream.download.table_locator import SharedFiles, TableLocator, is_given, target_name
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
    locator : Locator, optional
        Where the movies are of tasks whose own ``Path`` and ``URL`` columns do not say it;
        those that do are believed first, as `TableLocator` does. None when all of them do.
    """

    def __init__(self, transport: Transport, locator: Locator | None = None) -> None:
        self.transport = transport
        self.locator = (
            locator
            if isinstance(locator, TableLocator)
            else TableLocator(locator, study=str(getattr(locator, "study", "")))
        )
        self._shared = SharedFiles()

    def way(self, task: ImageTask) -> tuple[Transport, str, str]:
        """Say how the movie of a task is brought, without bringing it.

        Returns
        -------
        tuple of Transport, str and str
            The transport, the path under its root, and the name that the file gets on disk.

        Raises
        ------
        DownloadError
            If nothing says where the movie is.
        """
        remote = self.locator.movie_path(task)
        name = target_name(task, remote) if is_given(task) else PurePosixPath(remote).name
        if "://" in remote:
            transport, remote = transport_for(remote)
            return transport, remote, name
        return self.transport, remote, name

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Download the movie of `task` into `folder`; see `Downloader.download`.

        A file that several tasks share is brought once as long as it is on the disk.
        """
        transport, remote, name = self.way(task)
        target = Path(folder) / name
        if not is_given(task):
            return fetch_movie(transport, remote, task, target)
        with self._shared.lock(remote):
            target.parent.mkdir(parents=True, exist_ok=True)
            known = self._shared.link(remote, target)
            if known is not None:
                return Movie(target, task, *known)
            movie = fetch_movie(transport, remote, task, target)
            self._shared.remember(remote, movie.path, movie.source, movie.size_bytes)
            return movie

    def download_image(self, plate: str, well_num: int, save_dir: Path | str) -> Path:
        """Download the movie of one well; the first IDR_stream's call.

        Parameters
        ----------
        plate : str
            Plate name, for example ``LT0001_02``.
        well_num : int
            Well number, counted from 1 along the rows.
        save_dir : Path or str
            Folder for the movie; made if need be.

        Returns
        -------
        Path
            The movie, for example ``save_dir/00004_01.ch5``.

        Raises
        ------
        DownloadError, IncompleteFileError, MovieError
            If the movie did not arrive.
        """
        return self.download(well_task(plate, well_num), Path(save_dir)).path


class LegacyDownloader:
    """Wraps an object with the first IDR_stream's ``download_image``.

    Such an object may return before its file is complete; whoever reads the movie has to wait
    for that (`wait_until_complete`).

    Parameters
    ----------
    part : object
        Has ``download_image(plate, well_num, save_dir)`` that returns the path of the movie.
    """

    def __init__(self, part: Any) -> None:
        self.part = part

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Download the movie of `task` into `folder`; see `Downloader.download`."""
        path = Path(self.part.download_image(task.plate, task.well_number, Path(folder)))
        return Movie(path, task, type(self.part).__name__)


def as_downloader(part: object) -> Downloader:
    """Return `part` as a `Downloader`.

    Parameters
    ----------
    part : object
        Has ``download(task, folder)``, or the first IDR_stream's
        ``download_image(plate, well_num, save_dir)``.

    Returns
    -------
    Downloader
        `part` itself, or a wrapper around it.

    Raises
    ------
    ConfigError
        If it has neither.
    """
    if isinstance(part, Downloader):
        return part
    if callable(getattr(part, "download_image", None)):
        return LegacyDownloader(part)
    msg = (
        f"{type(part).__name__} is no downloader: it has neither download(task, folder) nor "
        "download_image(plate, well_num, save_dir)"
    )
    raise ConfigError(msg)


def well_task(plate: str, well_num: int) -> ImageTask:
    """Return a task for the movie of a well, site 1, without wanting frames of it."""
    return ImageTask(plate, well=str(well_num), well_number=int(well_num), frames=())
