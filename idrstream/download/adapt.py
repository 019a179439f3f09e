"""Downloaders made of objects that have a download call but not all methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from idrstream.describe import describe_part, take_over
from idrstream.download.protocol import Downloader
from idrstream.errors import ConfigError
from idrstream.records import ImageTask, Movie


class DownloadCall(Downloader):
    """A downloader made of an object that has a download call but not all methods.

    Parameters
    ----------
    part : object
        The object, for the provenance.
    call : callable
        Downloads the movie of a task into a folder.
    """

    def __init__(self, part: object, call: Callable[[ImageTask, Path], Movie]) -> None:
        self.part = part
        self._call = call
        take_over(self, part, ("size", "address", "limit_to", "interrupt"))

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Download the movie of `task` into `folder`; see `Downloader.download`."""
        return self._call(task, folder)

    def describe(self) -> Mapping[str, Any]:
        """Return the description of the wrapped object."""
        return describe_part(self.part)


@runtime_checkable
class _HasDownload(Protocol):
    def download(self, task: ImageTask, folder: Path) -> Movie: ...


@runtime_checkable
class _HasDownloadImage(Protocol):
    def download_image(self, plate: str, well_num: int, save_dir: Path) -> Path | str: ...


def as_downloader(part: object) -> Downloader:
    """Return `part` as a `Downloader`.

    Parameters
    ----------
    part : object
        A `Downloader`, or an object with ``download(task, folder)`` or with the first
        IDR_stream's ``download_image(plate, well_num, save_dir)``. The latter may return before
        its file is complete: the stream waits (`wait_until_complete`).

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
        return DownloadCall(part, part.download)
    if isinstance(part, _HasDownloadImage):
        download_image = part.download_image

        def download(task: ImageTask, folder: Path) -> Movie:
            path = Path(download_image(task.plate, task.well_number, Path(folder)))
            return Movie(path, task, type(part).__name__)

        return DownloadCall(part, download)
    msg = (
        f"{type(part).__name__} is no downloader: it has neither download(task, folder) nor "
        "download_image(plate, well_num, save_dir)"
    )
    raise ConfigError(msg)
