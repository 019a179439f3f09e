"""OME-TIFF in several files: a row names one, the others that it needs are fetched beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from idrstream.errors import MovieError, RemoteFileNotFoundError
from idrstream.formats.reader import MovieInfo
from idrstream.formats.tiff import images_in, is_companion
from idrstream.screen.channels import channel_names, number_of_channel

if TYPE_CHECKING:
    from idrstream.download.protocol import Channels, FramesNeeded
    from idrstream.formats.tiff import TiffImage
    from idrstream.records import ImageTask, Movie

logger = logging.getLogger("idrstream.download")

_MOST_FILES = 10_000
_LONGEST_NAME = 200


def files_beside(
    movie: Movie, channels: Channels | None, z: int | None, frames_needed: FramesNeeded | None
) -> list[str]:
    """Return the names of the other files that are needed of a downloaded movie.

    Parameters
    ----------
    movie : Movie
        Its first file, or the ``.companion.ome`` that names all. Others have none.
    channels, z, frames_needed
        See `Downloader.limit_to`.

    Raises
    ------
    MovieError
        If a name leads out of the folder, there are too many, or a channel is not there.
    """
    images = images_in(movie.path)
    if is_companion(movie.path) and len(images) > 1:  # it may be of a whole plate
        images = images[movie.task.site - 1 : movie.task.site]
    names = list(dict.fromkeys(_needed(movie.task, images, channels, z, frames_needed)))
    if len(names) > _MOST_FILES:
        msg = f"{movie.path.name} is one of {len(names):,} files: too many for one image"
        raise MovieError(msg)
    for name in names:
        if not _is_plain(name) or name == movie.path.name:
            msg = f"{movie.path.name} names {name[:100]!r}, which is no file beside it"
            raise MovieError(msg)
    return names


def download_beside(movie: Movie, names: Iterable[str], fetch: Callable[[str], Movie]) -> Movie:
    """Download the other files of a movie; without one that is not there its frames fail.

    Parameters
    ----------
    movie : Movie
        Its first file.
    names : iterable of str
        As `files_beside` returns them.
    fetch : callable
        Downloads the file of a name beside the first.

    Returns
    -------
    Movie
        The movie, with the traffic of all its files.

    Raises
    ------
    DownloadError, IncompleteFileError, MovieError
        If one that is there did not arrive.
    """
    every = [movie]
    for name in names:
        try:
            every.append(fetch(name))
        except RemoteFileNotFoundError as error:
            logger.warning("%s: a file that %s names: %s", movie.task.name, movie.path.name, error)
    moved = [one.bytes_moved for one in every]
    asked = [one.requests for one in every]
    return replace(
        movie,
        bytes_moved=None if None in moved else sum(number or 0 for number in moved),
        requests=None if None in asked else sum(number or 0 for number in asked),
    )


def _needed(
    task: ImageTask,
    images: Iterable[TiffImage],
    wanted: Channels | None,
    z: int | None,
    frames_needed: FramesNeeded | None,
) -> Iterator[str]:
    """Yield the files of the planes that will be read."""
    for image in images:
        if not image.files:
            continue
        n_channels, _, n_frames = image.sizes
        frames = set(range(1, n_frames + 1))
        if frames_needed is not None:
            info = MovieInfo(n_frames, image.shape, image.kind, (True,) * n_frames)
            frames &= set(frames_needed(task, info))
        channels = set(range(n_channels))
        if wanted is not None:
            names = channel_names(task.metadata) or image.channels
            channels = {number_of_channel(names, key) for _, key in wanted}
        for (c, plane, t), place in image.places.items():
            is_needed = c in channels and z in (None, plane) and t + 1 in frames
            if place.file and is_needed:
                yield place.file


def _is_plain(name: str) -> bool:
    """Return whether a name is of a file in the same folder, and nothing else."""
    parts = "/" in name or "\\" in name or name.startswith((".", "-"))
    return not parts and name.isprintable() and len(name.encode()) <= _LONGEST_NAME
