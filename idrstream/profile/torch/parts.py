"""What goes through the network together: nuclei of images, cut into parts. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Crops:
    """Nuclei of one image that are to be cut out.

    Attributes
    ----------
    pixels : NDArray of uint8 or float32
        The image, shape ``(Y, X)``.
    points : NDArray of float64
        Shape ``(n, 2)``, ``(y, x)`` in pixels.
    """

    pixels: NDArray[Any]
    points: NDArray[np.float64]


Part: TypeAlias = list[Crops]


def split_parts(crops: Sequence[Crops], count: int, *, pooled: bool) -> list[Part]:
    """Return what goes through the network together, in order.

    Parameters
    ----------
    crops : sequence of Crops
        Images and their nuclei.
    count : int
        Nuclei of one part, at most.
    pooled : bool
        Whether a part may hold nuclei of several images.
    """
    parts: list[Part] = []
    free = 0
    for one in crops:
        start = 0
        while start < len(one.points):
            if free == 0 or (start == 0 and not pooled):
                parts.append([])
                free = count
            stop = min(len(one.points), start + free)
            parts[-1].append(Crops(one.pixels, one.points[start:stop]))
            free -= stop - start
            start = stop
    return parts
