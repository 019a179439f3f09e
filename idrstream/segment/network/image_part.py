"""Parts of a large image as the network sees them, through windows fixed to the whole image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from idrstream.segment.network.scale import scaled_shape
from idrstream.segment.network.tiles import OVERLAP_PX, TilePlan
from idrstream.tiles.windows import SIDE_PX, STEP_PX, Windows

_SURE_PX = 4  # a smoothed pixel so far from the border of a part is that of the whole image


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A part of a larger image.

    Attributes
    ----------
    pixels : NDArray of float32
        Shape ``(Y, X)``, or ``(2, Y, X)`` of two channels; as the network wants them.
    corner : tuple of int
        ``(y, x)`` of its upper left pixel in the whole image.
    image : tuple of int
        ``(Y, X)`` of the whole image.
    scale : float
        Pixels that the network sees for each of the image.
    bright : NDArray of bool, optional
        Shape ``(Y, X)``: pixels of objects, roughly. Windows without any are not looked at.
    """

    pixels: NDArray[np.float32]
    corner: tuple[int, int]
    image: tuple[int, int]
    scale: float
    bright: NDArray[np.bool_] | None = None


class _Between(NamedTuple):
    """Positions between two pixels each: ``(1 - part) * low + part * high``."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    part: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Axis:
    """How one axis of a part is seen."""

    windows: Windows
    first: int
    last: int
    start: int  # of the part, in pixels of the image
    length: int

    @classmethod
    def of(cls, part: ImagePart, axis: int) -> _Axis:
        windows = Windows(part.image[axis], part.scale)
        start, length = part.corner[axis], part.pixels.shape[axis - 2]
        return cls(windows, *windows.within(start, start + length), start, length)

    @property
    def seen(self) -> tuple[int, int]:
        """The pixels that the network sees of the image, from the first to the last window's."""
        stop = self.windows.start(self.last) + SIDE_PX
        return max(0, self.windows.start(self.first)), min(self.windows.seen, stop)

    @property
    def inside(self) -> slice:
        """Where those lie in the windows."""
        first, stop = (at - self.windows.start(self.first) for at in self.seen)
        return slice(first, stop)

    @property
    def side(self) -> int:
        """Pixels of all windows together."""
        return STEP_PX * (self.last - self.first) + SIDE_PX

    def forth(self) -> _Between:
        """Return how the pixels that the network sees lie between those of the part."""
        centres = (np.arange(*self.seen) + 0.5) / self.windows.scale - 0.5
        return _between(centres, self.windows.length, self.start, self.length)

    def back(self) -> _Between:
        """Return how the pixels of the part lie between those that the network sees."""
        centres = (np.arange(self.start, self.start + self.length) + 0.5) * self.windows.scale - 0.5
        first, stop = self.seen
        return _between(centres, self.windows.seen, first, stop - first)

    def sure(self, window: int) -> slice:
        """Return the part's pixels in a window, but for those at its border."""
        start = self.windows.start(window) / self.windows.scale - self.start
        stop = start + SIDE_PX / self.windows.scale
        border = min(_SURE_PX, int(OVERLAP_PX / 2 / self.windows.scale))
        begin = max(0, math.floor(start) + border) if window else 0
        whole = window == self.windows.count - 1
        return slice(begin, None if whole else max(0, math.ceil(stop) - border))


@dataclass(frozen=True, slots=True)
class View:
    """What the network sees of an image or of a part of one, and the way back.

    Attributes
    ----------
    planes : NDArray of float32
        Shape ``(C, Y, X)``: all tiles, or windows; 0 outside of the image.
    inside : tuple of slice
        Where the image lies in it.
    plan : TilePlan
        Where the tiles lie in it.
    dark : frozenset of int
        Tiles that need not be looked at.
    axes : tuple of _Axis
        Of a part: how its ``(Y, X)`` are seen; else empty.
    """

    planes: NDArray[np.float32]
    inside: tuple[slice, slice]
    plan: TilePlan
    dark: frozenset[int] = frozenset()
    axes: tuple[_Axis, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether the network need not look at anything."""
        return len(self.dark) == len(self.plan)

    def back(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values of the network, shape ``(3, y, x)``, at the part's pixels."""
        y, x = self.axes
        return _interpolated(values, y.back(), x.back())


def part_view(part: ImagePart) -> View:
    """Return a part as the network sees it.

    Raises
    ------
    idrstream.errors.SegmentationError
        If it would be reduced to nothing or enlarged too much.
    """
    planes = part.pixels.reshape(-1, *part.pixels.shape[-2:])
    scaled_shape(planes.shape[1:], part.scale)
    axes = y, x = _Axis.of(part, 0), _Axis.of(part, 1)
    places = list(product(range(y.first, y.last + 1), range(x.first, x.last + 1)))
    dark = frozenset(
        at
        for at, (row, column) in enumerate(places)
        if part.bright is not None and not part.bright[y.sure(row), x.sure(column)].any()
    )
    corners = tuple(
        (STEP_PX * (row - y.first), STEP_PX * (column - x.first)) for row, column in places
    )
    plan = TilePlan((y.side, x.side), (SIDE_PX, SIDE_PX), corners)
    whole = np.zeros((len(planes), *plan.shape), np.float32)
    if len(dark) < len(places):
        whole[:, y.inside, x.inside] = _interpolated(planes, y.forth(), x.forth())
    return View(whole, (y.inside, x.inside), plan, dark, axes)


def _between(centres: NDArray[np.floating], length: int, start: int, count: int) -> _Between:
    """Return the neighbours of positions along an axis of an image, of which a part is there."""
    # In pixels of the whole image, so that every part comes to the same weights.
    centres = np.clip(centres, 0, length - 1)
    low = np.floor(centres)
    low_at = np.clip(low.astype(np.intp) - start, 0, count - 1)
    high_at = np.minimum(low_at + 1, count - 1)
    return _Between(low_at, high_at, (centres - low).astype(np.float32))


def _interpolated(planes: NDArray[np.float32], y: _Between, x: _Between) -> NDArray[np.float32]:
    """Return planes ``(C, Y, X)`` at positions along both axes, bilinearly."""
    from idrstream.segment.network.bilinear import interpolate  # numba takes 100 MB

    found: NDArray[np.float32] = np.empty((len(planes), len(y.low), len(x.low)), np.float32)
    for plane, here in zip(planes, found, strict=True):
        interpolate(np.ascontiguousarray(plane), *y, *x, here)
    return found
