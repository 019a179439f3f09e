"""CellH5 movies by h5py: only the chunks of the frames that are asked for are read.

Layout as CellCognition 1.5 writes it:
``/sample/<s>/plate/<p>/experiment/<w>/position/<n>/image/channel``, shape (c, t, z, y, x), with
an attribute ``valid`` of one number per frame. Plate and position are spelled differently by
different writers, so the groups are walked and no path is built.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice, product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import FrameError, MovieError
from idrstream.preprocess._hdf5_guard import MAX_FRAMES, check_chunk, check_storage
from idrstream.preprocess.reader import MovieInfo, Pixels

# Group names on the way to a position; between them come names that differ from file to file.
_LEVELS = ("sample", "plate", "experiment", "position")
_DTYPES = frozenset({"uint8", "uint16"})
_MAX_GROUPS = 10_000
FETCHED_FRAMES = "idrstream_fetched_frames"
"""Attribute of a file that was brought with some frames only: those frames, counted from 1."""
FRAME_PROBLEMS = "idrstream_frame_problems"
"""Attribute of such a file: why frames have no pixels, as JSON, ``{"50": "reason"}``."""
_MAX_PROBLEMS = 65_000


class CellH5Reader:
    """Reads CellH5 movies.

    Parameters
    ----------
    channel : int
        Channel to read, counted from 0.
    z : int, optional
        Plane to read, counted from 0; needed only for movies with several.
    """

    name = "cellh5"

    def __init__(self, *, channel: int = 0, z: int | None = None) -> None:
        self.channel = channel
        self.z = z

    def describe(self) -> dict[str, object]:
        """Return what changes a result."""
        return {"name": self.name, "channel": self.channel, "z": self.z}

    def info(self, path: Path) -> MovieInfo:
        """Return what the movie has; see `MovieReader.info`."""
        with self._open(path) as stored:
            return stored.info

    def read(self, path: Path, numbers: Sequence[int]) -> dict[int, Pixels | FrameError]:
        """Read frames; see `MovieReader.read`."""
        with self._open(path) as stored:
            return {number: stored.frame(number) for number in numbers}

    def problems(self, path: Path, numbers: Sequence[int]) -> dict[int, FrameError]:
        """Say which frames have no pixels, without decoding any.

        Parameters
        ----------
        path : Path
            The movie.
        numbers : sequence of int
            Frame numbers, counted from 1.

        Returns
        -------
        dict
            For each frame that is out of range, not valid or never written, the reason.

        Raises
        ------
        MovieError
            As for `info`.
        """
        with self._open(path) as stored:
            found = {number: stored.problem(number) for number in numbers}
        return {number: problem for number, problem in found.items() if problem is not None}

    def close(self) -> None:
        """Do nothing: files are closed after every call."""

    @contextmanager
    def _open(self, path: Path) -> Iterator[_Stored]:
        import h5py

        try:
            file = h5py.File(path, "r")
        except OSError as error:
            msg = (
                f"{path} cannot be opened as HDF5: {error}. If it is another format than CellH5, "
                'set reader = "bioformats"'
            )
            raise MovieError(msg) from error
        try:
            with file:
                yield self._stored(file, path)
        except (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError) as error:
            # What h5py raises on a file whose inner structure is damaged.
            msg = f"{path} is damaged: {error}"
            raise MovieError(msg) from error

    def _stored(self, file: Any, path: Path) -> _Stored:
        dataset = channel_dataset(file, path)
        n_channels, _, n_planes, _, _ = dataset.shape
        if not 0 <= self.channel < n_channels:
            msg = f"{path} has {n_channels} channel(s); channel {self.channel} is not among them"
            raise MovieError(msg)
        plane = plane_to_read(path, n_planes, self.z)
        info = movie_info(dataset, path)
        return _Stored(dataset, info, path, self.channel, plane, _fetched(file), _problems(file))


@dataclass(frozen=True, slots=True)
class _Stored:
    """The image data of one open file."""

    dataset: Any
    info: MovieInfo
    path: Path
    channel: int
    plane: int
    fetched: frozenset[int] | None
    problems: Mapping[str, str]

    def frame(self, number: int) -> Pixels | FrameError:
        problem = self.problem(number)
        if problem is not None:
            return problem
        for coordinates in self._chunks(number - 1):
            bad = check_chunk(self.dataset, coordinates, f"frame {number} of {self.path}")
            if bad is not None:
                return bad
        try:
            pixels = self.dataset[self.channel, number - 1, self.plane]
        except (OSError, RuntimeError, MemoryError) as error:
            return FrameError(f"frame {number} of {self.path} cannot be decoded: {error}")
        native = pixels.astype(self.info.dtype, copy=False)
        return hole(native, number, self.path) or np.ascontiguousarray(native)

    def problem(self, number: int) -> FrameError | None:
        problem = frame_problem(self.info, number, self.path)
        if problem is not None:
            return problem
        if self.fetched is not None and number not in self.fetched:
            return FrameError(f"frame {number} of {self.path} was not brought from its source")
        if str(number) in self.problems:
            return FrameError(f"frame {number} of {self.path}: {self.problems[str(number)]}")
        missing, total = self._missing_chunks(number - 1)
        if missing:
            return FrameError(
                f"frame {number} of {self.path} was never written "
                f"({missing} of {total} chunk(s) are missing)"
            )
        return None

    def _missing_chunks(self, t: int) -> tuple[int, int]:
        """Count the chunks of a frame that are not in the file, and all of them."""
        if self.dataset.chunks is None:
            return (1 if _is_unallocated(self.dataset) else 0), 1
        storage = self.dataset.id
        coordinates = self._chunks(t)
        missing = sum(
            storage.get_chunk_info_by_coord(one).byte_offset is None for one in coordinates
        )
        return missing, len(coordinates)

    def _chunks(self, t: int) -> list[tuple[int, ...]]:
        """Return the first elements of the chunks that a frame is in."""
        chunks = self.dataset.chunks
        if chunks is None:
            return []
        index = (self.channel, t, self.plane)
        fixed = [position // size * size for position, size in zip(index, chunks, strict=False)]
        rows, columns = (
            range(0, length, size) for length, size in zip(self.info.shape, chunks[3:], strict=True)
        )
        return [(*fixed, row, column) for row, column in product(rows, columns)]


def _fetched(file: Any) -> frozenset[int] | None:
    numbers = _numbers(file, FETCHED_FRAMES)
    return None if numbers is None else frozenset(int(number) for number in numbers)


def _problems(file: Any) -> dict[str, str]:
    if FRAME_PROBLEMS not in file.attrs:
        return {}
    stored = file.attrs.get_id(FRAME_PROBLEMS)
    if stored.dtype.kind != "S" or stored.dtype.itemsize > _MAX_PROBLEMS or stored.shape:
        msg = f"attribute {FRAME_PROBLEMS!r} is of type {stored.dtype}, shape {stored.shape}"
        raise ValueError(msg)
    content = json.loads(bytes(file.attrs[FRAME_PROBLEMS]))
    return {str(number): str(reason) for number, reason in content.items()}


def frame_problem(info: MovieInfo, number: int, path: Path) -> FrameError | None:
    """Say why a frame cannot be asked for, from what is known without reading it."""
    if not 1 <= number <= info.n_frames:
        return FrameError(
            f"frame {number} of a movie of {info.n_frames} in {path} (frames count from 1)"
        )
    if not info.valid[number - 1]:
        return FrameError(f"frame {number} of {path} is marked not valid by its writer")
    return None


def hole(pixels: Pixels, number: int, path: Path) -> FrameError | None:
    """Say that a frame reads as zeros throughout: not data, a camera has an offset."""
    if pixels.any():
        return None
    return FrameError(f"frame {number} of {path} reads as all zeros: it was never written")


def plane_to_read(path: Path, n_planes: int, z: int | None) -> int:
    """Return the plane to read of a movie with `n_planes`, counted from 0.

    Raises
    ------
    MovieError
        If there are several and none was chosen, or the chosen one is not there.
    """
    if z is None:
        if n_planes == 1:
            return 0
        msg = f"{path} has {n_planes} z-planes: set the reader's z to the plane to read, from 0"
        raise MovieError(msg)
    if not 0 <= z < n_planes:
        msg = f"{path} has {n_planes} z-plane(s); plane {z} is not among them"
        raise MovieError(msg)
    return z


def check_pixel_type(path: Path, dtype: str) -> None:
    """Raise `MovieError` for pixels that are neither uint8 nor uint16."""
    if dtype not in _DTYPES:
        msg = f"{path} has {dtype} pixels; only uint8 and uint16 movies are read"
        raise MovieError(msg)


def movie_info(dataset: Any, path: Path) -> MovieInfo:
    """Return what the movie in an image dataset has.

    Parameters
    ----------
    dataset : h5py.Dataset
        As `channel_dataset` returns it.
    path : Path
        The file, for messages.

    Returns
    -------
    MovieInfo
        Nothing of the pixels is read.

    Raises
    ------
    MovieError
        If the pixels are of a type or a number that no microscope writes, or the attribute
        ``valid`` does not fit.
    """
    _, n_frames, _, height, width = dataset.shape
    dtype = dataset.dtype.name
    check_pixel_type(path, dtype)
    check_storage(dataset, path)
    return MovieInfo(n_frames, (height, width), dtype, _valid(dataset, n_frames, path))


def channel_dataset(file: Any, path: Path) -> Any:
    """Return the only image dataset of an open file, refusing what reaches into other files.

    Parameters
    ----------
    file : h5py.File
        Open for reading; may be remote.
    path : Path
        The file, for messages.

    Returns
    -------
    h5py.Dataset
        Shape ``(c, t, z, y, x)``.

    Raises
    ------
    MovieError
        If there is no position with images, or more than one.
    """
    import h5py

    # Two are as bad as a thousand; hard links can make a small file look endless.
    found = list(islice(_positions(file, path, _LEVELS, "", count()), 5))
    if len(found) != 1:
        names = ", ".join(found) or "none"
        msg = f"{path} must have one position (plate, well, site) with images; it has: {names}"
        raise MovieError(msg)
    name = found[0]
    dataset = file[f"{name}/image/channel"]
    if not isinstance(dataset, h5py.Dataset) or len(dataset.shape or ()) != 5:
        msg = f"{path}: {name}/image/channel is not a (c, t, z, y, x) dataset"
        raise MovieError(msg)
    if dataset.is_virtual or dataset.external:
        msg = f"{path} keeps its pixels in other files; only movies in one file are read"
        raise MovieError(msg)
    return dataset


def _positions(
    group: Any, path: Path, levels: Sequence[str], prefix: str, visited: Iterator[int]
) -> Iterator[str]:
    """Yield the paths of all positions that have an image, from the group names of a level."""
    if next(visited) > _MAX_GROUPS:
        msg = f"{path} has more than {_MAX_GROUPS:,} groups: not one movie"
        raise MovieError(msg)
    if not levels:
        if _has(group, ("image", "channel"), path):
            yield prefix
        return
    if not _has(group, levels[:1], path):
        return
    level = group[levels[0]]
    for key in sorted(level):
        if _has(level, (key,), path) and _is_group(level, key):
            yield from _positions(
                level[key], path, levels[1:], f"{prefix}/{levels[0]}/{key}", visited
            )


def _has(group: Any, names: Sequence[str], path: Path) -> bool:
    for name in names:
        _refuse_links(group, name, path)
        if not isinstance(group, Mapping) or name not in group:
            return False
        group = group[name]
    return True


def _is_group(group: Any, name: str) -> bool:
    import h5py

    return isinstance(group[name], h5py.Group)


def _refuse_links(group: Any, name: str, path: Path) -> None:
    """Raise for a link that leads somewhere else, perhaps into another file."""
    import h5py

    if not isinstance(group, h5py.Group):
        return
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        msg = f"{path}: {name!r} is an external link to {link.filename}; open that movie itself"
        raise MovieError(msg)
    if isinstance(link, h5py.SoftLink):
        msg = f"{path}: {name!r} is a soft link; only groups that are in place are read"
        raise MovieError(msg)


def _is_unallocated(dataset: Any) -> bool:
    """Tell whether a contiguous dataset has no place in its file."""
    import h5py

    layout = dataset.id.get_create_plist().get_layout()
    return bool(layout == h5py.h5d.CONTIGUOUS and dataset.id.get_offset() is None)


def _valid(dataset: Any, n_frames: int, path: Path) -> tuple[bool, ...]:
    valid = _numbers(dataset, "valid")
    if valid is None:
        return (True,) * n_frames
    if valid.shape != (n_frames,):
        msg = f"{path}: attribute 'valid' has shape {valid.shape}, not one value per frame"
        raise MovieError(msg)
    return tuple(bool(value) for value in valid)


def _numbers(thing: Any, name: str) -> NDArray[Any] | None:
    """Return an attribute that is a list of numbers; texts and objects are not read at all."""
    if name not in thing.attrs:
        return None
    stored = thing.attrs.get_id(name)
    if stored.dtype.kind not in "biuf" or prod(stored.shape) > MAX_FRAMES:
        msg = f"attribute {name!r} is of type {stored.dtype}, shape {stored.shape}: not numbers"
        raise ValueError(msg)
    numbers: NDArray[Any] = np.atleast_1d(np.asarray(thing.attrs[name]))
    return numbers
