"""How far a frame may be enlarged for the network: nuclei of given size are shown at one size."""

from __future__ import annotations

import math

from idrstream.errors import SegmentationError

_LARGEST_SCALE = 10.0  # of nuclei this much smaller than those it was trained on nothing is left
_MOST_PIXELS = 1 << 27  # of an enlarged frame: 4 GB of memory, minutes of one processor


def largest_scale(shape: tuple[int, ...]) -> float:
    """Return how many times a frame of shape ``(Y, X)`` may be enlarged, 1 or more."""
    return min(_LARGEST_SCALE, max(1.0, math.sqrt(_MOST_PIXELS / math.prod(shape))))


def smallest_diameter_px(usual_px: float, shape: tuple[int, ...] = (1, 1)) -> float:
    """Return the smallest diameter that a network for nuclei of `usual_px` can be asked for.

    Parameters
    ----------
    usual_px : float
        Diameter in pixels at which the network works.
    shape : tuple of int
        ``(Y, X)`` of the frame; by default one of any size.
    """
    return usual_px / largest_scale(shape)


def scaled_shape(shape: tuple[int, ...], scale: float) -> tuple[int, int]:
    """Return the shape ``(Y, X)`` of a frame as the network sees it.

    Raises
    ------
    idrstream.errors.SegmentationError
        If nothing would be left of it, or it would be enlarged too much.
    """
    rows, columns = shape
    height, width = int(rows * scale), int(columns * scale)
    if not (height and width):
        raise SegmentationError(f"a frame of {rows} x {columns} pixels is too small for its nuclei")
    if scale > largest_scale(shape) * 1.001:
        raise SegmentationError(
            f"a frame of {rows} x {columns} pixels (Y x X) would be enlarged {scale:.1f} times to "
            f"find its nuclei, which are too small; at most {largest_scale(shape):.1f} times"
        )
    return height, width
