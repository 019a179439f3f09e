"""Images whose channels are in files of their own: one movie for each channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from idrstream.download.protocol import Channels
from idrstream.errors import DownloadError
from idrstream.records import ImageTask, Movie
from idrstream.screen.channels import channel_files, file_of_channel
from idrstream.screen.columns import PLACE_COLUMNS
from idrstream.text import shorten_list

PATH = PLACE_COLUMNS[0]


def tasks_of_channels(task: ImageTask, wanted: Channels | None = None) -> dict[str, ImageTask]:
    """Return a task for the file of each channel; empty if one file has all channels.

    Parameters
    ----------
    task : ImageTask
        The image.
    wanted : sequence of (str, str), optional
        Channels that will be read; by default all that have a file.

    Raises
    ------
    DownloadError
        If a wanted channel has no file.
    """
    files = channel_files(task.metadata)
    if not files:
        return {}
    names = list(files)
    if wanted is not None:
        names = [_named(task, list(files), name, key) for name, key in wanted]
    return {
        name: replace(task, metadata={**task.metadata, PATH: files[name]})
        for name in dict.fromkeys(names)
    }


def download_channels(
    task: ImageTask,
    tasks: dict[str, ImageTask],
    folder: Path,
    download: Callable[[ImageTask, Path], Movie],
) -> Movie:
    """Download the file of each channel into a folder of its own.

    Parameters
    ----------
    task : ImageTask
        The image.
    tasks : dict
        As `tasks_of_channels` returns it.
    folder : Path
        Where the folders are made: files of several channels may have the same name.
    download : callable
        Downloads one file.

    Returns
    -------
    Movie
        The first channel's file, with all of them in `Movie.channels`.
    """
    movies = {
        name: download(one, Path(folder) / f"channel_{number}")
        for number, (name, one) in enumerate(tasks.items())
    }
    first = next(iter(movies.values()))
    return replace(
        first,
        task=task,
        bytes_moved=_sum([movie.bytes_moved for movie in movies.values()]),
        requests=_sum([movie.requests for movie in movies.values()]),
        channels=movies,
    )


def _named(task: ImageTask, files: list[str], name: str, key: str) -> str:
    found = file_of_channel(files, name, key)
    if found is None:
        msg = f"{task.name}: the channel {key} has no file; there are {shorten_list(files, 12)}"
        raise DownloadError(msg)
    return found


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
