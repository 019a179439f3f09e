"""CellH5 movies by h5py: only the chunks of the frames that are asked for are read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from idrstream.errors import FrameError, MovieError
from idrstream.formats.cellh5.hdf5_guard import check_chunk
from idrstream.formats.cellh5.layout import channel_dataset, movie_info, numbers_of
from idrstream.formats.movie_checks import (
    channel_to_read,
    frame_problem,
    hole,
    planes_to_read,
)
from idrstream.formats.projection import Projection, projected
from idrstream.formats.reader import BaseReader, ImageSizes, MovieInfo, Pixels
from idrstream.text import counted

FETCHED_FRAMES = "idrstream_fetched_frames"
"""Attribute of a file with only some frames of its movie: their numbers, counted from 1."""
FRAME_PROBLEMS = "idrstream_frame_problems"
"""Attribute of such a file: why frames have no pixels, as JSON, ``{"50": "reason"}``."""
CHANNEL_NAMES = "idrstream_channel_names"
"""Attribute of a file made of another format: the names of its channels, as a JSON list."""
_MAX_TEXT = 65_000


class CellH5Reader(BaseReader):
    """Reads CellH5 movies; for the parameters see `BaseReader`."""

    name = "cellh5"

    def info(self, path: Path) -> MovieInfo:
        """Return what the movie has; see `MovieReader.info`."""
        with self._open(path) as stored:
            return stored.info

    def read(self, path: Path, numbers: Sequence[int]) -> dict[int, Pixels | FrameError]:
        """Read frames; see `MovieReader.read`."""
        with self._open(path) as stored:
            return {number: stored.frame(number) for number in numbers}

    def sizes(self, path: Path) -> ImageSizes:
        """Return how many channels and planes a movie has; see `BaseReader.sizes`."""
        with self._open(path) as stored:
            n_channels, _, n_planes, _, _ = stored.dataset.shape
            return ImageSizes(1, n_channels, n_planes)

    def problems(self, path: Path, numbers: Sequence[int]) -> dict[int, FrameError]:
        """Return which frames have no pixels, without decoding any.

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
        channel = channel_to_read(path, n_channels, self.selection)
        planes = planes_to_read(path, n_planes, self.selection)
        info = replace(movie_info(dataset, path), channels=_names(file))
        how = self.selection.projection
        return _Stored(dataset, info, path, channel, planes, how, _fetched(file), _problems(file))


@dataclass(frozen=True, slots=True)
class _Stored:
    """The image data of one open file."""

    dataset: Any
    info: MovieInfo
    path: Path
    channel: int
    planes: range
    projection: Projection | None
    fetched: frozenset[int] | None
    problems: Mapping[str, str]

    def frame(self, number: int) -> Pixels | FrameError:
        problem = self.problem(number)
        if problem is not None:
            return problem
        return projected((self._plane(number, z) for z in self.planes), self.projection)

    def _plane(self, number: int, z: int) -> Pixels | FrameError:
        for coordinates in self._chunks(number - 1, z):
            bad = check_chunk(self.dataset, coordinates, f"frame {number} of {self.path}")
            if bad is not None:
                return bad
        try:
            pixels = self.dataset[self.channel, number - 1, z]
        except (OSError, RuntimeError, MemoryError) as error:
            return FrameError(f"frame {number} of {self.path} cannot be decoded: {error}")
        native = pixels.astype(self.info.dtype, copy=False)
        return hole(native, number, self.path) or np.ascontiguousarray(native)

    def problem(self, number: int) -> FrameError | None:
        problem = frame_problem(self.info, number, self.path)
        if problem is not None:
            return problem
        if self.fetched is not None and number not in self.fetched:
            return FrameError(f"frame {number} of {self.path} was not fetched from its source")
        if str(number) in self.problems:
            return FrameError(f"frame {number} of {self.path}: {self.problems[str(number)]}")
        missing, total = self._missing_chunks(number - 1)
        if missing:
            return FrameError(
                f"frame {number} of {self.path} was never written "
                f"({missing} of {counted(total, 'chunk')} missing)"
            )
        return None

    def _missing_chunks(self, t: int) -> tuple[int, int]:
        """Count the chunks of a frame that are not in the file, and all of them."""
        if self.dataset.chunks is None:
            return (1 if _is_unallocated(self.dataset) else 0), 1
        storage = self.dataset.id
        coordinates = [one for z in self.planes for one in self._chunks(t, z)]
        missing = sum(
            storage.get_chunk_info_by_coord(one).byte_offset is None for one in coordinates
        )
        return missing, len(coordinates)

    def _chunks(self, t: int, z: int) -> list[tuple[int, ...]]:
        """Return the first elements of the chunks that a plane is in."""
        chunks = self.dataset.chunks
        if chunks is None:
            return []
        index = (self.channel, t, z)
        fixed = [position // size * size for position, size in zip(index, chunks, strict=False)]
        rows, columns = (
            range(0, length, size) for length, size in zip(self.info.shape, chunks[3:], strict=True)
        )
        return [(*fixed, row, column) for row, column in product(rows, columns)]


def _is_unallocated(dataset: Any) -> bool:
    """Return whether a contiguous dataset has no space allocated in its file."""
    import h5py

    layout = dataset.id.get_create_plist().get_layout()
    return bool(layout == h5py.h5d.CONTIGUOUS and dataset.id.get_offset() is None)


def _fetched(file: Any) -> frozenset[int] | None:
    numbers = numbers_of(file, FETCHED_FRAMES)
    return None if numbers is None else frozenset(int(number) for number in numbers)


def _problems(file: Any) -> dict[str, str]:
    content = _json(file, FRAME_PROBLEMS) or {}
    return {str(number): str(reason) for number, reason in content.items()}


def _names(file: Any) -> tuple[str, ...]:
    return tuple(str(name) for name in _json(file, CHANNEL_NAMES) or ())


def _json(file: Any, name: str) -> Any:
    """Return an attribute that is JSON; None if there is none."""
    if name not in file.attrs:
        return None
    stored = file.attrs.get_id(name)
    if stored.dtype.kind != "S" or stored.dtype.itemsize > _MAX_TEXT or stored.shape:
        msg = f"attribute {name!r} is of type {stored.dtype}, shape {stored.shape}"
        raise ValueError(msg)
    return json.loads(bytes(file.attrs[name]))
