"""What goes through the network together: objects of frames in groups. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Crops:
    """Objects of one frame that are to be cut out.

    Attributes
    ----------
    pixels : NDArray of uint8 or float32
        The channels of the network, shape ``(C, Y, X)``.
    points : NDArray of float64
        Shape ``(n, 2)``, ``(y, x)`` in pixels.
    """

    pixels: NDArray[Any]
    points: NDArray[np.float64]


Group: TypeAlias = list[Crops]


def group_crops(crops: Sequence[Crops], count: int, *, pooled: bool) -> list[Group]:
    """Return what goes through the network together, in order.

    Parameters
    ----------
    crops : sequence of Crops
        Frames and their objects.
    count : int
        Objects of one group, at most.
    pooled : bool
        Whether a group may hold objects of several frames.
    """
    groups: list[Group] = []
    free = 0
    for one in crops:
        start = 0
        while start < len(one.points):
            if free == 0 or (start == 0 and not pooled):
                groups.append([])
                free = count
            stop = min(len(one.points), start + free)
            groups[-1].append(Crops(one.pixels, one.points[start:stop]))
            free -= stop - start
            start = stop
    return groups
