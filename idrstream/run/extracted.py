"""What was extracted of a table, and deletion of originals that are out."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from idrstream.compile.plates import PLATES, field_array, field_name
from idrstream.download import LocalTransport, TransportDownloader
from idrstream.download.channel_files import tasks_of_channels
from idrstream.download.plane_files import plane_files
from idrstream.errors import FrameError, IdrStreamError
from idrstream.files import flush
from idrstream.folder.locks import folder_lock
from idrstream.opening import inside
from idrstream.preprocess.planes import PlanesPreprocessor, planes_of
from idrstream.records import Movie
from idrstream.text import shorten_list

if TYPE_CHECKING:
    from idrstream.records import ImageTask
    from idrstream.run.components import Components, StreamPaths

log = logging.getLogger(__name__)

_UNREADABLE = (IdrStreamError, OSError, ValueError, KeyError, IndexError, RuntimeError)


class Extracted(NamedTuple):
    """How much of a table is in its plates.

    Attributes
    ----------
    images : int
        Images of the table: the sum of the next three.
    whole, partial, missing : int
        Images that are there with all planes, without some frames, and not at all.
    planes, missing_planes : int
        Planes that are there, and those of the missing frames.
    """

    images: int
    whole: int
    partial: int
    missing: int
    planes: int
    missing_planes: int

    def __str__(self) -> str:
        """Return the counts as text."""
        lines = [
            f"{self.images} images: {self.whole} with all planes, {self.partial} without some "
            f"frames, {self.missing} missing.",
            f"{self.planes} planes are out"
            + (f", {self.missing_planes} are not." if self.missing_planes else "."),
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Original:
    """A file that the table names, and what became of it; `kept` says why it is still there."""

    path: Path
    kept: str = ""


def count_extracted(folder: Path, tasks: Sequence[ImageTask]) -> Extracted:
    """Return how much of some images is in the plates of an output folder."""
    whole = partial = planes = missing_planes = 0
    for task in tasks:
        try:
            array, lacking = _field(folder, task)
        except _UNREADABLE:
            continue
        n_frames, per_frame = array.shape[0], int(np.prod(array.shape[1:3]))
        whole, partial = whole + (not lacking), partial + bool(lacking)
        planes += (n_frames - len(lacking)) * per_frame
        missing_planes += len(lacking) * per_frame
    missing = len(tasks) - whole - partial
    return Extracted(len(tasks), whole, partial, missing, planes, missing_planes)


def delete_originals(
    paths: StreamPaths, components: Components, tasks: Sequence[ImageTask]
) -> list[Original]:
    """Delete the local files that rows of a table name, if all their planes are extracted.

    Every plane of a file is read again and compared with the plate, which is flushed to the disk
    before. A file is kept if anything differs or is missing, if it has images that are not in
    the table or refers to other files, if it is reached through a link, or if it is not a regular
    file on a local or mounted disk.

    Parameters
    ----------
    paths : StreamPaths
        Folders of the stream.
    components : Components
        Of a run that extracts.
    tasks : sequence of ImageTask
        All images of the table.

    Returns
    -------
    list of Original
        Every local file that the table names.

    Raises
    ------
    LockedError
        If a stream is running in the output folder.
    """
    with folder_lock(paths.folder, "final_data_dir"):
        users: dict[Path, list[ImageTask]] = {}
        movies: dict[int, Movie] = {}
        elsewhere: list[str] = []
        for task in tasks:
            movie = _local_movie(components.downloader, task)
            if movie is None:
                elsewhere.append(task.name)
                continue
            movies[task.row] = movie
            for file in movie.files:
                users.setdefault(file.path, []).append(task)
        if elsewhere:
            log.warning(
                "%d images are not in local files that the table names one by one, and stay as "
                "they are: %s", len(elsewhere), shorten_list(elsewhere, 5),
            )  # fmt: skip
        results: list[Original] = []
        known: dict[int, str] = {}  # why the files of a row are kept
        for path, wanting in users.items():
            before = _identity(path)
            reason = _unfit(path, before, paths)
            for task in wanting if not reason else ():
                if task.row not in known:
                    known[task.row] = _difference(
                        paths.folder, components.preprocessor, movies[task.row], users
                    )
                reason = reason or known[task.row]
            if not reason and _identity(path) != before:
                reason = "it changed meanwhile"
            if not reason:
                path.unlink()
                log.info("Deleted %s, all of whose planes are extracted", path)
            results.append(Original(path, reason))
        return results


def _field(folder: Path, task: ImageTask) -> tuple[Any, list[int]]:
    """Return the array of an image and the frames that are missing in it."""
    import zarr

    group: Any = zarr.open_group(inside(folder, f"{PLATES}/{field_name(task)}"), mode="r")
    return group["0"], list(group.attrs["idrstream"]["missing_frames"])


def _local_movie(downloader: Any, task: ImageTask) -> Movie | None:
    """Return the movie of an image where it is on a local disk; None if it is elsewhere."""
    if not isinstance(downloader, TransportDownloader):
        return None
    try:
        if channels := tasks_of_channels(task):
            found = {name: _local_movie(downloader, one) for name, one in channels.items()}
            known = {name: movie for name, movie in found.items() if movie is not None}
            if len(known) < len(found):
                return None
            first = next(iter(known.values()))
            return Movie(first.path, task, "local", channels=known)
        if plane_files(task) is not None or downloader.is_zarr(task):
            return None
        transport, remote, _ = downloader.resolve(task)
        if not isinstance(transport, LocalTransport):
            return None
        return Movie(Path(transport.path(remote)).absolute(), task, "local")
    except IdrStreamError:
        return None


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _unfit(path: Path, identity: tuple[int, ...] | None, paths: StreamPaths) -> str:
    """Return why a file is not to be deleted whatever is in it; empty if nothing speaks against."""
    if identity is None:
        return "it is no regular file"
    if path.resolve() != path:
        return "it is reached through a link"
    for own in (paths.folder, paths.tmp_dir):
        if own.resolve() in path.parents:
            return f"it is in {own}, where the stream writes"
    return ""


def _difference(
    folder: Path, preprocessor: Any, movie: Movie, users: dict[Path, list[ImageTask]]
) -> str:
    """Return in what an original differs from its field; empty if all planes are the same."""
    assert isinstance(preprocessor, PlanesPreprocessor)  # noqa: S101, of a run that extracts
    name = field_name(movie.task)
    try:
        planes = planes_of(preprocessor.reader, movie)
        for path in {channel.path for channel in planes.channels}:
            reader = next(one.reader for one in planes.channels if one.path == path)
            sizes = reader.sizes(path)
            sites = {(task.plate, task.well_number, task.site) for task in users[path]}
            if sizes.n_images != len(sites):
                return f"it has {sizes.n_images} images, the table {len(sites)} of them"
            if sizes.n_files != 1:
                return "its image is in several files, or that is not known"
        array = field_array(folder, name)
        if array.shape[0] != planes.info.n_frames or array.dtype.name != planes.info.dtype:
            return f"{name} has other frames or pixels"
        for number in range(1, planes.info.n_frames + 1):
            pixels = planes.read([number])[number]
            if isinstance(pixels, FrameError):
                return str(pixels)
            if not np.array_equal(array[number - 1], pixels.reshape(array.shape[1:])):
                return f"{name} differs in frame {number}"
        for root, _, files in os.walk(inside(folder, f"{PLATES}/{name}")):
            for file in (*files, ""):
                flush(Path(root, file))
    except _UNREADABLE as error:
        return f"it cannot be compared with {name}: {error}"
    return ""
