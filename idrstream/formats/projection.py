"""From the planes of a z-stack to one image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import FrameError

Projection: TypeAlias = Literal["max", "mean", "sharpest"]


def projected(
    planes: Iterable[NDArray[Any] | FrameError], how: Projection | None
) -> NDArray[Any] | FrameError:
    """Return one image of the planes of a stack; no more than two are held at a time.

    Parameters
    ----------
    planes : iterable of NDArray or FrameError
        Shape ``(Y, X)`` each, uint8 or uint16.
    how : {"max", "mean", "sharpest"} or None
        The highest grey level of each pixel, the mean (rounded half up), or the plane with the
        largest variance of its Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in
        brightfield microscopy"), the first of equal ones. None for the one plane that there is.

    Returns
    -------
    NDArray or FrameError
        Shape ``(Y, X)`` in the type of the planes; the first error if a plane has no pixels.
    """
    best: NDArray[Any] | None = None
    total: Any = None
    highest, count = -1.0, 0
    for plane in planes:
        if isinstance(plane, FrameError):
            return plane
        count += 1
        if best is None:
            best = plane
        if how == "mean":  # 65,536 planes of 65,535 still fit
            total = plane.astype(np.uint32) if total is None else total + plane
        elif how == "max":
            best = np.maximum(best, plane)
        elif how == "sharpest":
            found = sharpness(plane)
            if found > highest:
                best, highest = plane, found
    if best is None:
        return FrameError("there are no planes to project")
    return best if total is None else ((total + count // 2) // count).astype(best.dtype)


def sharpness(plane: NDArray[Any]) -> float:
    """Return the variance of the Laplacian of a plane, shape ``(Y, X)``; 0 below 3 x 3 pixels."""
    if min(plane.shape) < 3:
        return 0.0
    grey = plane.astype(np.int32)
    centre = grey[1:-1, 1:-1]
    sides = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((sides - 4 * centre).var())
