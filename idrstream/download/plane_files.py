"""Images whose planes or times are in files, or pages, of their own: described as one movie.

The row's path is a pattern of all files, planes first; the column ``Planes`` says how many belong
to a frame. Or it is one file, of which ``Pages`` lists the pages of each channel. The movie is a
``.companion.ome`` beside the files, OME-XML as Bio-Formats reads it.
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
from idrstream.screen.columns import PAGES, PLACE_COLUMNS, PLANES
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
    pages : tuple of tuple of int
        For one file with all images: the pages of each channel, in the same order.
    """

    paths: tuple[str, ...]
    planes: int
    pages: tuple[tuple[int, ...], ...] = ()

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.pages[0] if self.pages else self.paths) // self.planes

    def task(self, task: ImageTask, frame: int, plane: int) -> ImageTask:
        """Return the task of one of the files; frame and plane count from 1."""
        path = self.paths[0 if self.pages else (frame - 1) * self.planes + plane - 1]
        return replace(task, metadata={**task.metadata, _PATH: path, PLANES: "", PAGES: ""})


def plane_files(task: ImageTask) -> PlaneFiles | None:
    """Return the files of a row whose path stands for several; None for one file.

    Raises
    ------
    DownloadError
        If ``Planes`` does not fit the path.
    """
    text = task.metadata.get(PLANES, "").strip()
    path = task.metadata.get(_PATH, "").strip()
    listed = task.metadata.get(PAGES, "").strip()
    if not path or not (listed or (text and "<" in path)):
        return None
    try:
        pages = tuple(tuple(map(_page, part.split(","))) for part in listed.split(";") if listed)
        paths = (path,) if pages else tuple(file.path for file in expand_pattern(path))
    except ValueError as error:
        msg = f"{task.name}: column {PAGES if listed else _PATH}: {error}"
        raise DownloadError(msg) from error
    planes = int(text) if text.isdecimal() and len(text) < 6 else 0
    counts = {len(part) for part in pages} or {len(paths)}
    if not 1 <= planes <= _MOST_PLANES or len(counts) > 1 or min(counts) % planes:
        what = f"column {PLANES} is {text[:20]!r}, but there are {max(counts)} files or pages"
        msg = f"{task.name}: {what}"
        raise DownloadError(msg)
    return PlaneFiles(paths, planes, pages)


def _page(text: str) -> int:
    if not text.isdecimal() or len(text) > 6:
        msg = f"{text[:20]!r} is no page"
        raise ValueError(msg)
    return int(text)


def needed_frames(
    task: ImageTask, files: PlaneFiles, frames_needed: FramesNeeded | None
) -> tuple[int, ...]:
    """Return the frames whose files are downloaded, from 1."""
    every = tuple(range(1, files.n_frames + 1))
    if frames_needed is None:
        return every
    info = MovieInfo(files.n_frames, (1, 1), "uint16", (True,) * files.n_frames)
    return tuple(number for number in frames_needed(task, info) if number in every)


def needed_planes(task: ImageTask, files: PlaneFiles, z: int | None) -> tuple[int, ...]:
    """Return the planes of a frame whose files are downloaded, from 1; `z` counts from 0.

    Raises
    ------
    DownloadError
        If there is no such plane.
    """
    if z is None:
        return tuple(range(1, files.planes + 1))
    if z >= files.planes:
        msg = f"{task.name}: it has {files.planes} z-planes; plane {z}, from 0, is not among them"
        raise DownloadError(msg)
    return (z + 1,)


def download_planes(
    task: ImageTask,
    files: PlaneFiles,
    needed: tuple[Sequence[int], Sequence[int]],
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
    needed : tuple of two sequences of int
        Frames and planes that are needed, from 1.
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
    frames, planes = needed
    there: dict[tuple[int, int], Movie] = {}
    for frame in () if files.pages else frames:
        for plane in planes:
            below = Path(folder) / f"t{frame}_z{plane}"  # planes may have the same name
            there[frame - 1, plane - 1] = download(files.task(task, frame, plane), below)
    if files.pages:
        there[0, 0] = download(files.task(task, 1, 1), Path(folder) / "file")
        frames = range(1, files.n_frames + 1)
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
    if files.pages:
        (one,) = there.values()
        name = one.path.relative_to(folder).as_posix()
        for c, pages in enumerate(files.pages):
            for number, page in enumerate(pages):
                t, z = divmod(number, files.planes)
                blocks.append(_block(name, c, z, t, page))
    else:
        for (t, z), one in there.items():
            blocks.append(_block(one.path.relative_to(folder).as_posix(), 0, z, t, 0))
    count = len(files.pages) or 1
    channels = "".join(f'<Channel ID="Channel:0:{c}" SamplesPerPixel="1"/>' for c in range(count))
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME '
        'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZTC" '
        f'Type="{kind}" SizeX="{width}" SizeY="{height}" SizeZ="{files.planes}" '
        f'SizeC="{count}" SizeT="{files.n_frames}">{channels}'
        f"{''.join(blocks)}</Pixels></Image></OME>"
    )


def _block(name: str, c: int, z: int, t: int, page: int) -> str:
    return (
        f'<TiffData FirstC="{c}" FirstZ="{z}" FirstT="{t}" IFD="{page}" PlaneCount="1">'
        f"<UUID FileName={quoteattr(name)}>{uuid5(NAMESPACE_URL, name).urn}</UUID></TiffData>"
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
