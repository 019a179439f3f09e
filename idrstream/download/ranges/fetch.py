"""Fetch only the needed frames of a remote movie, or say why to fetch the whole file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from idrstream.download.modes import FetchMode, Traffic
from idrstream.download.protocol import FramesNeeded, RangeTransport, RemoteFile
from idrstream.errors import DownloadError, MovieError, TransientDownloadError
from idrstream.formats.cellh5.hdf5_guard import most_stored_bytes
from idrstream.formats.cellh5.layout import channel_dataset, movie_info
from idrstream.formats.complete import HDF5_SUFFIXES, check_complete
from idrstream.formats.hdf5_ranges.btree import StoredChunk, find_chunks
from idrstream.formats.hdf5_ranges.errors import RemoteFileChangedError
from idrstream.formats.hdf5_ranges.reader import RangeReader
from idrstream.formats.hdf5_ranges.small import Layout, SmallMovie, chunks_of_frames
from idrstream.formats.reader import MovieInfo
from idrstream.records import ImageTask

logger = logging.getLogger("idrstream.download")

# Holds the groups and the first node of the chunk index of CellCognition's files.
HEAD_BYTES = 256 * 1024
_RESTARTS = 3
_MOST_OF_FRAMES = 1 / 3


@dataclass(frozen=True, slots=True)
class FetchedFrames:
    """A small movie was written.

    Attributes
    ----------
    frames : tuple of int
        The frames in it, counted from 1, ascending: the needed ones that the movie has.
    traffic : Traffic
        Traffic of the download.
    served_by : str
        Name of the transport; of a chain, of the one that succeeded.
    """

    frames: tuple[int, ...]
    traffic: Traffic
    served_by: str


@dataclass(frozen=True, slots=True)
class WholeFileNeeded:
    """Nothing was written: fetch the whole file.

    Attributes
    ----------
    reason : str
        Why, for the log.
    traffic : Traffic
        Traffic so far.
    """

    reason: str
    traffic: Traffic


def reason_for_whole_file(
    n_needed: int, n_frames: int, size_bytes: int, missing_bytes: int
) -> str | None:
    """Return why to fetch the whole file instead of some frames; None to fetch the frames.

    Bytes received so far are spent either way and do not count. Beyond a third of the frames,
    one long request is faster than many short ones. `missing_bytes` are still to be received; 0
    for a small file that is all there.
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
    deep_verify: bool = False,
) -> FetchedFrames | WholeFileNeeded:
    """Write a small movie to `target` with the needed frames of a remote one.

    It has the layout of the movie; frames that were not needed are never written. With the mode
    ``frames`` the whole file is never asked for. `deep_verify` decodes the frames.

    Raises
    ------
    DownloadError
        If the movie cannot be read; with ``frames`` also if only the whole file can be fetched.
    MovieError
        With ``frames``, if it is not a CellH5 movie or damaged. With ``auto`` the whole file is
        asked for, which ends in the same error.
    """
    if PurePosixPath(remote).suffix.lower() not in HDF5_SUFFIXES:
        return _whole(remote, "its name is not that of an HDF5 file", Traffic(), mode)
    spent = Traffic()
    for _ in range(_RESTARTS):
        file = transport.open_ranges(remote, HEAD_BYTES)
        if file is None:
            return _whole(remote, "its source does not support ranges", spent, mode)
        try:
            numbers = _write_frames(file, remote, task, target, frames_needed, mode=mode)
            if deep_verify and not isinstance(numbers, str):
                _decode(target)
        except RemoteFileChangedError as error:
            logger.info("%s: started over: %s", task.name, error)
            reason = str(error)
        except MovieError as error:
            if mode == "frames":
                raise
            return WholeFileNeeded(str(error), spent + _traffic(file))
        else:
            spent += _traffic(file)
            if isinstance(numbers, str):
                return _whole(remote, numbers, spent, mode)
            return FetchedFrames(numbers, spent, file.name)
        finally:
            file.close()
        spent += _traffic(file)
    msg = f"{remote} kept changing while it was read: {reason}"
    raise TransientDownloadError(msg)


def _whole(remote: str, reason: str, traffic: Traffic, mode: FetchMode) -> WholeFileNeeded:
    if mode == "frames":
        msg = f"{remote}: only the whole file can be fetched ({reason}); set fetch to auto or file"
        raise DownloadError(msg)
    return WholeFileNeeded(reason, traffic)


def _traffic(file: RemoteFile) -> Traffic:
    return Traffic(file.bytes_moved, file.requests)


def _write_frames(
    file: RemoteFile,
    remote: str,
    task: ImageTask,
    target: Path,
    frames_needed: FramesNeeded,
    *,
    mode: FetchMode,
) -> tuple[int, ...] | str:
    """Write the small movie and return its frames, or the reason to fetch the whole file."""
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
        most = most_stored_bytes(dataset)
    _check_locations(chunks, remote, file.size_bytes, most)
    missing = sum(item.size for item in reader.requests_for(chunk.location for chunk in chunks))
    reason = reason_for_whole_file(len(numbers), info.n_frames, file.size_bytes, missing)
    if reason is not None and mode != "frames":
        return reason
    # h5py's lock is free again: other threads can read during the transfer.
    with SmallMovie(target, layout, numbers) as movie:
        _copy(chunks, reader, movie)
    check_complete(target)
    return numbers


def _decode(target: Path) -> None:
    from idrstream.formats.deep import decode_all

    try:
        decode_all(target)
    except MovieError:
        target.unlink(missing_ok=True)
        raise


def _copy(chunks: Iterable[StoredChunk], reader: RangeReader, movie: SmallMovie) -> None:
    by_location = {chunk.location: chunk for chunk in chunks}
    for location, data in reader.read_ranges(by_location):
        chunk = by_location[location]
        movie.write_stored(chunk.coordinates, data, chunk.filter_mask)


def _within(numbers: Sequence[int], info: MovieInfo) -> tuple[int, ...]:
    return tuple(sorted({number for number in numbers if 1 <= number <= info.n_frames}))


def _check_locations(
    chunks: Iterable[StoredChunk], remote: str, size_bytes: int, most: int
) -> None:
    """Raise unless chunks are in the file, of a possible size, and beside each other."""
    before = 0
    for location in sorted(chunk.location for chunk in chunks):
        if location.stop > size_bytes:
            msg = f"{remote} is truncated: a chunk lies beyond its end, at {location.start:,}"
            raise MovieError(msg)
        if location.size > most or location.start < before:
            msg = f"{remote} is damaged: a chunk of {location.size:,} bytes at {location.start:,}"
            raise MovieError(msg)
        before = location.stop


@contextmanager
def _opened(reader: RangeReader, remote: str) -> Iterator[Any]:
    """Open a remote HDF5 file; raise network errors as they are instead of as h5py errors."""
    import h5py

    try:
        with h5py.File(reader, "r") as file:
            yield file
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError) as error:
        if reader.error is not None:
            raise reader.error from error
        msg = f"{remote} is damaged or no HDF5 file: {error}"
        raise MovieError(msg) from error
