"""A small CellH5 file: a movie that contains only some of its frames."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import DownloadError
from idrstream.formats.cellh5.reader import CHANNEL_NAMES, FETCHED_FRAMES, FRAME_PROBLEMS

# Readers of CellH5, Bio-Formats among them, look for these groups.
_DEFINITIONS = ("image", "object", "feature")
_GZIP = 4
# Attributes of such files are limited to 64 KiB.
_REASON, _REASONS, _NAMES_BYTES = 300, 150, 60_000


def chunks_of_frames(
    shape: Sequence[int], chunks: Sequence[int], numbers: Iterable[int]
) -> Iterator[tuple[int, ...]]:
    """Yield the first element ``(c, t, z, y, x)`` of each chunk of some frames, counted from 1.

    `shape` and `chunks` are those of the dataset, in the same order of axes.
    """
    axes: list[Sequence[int]] = [
        range(0, length, step) for length, step in zip(shape, chunks, strict=True)
    ]
    axes[1] = sorted({(number - 1) // chunks[1] * chunks[1] for number in numbers})
    yield from product(*axes)


@dataclass(frozen=True, slots=True)
class Layout:
    """The storage of a movie's pixels.

    Attributes
    ----------
    group : str
        Path of the position's group.
    shape : tuple of int
        ``(c, t, z, y, x)``.
    dtype : numpy.dtype
        Type of the pixels, byte order included.
    creation : h5py.h5p.PropDCID
        HDF5's own description of chunks, filters and fill value.
    valid : NDArray or None
        The attribute ``valid``, as stored.
    """

    group: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    creation: Any
    valid: Any

    @classmethod
    def of(cls, dataset: Any) -> Layout:
        """Return the layout of a dataset; valid after its file is closed."""
        import h5py

        creation = dataset.id.get_create_plist().copy()
        creation.set_alloc_time(h5py.h5d.ALLOC_TIME_INCR)  # missing chunks take no space
        creation.set_obj_track_times(False)  # the same frames give the same bytes
        return cls(
            dataset.parent.parent.name,
            dataset.shape,
            dataset.dtype,
            creation,
            dataset.attrs.get("valid"),
        )

    @classmethod
    def new(
        cls, group: str, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: tuple[int, ...]
    ) -> Layout:
        """Return a layout with CellCognition's compression and all frames valid."""
        import h5py

        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk(chunks)
        creation.set_deflate(_GZIP)
        creation.set_obj_track_times(False)
        return cls(group, shape, dtype, creation, np.ones(shape[1]))


class SmallMovie:
    """Writes a small movie; a context manager.

    The file is written under a temporary name and renamed on success; on an error it is deleted.

    Parameters
    ----------
    target : Path
        The file to write; replaced if it exists.
    layout : Layout
        Storage of the pixels.
    frames : sequence of int
        The frames that will be written, counted from 1.

    Raises
    ------
    DownloadError
        By every method, if the file cannot be written.
    """

    def __init__(self, target: Path, layout: Layout, frames: Sequence[int]) -> None:
        self._target = target
        self._part = target.with_name(f"{target.name}.part")
        self._layout = layout
        self._frames = sorted(set(frames))
        self._file: Any = None
        self._dataset: Any = None

    def __enter__(self) -> SmallMovie:
        """Create the file with its groups and the empty dataset."""
        try:
            self._part.unlink(missing_ok=True)
            self._create()
        except OSError as error:
            self.__exit__(type(error))
            raise self._unwritable(error) from error
        return self

    def write_stored(self, coordinates: tuple[int, ...], data: bytes, filter_mask: int) -> None:
        """Write a chunk as stored in another file, with filters applied."""
        try:
            self._dataset.id.write_direct_chunk(coordinates, data, filter_mask)
        except OSError as error:
            raise self._unwritable(error) from error

    def explain(self, problems: Mapping[int, str]) -> None:
        """Record why frames have no pixels; readers report it instead of "never written"."""
        if problems:
            reasons = {str(number): text[:_REASON] for number, text in problems.items()}
            kept = dict(list(reasons.items())[:_REASONS])
            self._file.attrs[FRAME_PROBLEMS] = np.bytes_(json.dumps(kept))

    def name_channels(self, names: Sequence[str]) -> None:
        """Record the names of the movie's channels, for `MovieInfo.channels`."""
        text = json.dumps(list(names))
        if names and len(text) < _NAMES_BYTES:
            self._file.attrs[CHANNEL_NAMES] = np.bytes_(text)

    def write_plane(self, index: tuple[int, int, int], pixels: NDArray[Any]) -> None:
        """Write the plane at ``(c, t, z)``, shape ``(y, x)``."""
        try:
            self._dataset[index] = pixels
        except OSError as error:
            raise self._unwritable(error) from error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Rename the file, or delete it after an error."""
        try:
            if self._file is not None:
                self._file.close()
            if kind is None:
                with self._part.open("rb") as file:
                    os.fsync(file.fileno())
                self._part.replace(self._target)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            self._part.unlink(missing_ok=True)

    def _create(self) -> None:
        import h5py

        # The default library bounds give superblock version 0, as the archive's files have.
        self._file = h5py.File(self._part, "x")
        self._file.attrs[FETCHED_FRAMES] = np.array(self._frames, dtype=np.int64)
        for name in _DEFINITIONS:
            self._file.create_group(f"definition/{name}")
        layout = self._layout
        image = self._file.create_group(f"{layout.group}/image")
        space = h5py.h5s.create_simple(layout.shape)
        kind = h5py.h5t.py_create(layout.dtype)
        h5py.h5d.create(image.id, b"channel", kind, space, layout.creation)
        self._dataset = image["channel"]
        if layout.valid is not None:
            self._dataset.attrs["valid"] = layout.valid

    def _unwritable(self, error: OSError) -> DownloadError:
        return DownloadError(f"{self._target} cannot be written: {error}")
