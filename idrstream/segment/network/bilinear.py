"""Bilinear interpolation at any positions of a plane.

OpenCV's ``resize`` takes no offset, and its ``remap`` rounds positions to 1/32 of a pixel.
"""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(
    "(float32[:,::1], int64[::1], int64[::1], float32[::1],"
    " int64[::1], int64[::1], float32[::1], float32[:,::1])",
    nogil=True,
)
def interpolate(
    plane: Any, above: Any, below: Any, down: Any, left: Any, right: Any, along: Any, found: Any
) -> None:
    """Fill `found` with values between two rows and two columns each, in single precision."""
    for row in range(len(above)):
        upper, lower, part = plane[above[row]], plane[below[row]], down[row]
        for column in range(len(left)):
            low, high = left[column], right[column]
            first = upper[low] + (lower[low] - upper[low]) * part
            second = upper[high] + (lower[high] - upper[high]) * part
            found[row, column] = first + (second - first) * along[column]
