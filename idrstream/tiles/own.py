"""Which tile owns an object: the one that holds its centroid. Pure functions.

Neighbours see the same object in their overlap, each completely. The cores of the tiles cover the
image without overlap, so exactly one of them keeps it, and none needs to know the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.records import Objects, Tile


def owned(table: NDArray[Any], tile: Tile) -> NDArray[np.bool_]:
    """Return which objects of a tile are its own.

    Parameters
    ----------
    table : NDArray
        As `Objects.table`, in pixels of the tile.
    tile : Tile
        Where it lies.
    """
    y, x = table["y"] + tile.region.top, table["x"] + tile.region.left
    top, left, bottom, right = tile.core
    # A pixel reaches half a pixel around its centre. Both sides of a border compute the same
    # centroid: a quotient of integers that lies on it is exact.
    mine: NDArray[np.bool_] = (
        (y >= top - 0.5) & (y < bottom - 0.5) & (x >= left - 0.5) & (x < right - 0.5)
    )
    return mine


def at_image_border(table: NDArray[Any], tile: Tile) -> NDArray[np.bool_]:
    """Return which objects reach the border of the whole image."""
    (height, width), (image_height, image_width) = tile.region.shape, tile.image
    top, left, bottom, right = tile.region
    sides = (
        ("top", 0, top == 0),
        ("left", 0, left == 0),
        ("bottom", height, bottom == image_height),
        ("right", width, right == image_width),
    )
    reached: NDArray[np.bool_] = np.zeros(len(table), np.bool_)
    for name, border, is_image in sides:
        if is_image:
            reached |= table[name] == border
    return reached


def kept(objects: Objects, keep: NDArray[np.bool_]) -> Objects:
    """Return some of the objects of a frame, numbered anew from 1 in the same order.

    Parameters
    ----------
    objects : Objects
        The objects, of all kinds; their labels are not changed.
    keep : NDArray of bool
        Shape ``(n,)``: which of them.
    """
    largest = max(int(of.labels.max(initial=0)) for of in objects.kinds)
    numbers = np.zeros(largest + 1, np.int32)
    numbers[objects.table["label"][keep]] = np.arange(1, int(keep.sum()) + 1)

    def only(of: Objects) -> Objects:
        table = of.table[keep]
        table["label"] = np.arange(1, len(table) + 1)
        outlines = of.outlines
        if outlines is not None:
            outlines = tuple(one for one, there in zip(outlines, keep, strict=True) if there)
        return replace(of, labels=numbers[of.labels], table=table, outlines=outlines)

    children = None if objects.children is None else objects.children[keep]
    related = tuple(map(only, objects.related))
    return replace(only(objects), related=related, children=children)


def global_points(points: NDArray[np.float64], tile: Tile) -> NDArray[np.float64]:
    """Return positions ``(y, x)`` of a tile in pixels of the whole image, shape ``(n, 2)``."""
    shifted: NDArray[np.float64] = points + np.array([tile.region.top, tile.region.left], float)
    return shifted


def own_objects(objects: Objects, tile: Tile) -> Objects:
    """Return the objects that a tile owns; the others are kept as `Objects.of_neighbours`."""
    mine = owned(objects.table, tile)
    return replace(kept(objects, mine), of_neighbours=objects.table[~mine])
