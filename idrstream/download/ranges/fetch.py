"""Take only the wanted frames of a remote movie, or say why the whole file is better."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from idrstream.download.modes import FetchMode, Traffic
from idrstream.download.protocol import RangeTransport, RemoteFile
from idrstream.errors import DownloadError, MovieError, TransientDownloadError
from idrstream.formats.cellh5.layout import channel_dataset, movie_info
from idrstream.formats.complete import HDF5_SUFFIXES, check_complete
from idrstream.formats.hdf5_ranges.btree import StoredChunk, find_chunks
from idrstream.formats.hdf5_ranges.errors import ChangedError
from idrstream.formats.hdf5_ranges.reader import RangeReader
from idrstream.formats.hdf5_ranges.small import Layout, SmallMovie, chunks_of_frames
from idrstream.formats.reader import MovieInfo
from idrstream.records import ImageTask

logger = logging.getLogger("idrstream.download")

FramesNeeded = Callable[[ImageTask, MovieInfo], Sequence[int]]

# Holds the groups and the first node of the chunk index of CellCognition's files.
HEAD_BYTES = 256 * 1024
_RESTARTS = 3
_MOST_OF_FRAMES = 1 / 3


@dataclass(frozen=True, slots=True)
class TakenFrames:
    """A small movie is on the disk.

    Attributes
    ----------
    frames : tuple of int
        The frames in it, counted from 1, ascending; those of the needed ones that the movie has.
    traffic : Traffic
        What it took.
    served_by : str
        Name of the transport that they came by; of a chain, of the link that did.
    """

    frames: tuple[int, ...]
    traffic: Traffic
    served_by: str


@dataclass(frozen=True, slots=True)
class TakeTheFile:
    """The whole file is the better or the only way.

    Attributes
    ----------
    reason : str
        Why, for the log.
    traffic : Traffic
        What it took to find out.
    """

    reason: str
    traffic: Traffic


def choose_way(n_needed: int, n_frames: int, size_bytes: int, missing_bytes: int) -> str | None:
    """Say why the whole file is better than some of its frames; None when it is not.

    What was moved to find out is spent either way and does not count. Past a third of the
    frames one long answer is quicker than many short ones.

    Parameters
    ----------
    n_needed, n_frames : int
        Frames needed and frames of the movie.
    size_bytes : int
        Size of the file.
    missing_bytes : int
        What remains to be moved for the frames; a small file may be all there by now.

    Returns
    -------
    str or None
        The reason.
    """
    if not missing_bytes:
        return None
    if n_needed > n_frames * _MOST_OF_FRAMES:
        return f"{n_needed} of {n_frames} frames are needed, more than a third"
    if missing_bytes >= size_bytes:
        return f"the {missing_bytes:,} bytes of the frames are no fewer"
    return None


def fetch_frames(
    transport: RangeTransport,
    remote: str,
    task: ImageTask,
    target: Path,
    frames_needed: FramesNeeded,
    *,
    mode: FetchMode = "auto",
) -> TakenFrames | TakeTheFile:
    """Write a small movie with the needed frames of a remote one.

    Parameters
    ----------
    transport : RangeTransport
        The way to the file.
    remote : str
        Path under the transport's root.
    task : ImageTask
        What the movie is for.
    target : Path
        The file to write; its folder exists. Same name and layout as the movie, all frames
        that were not needed never written.
    frames_needed : callable
        Says which, from the task and what the movie has.
    mode : {"auto", "frames"}
        ``frames`` never answers that the whole file is better.

    Returns
    -------
    TakenFrames or TakeTheFile
        The latter with nothing written.

    Raises
    ------
    DownloadError
        If the movie cannot be had; with ``frames`` also if only the whole file can.
    MovieError
        With ``frames``, if it is no CellH5 movie or damaged. With ``auto`` the whole file is
        asked for, so that both ways end in the same error.
    """
    if PurePosixPath(remote).suffix.lower() not in HDF5_SUFFIXES:
        return _whole(remote, "it is no HDF5 file by its name", Traffic(), mode)
    spent = Traffic()
    for _ in range(_RESTARTS):
        file = transport.open_ranges(remote, HEAD_BYTES)
        if file is None:
            return _whole(remote, "its source has no ranges", spent, mode)
        try:
            taken = _take(file, remote, task, target, frames_needed, mode=mode)
        except ChangedError as error:
            logger.info("%s: begun anew: %s", task.name, error)
            reason = str(error)
        except MovieError as error:
            if mode == "frames":
                raise
            return TakeTheFile(str(error), spent + _traffic(file))
        else:
            spent += _traffic(file)
            if isinstance(taken, str):
                return _whole(remote, taken, spent, mode)
            return TakenFrames(taken, spent, file.name)
        finally:
            file.close()
        spent += _traffic(file)
    msg = f"{remote} kept changing while it was read: {reason}"
    raise TransientDownloadError(msg)


def _whole(remote: str, reason: str, traffic: Traffic, mode: FetchMode) -> TakeTheFile:
    if mode == "frames":
        msg = f"{remote}: only the whole file can be had ({reason}); set fetch to auto or file"
        raise DownloadError(msg)
    return TakeTheFile(reason, traffic)


def _traffic(file: RemoteFile) -> Traffic:
    return Traffic(file.bytes_moved, file.requests)


def _take(
    file: RemoteFile,
    remote: str,
    task: ImageTask,
    target: Path,
    frames_needed: FramesNeeded,
    *,
    mode: FetchMode,
) -> tuple[int, ...] | str:
    """Write the small movie and return its frames, or say why the whole file is better."""
    reader = RangeReader(file)
    with _opened(reader, remote) as hdf5:
        dataset = channel_dataset(hdf5, Path(remote))
        if dataset.chunks is None:
            return "its pixels are not stored in chunks"
        info = movie_info(dataset, Path(remote))
        numbers = _within(frames_needed(task, info), info)
        readable = [number for number in numbers if info.valid[number - 1]]
        wanted = chunks_of_frames(dataset.shape, dataset.chunks, readable)
        chunks = find_chunks(dataset, reader, wanted)
        layout = Layout.of(dataset)
    _check_places(chunks, remote, file.size_bytes)
    missing = sum(item.size for item in reader.requests_for(chunk.place for chunk in chunks))
    reason = choose_way(len(numbers), info.n_frames, file.size_bytes, missing)
    if reason is not None and mode != "frames":
        return reason
    # h5py's lock is free again: other threads can read while the bytes come.
    with SmallMovie(target, layout, numbers) as movie:
        _copy(chunks, reader, movie)
    check_complete(target)
    return numbers


def _copy(chunks: Iterable[StoredChunk], reader: RangeReader, movie: SmallMovie) -> None:
    by_place = {chunk.place: chunk for chunk in chunks}
    for place, data in reader.read_ranges(by_place):
        chunk = by_place[place]
        movie.write_stored(chunk.coordinates, data, chunk.filter_mask)


def _within(numbers: Sequence[int], info: MovieInfo) -> tuple[int, ...]:
    return tuple(sorted({number for number in numbers if 1 <= number <= info.n_frames}))


def _check_places(chunks: Iterable[StoredChunk], remote: str, size_bytes: int) -> None:
    for chunk in chunks:
        if chunk.place.stop > size_bytes:
            msg = f"{remote} is cut off: a chunk lies behind its end, at {chunk.place.start:,}"
            raise MovieError(msg)


@contextmanager
def _opened(reader: RangeReader, remote: str) -> Iterator[Any]:
    """Open a remote HDF5 file; what went wrong beneath h5py is told as it was."""
    import h5py

    try:
        with h5py.File(reader, "r") as file:
            yield file
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError) as error:
        if reader.error is not None:
            raise reader.error from error
        msg = f"{remote} is damaged or no HDF5 file: {error}"
        raise MovieError(msg) from error
