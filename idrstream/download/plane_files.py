"""Images whose planes, or times, are in files of their own: downloaded, and described as one movie.

The row's path is a pattern of all files, planes first; the column ``Planes`` says how many belong
to a frame. The movie is a ``.companion.ome`` beside the files, OME-XML as Bio-Formats reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5
from xml.sax.saxutils import quoteattr

from idrstream.errors import DownloadError, MovieError
from idrstream.formats.reader import MovieInfo
from idrstream.records import ImageTask, Movie
from idrstream.screen.columns import PLACE_COLUMNS, PLANES
from idrstream.screen.study.pattern import expand_pattern

if TYPE_CHECKING:
    from idrstream.download.protocol import FramesNeeded

_MOST_PLANES = 10_000
_PATH = PLACE_COLUMNS[0]


@dataclass(frozen=True, slots=True)
class PlaneFiles:
    """The files of an image.

    Attributes
    ----------
    paths : tuple of str
        Planes of the first frame, of the second, and so on.
    planes : int
        Planes of a frame.
    """

    paths: tuple[str, ...]
    planes: int

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.paths) // self.planes

    def task(self, task: ImageTask, frame: int, plane: int) -> ImageTask:
        """Return the task of one of the files; frame and plane count from 1."""
        path = self.paths[(frame - 1) * self.planes + plane - 1]
        return replace(task, metadata={**task.metadata, _PATH: path, PLANES: ""})


def plane_files(task: ImageTask) -> PlaneFiles | None:
    """Return the files of a row whose path stands for several; None for one file.

    Raises
    ------
    DownloadError
        If ``Planes`` does not fit the path.
    """
    text = task.metadata.get(PLANES, "").strip()
    path = task.metadata.get(_PATH, "").strip()
    if not text or "<" not in path:
        return None
    try:
        paths = tuple(file.path for file in expand_pattern(path))
    except ValueError as error:
        msg = f"{task.name}: column {_PATH}: {error}"
        raise DownloadError(msg) from error
    planes = int(text) if text.isdecimal() and len(text) < 6 else 0
    if not 1 <= planes <= _MOST_PLANES or len(paths) % planes:
        msg = (
            f"{task.name}: column {PLANES} is {text[:20]!r}, but its path names {len(paths)} files"
        )
        raise DownloadError(msg)
    return PlaneFiles(paths, planes)


def needed_frames(
    task: ImageTask, files: PlaneFiles, frames_needed: FramesNeeded | None
) -> tuple[int, ...]:
    """Return the frames whose files are downloaded, from 1."""
    every = tuple(range(1, files.n_frames + 1))
    if frames_needed is None:
        return every
    info = MovieInfo(files.n_frames, (1, 1), "uint16", (True,) * files.n_frames)
    return tuple(number for number in frames_needed(task, info) if number in every)


def download_planes(
    task: ImageTask,
    files: PlaneFiles,
    frames: Sequence[int],
    folder: Path,
    download: Callable[[ImageTask, Path], Movie],
) -> Movie:
    """Download the files of some frames, and describe them as a movie.

    Parameters
    ----------
    task : ImageTask
        The image.
    files : PlaneFiles
        All its files.
    frames : sequence of int
        Frames that are needed, from 1.
    folder : Path
        Where the files are put.
    download : callable
        Downloads one file.

    Returns
    -------
    Movie
        Its `path` is the description; `frames` are those that are there.

    Raises
    ------
    DownloadError
        If a file cannot be downloaded.
    MovieError
        If a file is no TIFF.
    """
    there: dict[tuple[int, int], Movie] = {}
    for frame in frames:
        for plane in range(1, files.planes + 1):
            below = Path(folder) / f"t{frame}_z{plane}"  # planes may have the same name
            there[frame - 1, plane - 1] = download(files.task(task, frame, plane), below)
    if not there:
        msg = f"{task.name}: none of its {files.n_frames} frames is needed"
        raise DownloadError(msg)
    first = next(iter(there.values()))
    movie = Path(folder) / f"{task.well_number:05d}_{task.site:02d}.companion.ome"
    movie.write_text(_description(first.path, files, there, movie.parent), encoding="utf-8")
    moved = [one.bytes_moved for one in there.values()]
    asked = [one.requests for one in there.values()]
    return Movie(
        movie,
        task,
        first.source,
        movie.stat().st_size,
        None if len(frames) == files.n_frames else tuple(frames),
        None if None in moved else sum(number or 0 for number in moved),
        None if None in asked else sum(number or 0 for number in asked),
    )


def _description(
    first: Path, files: PlaneFiles, there: dict[tuple[int, int], Movie], folder: Path
) -> str:
    height, width, kind = _size_of(first)
    blocks = []
    for (t, z), movie in there.items():
        name = movie.path.relative_to(folder).as_posix()
        blocks.append(
            f'<TiffData FirstC="0" FirstZ="{z}" FirstT="{t}" IFD="0" PlaneCount="1">'
            f"<UUID FileName={quoteattr(name)}>{uuid5(NAMESPACE_URL, name).urn}</UUID></TiffData>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME '
        'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZTC" '
        f'Type="{kind}" SizeX="{width}" SizeY="{height}" SizeZ="{files.planes}" SizeC="1" '
        f'SizeT="{files.n_frames}"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        f"{''.join(blocks)}</Pixels></Image></OME>"
    )


def _size_of(path: Path) -> tuple[int, int, str]:
    """Return height, width and type of the pixels of a TIFF."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            if len(page.shape) != 2:
                msg = f"{path.name} has colours or several images"
                raise MovieError(msg)
            return page.shape[0], page.shape[1], str(page.dtype)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        msg = f"{path.name} is no TIFF; planes in files of their own are read of TIFF only: {error}"
        raise MovieError(msg) from error
