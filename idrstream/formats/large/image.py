"""An image of which rectangles are read, whatever its size."""

from __future__ import annotations

import math
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import MovieError
from idrstream.records import Box
from idrstream.workers.steps import count_read

MOST_SIDE_PX = 1 << 20
MOST_CHANNELS = 1024
MOST_CHUNK_BYTES = 256 << 20
KEPT_BYTES = 128 << 20
"""Decoded chunks that neighbouring tiles share; the oldest are dropped."""

Key = tuple[int, int, int]
"""Channel, row and column of a chunk."""


@dataclass(frozen=True, slots=True)
class LargeInfo:
    """What an image has, without its pixels.

    Attributes
    ----------
    shape : tuple of int
        ``(Y, X)`` in pixels.
    dtype : str
        ``uint8`` or ``uint16``.
    channels : tuple of str
        Names of the channels; empty where the file gives none.
    chunk : tuple of int
        ``(Y, X)`` of the rectangles that its pixels are stored in.
    pixel_um : float
        Side of a pixel in micrometres; NaN if unknown.
    """

    shape: tuple[int, int]
    dtype: str
    channels: tuple[str, ...]
    chunk: tuple[int, int]
    pixel_um: float = math.nan

    def check(self, where: str) -> None:
        """Raise `MovieError` if the file states what no microscope's image has."""
        problem = ""
        if self.dtype not in ("uint8", "uint16"):
            problem = f"it has {self.dtype} pixels; only uint8 and uint16 are read"
        elif not all(1 <= side <= MOST_SIDE_PX for side in self.shape):
            problem = f"it states {self.shape[0]} x {self.shape[1]} pixels"
        elif not 1 <= len(self.channels) <= MOST_CHANNELS:
            problem = f"it states {len(self.channels)} channels"
        elif min(self.chunk) < 1 or (
            math.prod(self.chunk) * np.dtype(self.dtype).itemsize > MOST_CHUNK_BYTES
        ):
            problem = (
                f"its pixels are stored in pieces of {self.chunk[0]} x {self.chunk[1]}, too large "
                "to read a part of it: write it as a tiled TIFF or OME-Zarr"
            )
        if problem:
            raise MovieError(f"{where}: {problem}")

    def channel(self, key: str, where: str) -> int:
        """Return the number of a channel, given its number or its name in the file.

        Raises
        ------
        idrstream.errors.MovieError
            If there is none, or several of that name.
        """
        names = [name.casefold() for name in self.channels]
        found = [number for number, name in enumerate(names) if name and name == key.casefold()]
        if not found and key.isdecimal() and int(key) < len(names):
            return int(key)
        if len(found) != 1:
            shown = ", ".join(f"{n}={name}" for n, name in enumerate(self.channels))
            count = "several channels" if found else "no channel"
            raise MovieError(f"{where} has {count} {key!r}; there are {shown}")
        return found[0]


