"""The first IDR_stream's call for a movie: objects that have it, and tasks for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from idrstream.describe import describe_part
from idrstream.download.protocol import Downloader
from idrstream.errors import ConfigError
from idrstream.records import ImageTask, Movie


class LegacyDownloader(Downloader):
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


@runtime_checkable
class _HasDownload(Protocol):
    def download(self, task: ImageTask, folder: Path) -> Movie: ...


class _DownloadOnly(Downloader):
    """Wraps an object with nothing but ``download(task, folder)``."""

    def __init__(self, part: _HasDownload) -> None:
        self.part = part

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Download the movie of `task` into `folder`; see `Downloader.download`."""
        return self.part.download(task, folder)

    def describe(self) -> Mapping[str, Any]:
        """Return the description of the wrapped object."""
        return describe_part(self.part)


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
    if isinstance(part, _HasDownload):
        return _DownloadOnly(part)
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
