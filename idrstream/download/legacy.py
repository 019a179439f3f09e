"""The first IDR_stream's names, and downloaders with its call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from idrstream.config import DownloadSettings, checked
from idrstream.describe import describe_part
from idrstream.download.downloader import TransportDownloader
from idrstream.download.factory import build_locator, build_transport
from idrstream.download.fetch import fetch_movie
from idrstream.download.protocol import Downloader
from idrstream.errors import ConfigError
from idrstream.records import ImageTask, Movie
from idrstream.screen.study.idr0013 import IDR0013_STUDY

_STUDIES = {"idr0013": IDR0013_STUDY}


class AsperaDownloader(TransportDownloader):
    """The first IDR_stream's downloader: idr0013's movies by Aspera.

    New code calls ``make_downloader(method="aspera", ...)``, which takes every option.

    Parameters
    ----------
    aspera_path : Path or str
        The ``ascp`` program.
    aspera_key_path : Path or str
        The archive's private key.
    screens_path : Path or str, optional
        idr0013's plates file; not needed if every row of the table has its ``Path``.
    idr_index_name : str
        Name of the study's folder in the archive, or ``idr0013``.

    Raises
    ------
    MissingToolError, ConfigError, TableError
        If ascp, the key or the plates file is missing or wrong.
    """

    def __init__(
        self,
        aspera_path: Path | str,
        aspera_key_path: Path | str,
        screens_path: Path | str | None = None,
        idr_index_name: str = IDR0013_STUDY,
    ) -> None:
        values = {
            "method": "aspera",
            "aspera_path": aspera_path,
            "aspera_key_path": aspera_key_path,
            "screens_path": screens_path,
            "idr_index_name": _STUDIES.get(idr_index_name, idr_index_name),
        }
        settings = checked(DownloadSettings, values)
        super().__init__(build_transport(settings), build_locator(settings), settings)

    def download_image(self, plate: str, well_num: int, save_dir: Path | str) -> Path:
        """Download the movie of one well.

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
        task = ImageTask(plate, well=str(well_num), well_number=int(well_num), frames=())
        transport, remote, name = self.resolve(task)
        return fetch_movie(transport, remote, task, Path(save_dir) / name).path


class DownloadCall(Downloader):
    """A downloader made of an object with nothing but a download call.

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
