"""What holds for a whole image is measured on a sample of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from idrstream.records import Box, GreyLevels

if TYPE_CHECKING:
    from idrstream.formats.large.image import LargeImage

_SAMPLE_PX = 1 << 22
_MOST_SAMPLE_PX = 40_000_000  # of one that is finer: 80 MB
_NOBODYS = Box(0, 0, 0, 0)  # tiles need all that is read, too: it is kept for them
_LEAST_PX, _MOST_PX = 192, 512  # side of a window; `blank_level` needs 151


class WholeImage(NamedTuple):
    """What holds for all tiles of an image.

    Attributes
    ----------
    levels : GreyLevels or None
        Of the channel that is segmented; None: each tile by itself.
    diameter_px : float
        Usual diameter of the objects; NaN if it is not known.
    others : tuple of GreyLevels or None
        Of the segmentor's other channels.
    cell_diameter_px : float
        Usual diameter of the cells around the objects; NaN if it is not known.
    scale : float
        Pixels that the network sees for each of the image, if it looks through `Windows`; else NaN.
    """

    levels: GreyLevels | None = None
    diameter_px: float = math.nan
    others: tuple[GreyLevels | None, ...] = ()
    cell_diameter_px: float = math.nan
    scale: float = math.nan


@dataclass(frozen=True, slots=True)
class ImageSample:
    """Windows of one channel, evenly spread over the image, at full resolution.

    Attributes
    ----------
    windows : tuple of NDArray
        Each of the shape ``(Y, X)``, all of one size; a small image is one window.
    around : callable
        Returns a square of so many pixels around a window, given its position and the side.
    others : tuple of ImageSample
        The same of the segmentor's other channels.
    """

    windows: tuple[NDArray[Any], ...]
    around: Callable[[int, int], NDArray[Any]]
    others: tuple[ImageSample, ...] = ()


def take_sample(
    image: LargeImage, channel: int, others: Sequence[int] = (), finer: int = 1
) -> ImageSample:
    """Read the sample of a channel: about four million pixels, and as many of each other.

    `finer` times as many windows along each axis find smaller things; they are smaller, but of 192
    pixels at least, so there are more pixels then: up to 40 million.
    """
    beside = tuple(take_sample(image, other, finer=finer) for other in others)
    height, width = image.info.shape
    if height * width <= _SAMPLE_PX:
        (whole,) = image.read([channel], Box(0, 0, height, width), _NOBODYS)
        return ImageSample((whole,), lambda _at, _side: whole, beside)
    chunk = min(image.info.chunk)
    side = min(max(chunk, _LEAST_PX), _MOST_PX)
    count = finer * max(2, round(math.sqrt(_SAMPLE_PX) / side))
    side = max(side // finer, _LEAST_PX)
    count = min(count, math.isqrt(_MOST_SAMPLE_PX) // side)
    rows, columns = (
        _starts(length, side, min(count, max(2, math.ceil(length / side))), chunk)
        for length in (height, width)
    )
    boxes = [Box(y, x, min(y + side, height), min(x + side, width)) for y in rows for x in columns]

    def around(at: int, side: int) -> NDArray[Any]:
        box = boxes[at]
        top, left = (
            min(max(0, (start + stop - side) // 2), max(0, length - side))
            for start, stop, length in (
                (box.top, box.bottom, height),
                (box.left, box.right, width),
            )
        )
        box = Box(top, left, min(top + side, height), min(left + side, width))
        found: NDArray[Any] = image.read([channel], box, _NOBODYS)[0]
        return found

    windows = tuple(image.read([channel], box, _NOBODYS)[0] for box in boxes)
    return ImageSample(windows, around, beside)


def _starts(length: int, side: int, count: int, chunk: int) -> list[int]:
    """Return where windows begin: evenly spread, and with a chunk where that is one's size."""
    fitting = max(1, length - side)
    starts = [min(int((at + 0.5) * length / count - side / 2), fitting) for at in range(count)]
    if chunk == side:
        starts = [start // chunk * chunk for start in starts]
    return sorted({max(0, min(start, fitting)) for start in starts})