class Chunks(Protocol):
    """Where the chunks of an image come from."""

    def read(self, keys: Sequence[Key]) -> Iterable[tuple[Key, NDArray[Any]]]:
        """Yield chunks with their pixels, shape ``(Y, X)``; those that are not stored are zeros."""
        ...

    @property
    def bytes_moved(self) -> int:
        """Bytes received so far."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class LargeImage:
    """An image of which rectangles are read; safe to use from several threads.

    Chunks that neighbouring tiles need, too, are kept, as far as `kept_bytes` allow.

    Parameters
    ----------
    info : LargeInfo
        What it has.
    chunks : Chunks
        Where its pixels come from.
    where : str
        Its path or address, for messages.
    kept_bytes : int
        Most bytes of kept chunks.
    """

    def __init__(
        self, info: LargeInfo, chunks: Chunks, where: str, *, kept_bytes: int = KEPT_BYTES
    ) -> None:
        info.check(where)
        self.info = info
        self.where = where
        self._chunks = chunks
        self._lock = threading.Lock()
        self._most_bytes = kept_bytes
        self._kept: OrderedDict[Key, NDArray[Any]] = OrderedDict()
        self._kept_bytes = 0
        self._end = weakref.finalize(self, chunks.close)  # a thread may read what others dropped

    @property
    def bytes_moved(self) -> int:
        """Bytes received so far."""
        return self._chunks.bytes_moved

    def read(self, channels: Sequence[int], box: Box, alone: Box | None = None) -> NDArray[Any]:
        """Return a rectangle of some channels.

        Parameters
        ----------
        channels : sequence of int
            Their numbers, counted from 0.
        box : Box
            The rectangle, within the image.
        alone : Box, optional
            The part of it that nobody else reads: chunks that reach beyond are kept.

        Returns
        -------
        NDArray
            Shape ``(C, Y, X)``, uint8 or uint16.

        Raises
        ------
        idrstream.errors.MovieError, idrstream.errors.DownloadError
            If it cannot be read.
        """
        pixels = np.zeros((len(channels), *box.shape), self.info.dtype)
        wanted: dict[Key, list[int]] = {}
        for place, channel in enumerate(channels):
            for row, column in self._chunks_in(box):
                wanted.setdefault((channel, row, column), []).append(place)
        with self._lock:
            before = self._chunks.bytes_moved
            for key, chunk in self._read(list(wanted)):
                inside, at = self._where(key, box, chunk)
                for place in wanted[key]:
                    pixels[(place, *at)] = chunk[inside]
                # What was never written costs nothing to read again.
                if alone is not None and not self._lies_in(key, alone) and chunk.any():
                    self._keep(key, chunk)
            count_read(self._chunks.bytes_moved - before)
        return pixels

    def close(self) -> None:
        """Release the file and the kept chunks."""
        with self._lock:
            self._kept.clear()
            self._kept_bytes = 0
            self._end()

    def _read(self, keys: Sequence[Key]) -> Iterator[tuple[Key, NDArray[Any]]]:
        known = [(key, self._kept[key]) for key in keys if key in self._kept]
        yield from known
        there = {key for key, _ in known}
        absent = [key for key in keys if key not in there]
        if absent:
            yield from self._chunks.read(absent)

    def _keep(self, key: Key, chunk: NDArray[Any]) -> None:
        if key not in self._kept:
            self._kept[key] = chunk
            self._kept_bytes += chunk.nbytes
        self._kept.move_to_end(key)
        while self._kept_bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.nbytes

    def _chunks_in(self, box: Box) -> Iterator[tuple[int, int]]:
        height, width = self.info.chunk
        for row in range(box.top // height, -(-box.bottom // height)):
            for column in range(box.left // width, -(-box.right // width)):
                yield row, column

    def _box(self, key: Key) -> Box:
        (_, row, column), (height, width) = key, self.info.chunk
        return Box(row * height, column * width, (row + 1) * height, (column + 1) * width)

    def _where(
        self, key: Key, box: Box, chunk: NDArray[Any]
    ) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return what of a chunk lies in a rectangle, as an index of either."""
        of = self._box(key)
        top, left = max(of.top, box.top), max(of.left, box.left)
        bottom = min(of.top + chunk.shape[0], box.bottom)
        right = min(of.left + chunk.shape[1], box.right)
        both = Box(top, left, bottom, right)
        return _moved(both, of).slices, _moved(both, box).slices

    def _lies_in(self, key: Key, box: Box) -> bool:
        of = self._box(key)
        bottom, right = min(of.bottom, self.info.shape[0]), min(of.right, self.info.shape[1])
        above = box.top <= of.top and box.left <= of.left
        return above and bottom <= box.bottom and right <= box.right


def _moved(box: Box, origin: Box) -> Box:
    top, left = origin.top, origin.left
    return Box(box.top - top, box.left - left, box.bottom - top, box.right - left)
