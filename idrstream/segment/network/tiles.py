"""Cutting an image into overlapping tiles, and blending what comes back. Pure functions.

Cellpose cuts squares of 224 pixels and places them so that they cover the image one and a fifth
times along each axis, and more where the sides are no multiple: a frame of 1344 x 1024 becomes 48
squares with 1.7 times its pixels. Here the tiles are rectangles of one size, as large as allowed
and no larger than needed to overlap by 32 pixels or more: 1.25 times its pixels. Like those of
Cellpose, the outer pixels of tiles count less where these overlap.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from idrstream.tiles.windows import SIDE_PX, STEP_PX

LARGEST_TILE_PX, OVERLAP_PX = SIDE_PX, SIDE_PX - STEP_PX
NO_OBJECT = -20.0
"""Cell probability, as the network gives it, where there is surely none."""
_MULTIPLE = 16  # the network halves an image three times
_TAPER_FROM_PX, _TAPER_WIDTH_PX = 20.0, 7.5  # Cellpose's


@dataclass(frozen=True, slots=True)
class TilePlan:
    """Where the tiles of one image lie.

    Attributes
    ----------
    shape : tuple of int
        ``(Y, X)`` of the image, multiples of 16.
    tile : tuple of int
        ``(Y, X)`` of every tile.
    corners : tuple of tuple of int
        ``(y, x)`` of the upper left pixel of each tile, row by row.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    corners: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        """Return the number of tiles."""
        return len(self.corners)


@lru_cache(maxsize=64)
def plan_tiles(
    shape: tuple[int, int], largest: int = LARGEST_TILE_PX, overlap: int = OVERLAP_PX
) -> TilePlan:
    """Return the plan for an image of a shape ``(Y, X)`` whose sides are multiples of 16."""
    (tile_y, starts_y), (tile_x, starts_x) = (_along(side, largest, overlap) for side in shape)
    corners = tuple((y, x) for y in starts_y for x in starts_x)
    return TilePlan(shape, (tile_y, tile_x), corners)


def cut_tile(image: NDArray[np.float32], plan: TilePlan, index: int) -> NDArray[np.float32]:
    """Return a view of one tile, shape ``plan.tile``, of an image of shape ``plan.shape``."""
    (y, x), (height, width) = plan.corners[index], plan.tile
    return image[y : y + height, x : x + width]


class TileBlend:
    """Gathers the tiles of one image into one array, blended where they overlap.

    Parameters
    ----------
    plan : TilePlan
        Where the tiles lie.
    channels : int
        How many values each pixel gets.
    dark : collection of int
        Tiles that are not added. Where only those lie there is nothing.
    """

    def __init__(self, plan: TilePlan, channels: int, dark: Collection[int] = ()) -> None:
        self._plan, self._dark = plan, frozenset(dark)
        self._weight = _taper(plan.tile)
        self._sum = np.zeros((channels, *plan.shape), np.float32)

    def add(self, index: int, values: NDArray[np.float32]) -> None:
        """Add what a tile became, shape ``(channels, *plan.tile)``."""
        (y, x), (height, width) = self._plan.corners[index], self._plan.tile
        if len(self._plan) == 1:
            self._sum[...] = values
        else:
            self._sum[:, y : y + height, x : x + width] += values * self._weight

    def result(self) -> NDArray[np.float32]:
        """Return the blended array, shape ``(channels, *plan.shape)``; once, at the end."""
        if len(self._plan) > 1 or self._dark:
            weight = _total_weight(self._plan, self._dark)
            nothing = weight == 0
            np.divide(self._sum, weight, out=self._sum, where=~nothing)
            self._sum[-1, nothing] = NO_OBJECT
        return self._sum


def _along(side: int, largest: int, overlap: int) -> tuple[int, list[int]]:
    if side <= largest:
        return side, [0]
    count = -(-(side - overlap) // (largest - overlap))
    tile = -(-(side + (count - 1) * overlap) // count)
    tile = -(-tile // _MULTIPLE) * _MULTIPLE
    return tile, [round(start) for start in np.linspace(0, side - tile, count)]


@lru_cache(maxsize=64)
def _taper(tile: tuple[int, int]) -> NDArray[np.float32]:
    sides = []
    for length in tile:
        distance = np.abs(np.arange(length) - (length - 1) / 2)
        edge = length / 2 - _TAPER_FROM_PX
        sides.append(1 / (1 + np.exp((distance - edge) / _TAPER_WIDTH_PX)))
    taper: NDArray[np.float32] = np.outer(*sides).astype(np.float32)
    return taper


@lru_cache(maxsize=1)  # as large as the image
def _total_weight(plan: TilePlan, dark: frozenset[int]) -> NDArray[np.float32]:
    weight = _taper(plan.tile)
    total = np.zeros(plan.shape, np.float32)
    for at, (y, x) in enumerate(plan.corners):
        if at in dark:
            continue
        total[y : y + plan.tile[0], x : x + plan.tile[1]] += weight
    return total
