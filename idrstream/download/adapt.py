"""Downloaders made of a user's objects."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from idrstream.describe import adapt
from idrstream.download.protocol import Downloader
from idrstream.records import ImageTask, Movie

_METHODS = ("download", "size", "address", "limit_to", "interrupt")


@runtime_checkable
class _HasDownloadImage(Protocol):
    def download_image(self, plate: str, well_num: int, save_dir: Path) -> Path | str: ...


def as_downloader(given: object) -> Downloader:
    """Return an object as a downloader.

    Parameters
    ----------
    given : object
        A `Downloader`, or an object with ``download(task, folder)`` or with the first
        IDR_stream's ``download_image(plate, well_num, save_dir)``. The latter may return before
        its file is complete: the stream waits (`wait_until_complete`).

    Raises
    ------
    ConfigError
        If it has neither.
    """
    if isinstance(given, Downloader) or not isinstance(given, _HasDownloadImage):
        return adapt(given, Downloader, _METHODS)  # type: ignore[type-abstract]
    download_image = given.download_image

    def download(task: ImageTask, folder: Path) -> Movie:
        path = Path(download_image(task.plate, task.well_number, Path(folder)))
        return Movie(path, task, type(given).__name__)

    return adapt(given, Downloader, _METHODS, download=download)  # type: ignore[type-abstract]
