"""What a frame is like before its illumination is corrected: for the quality control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.records import Raw

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTS = 8
# The highest grey level of cameras with 8, 10, 12, 14 and 16 bits.
_HIGHEST = (255, 1023, 4095, 16383, 65535)


def look(pixels: NDArray[Any], source: str = "") -> Raw:
    """Measure a frame as it was stored.

    Parameters
    ----------
    pixels : NDArray
        Shape ``(Y, X)``, uint8 or uint16.
    source : str
        Where the movie came from.

    Returns
    -------
    Raw
        The share of saturated pixels, and the background in 8 x 8 parts of the frame: in each the
        mean of the darker half of its pixels. A camera of fewer bits than the file has is
        recognised when its brightest pixel is at its highest level.
    """
    brightest = int(pixels.max(initial=0))
    saturated = 0.0
    if brightest in _HIGHEST:
        saturated = float(np.count_nonzero(pixels == brightest)) / pixels.size
    shading = np.array(
        [
            [_background(part) for part in np.array_split(band, PARTS, axis=1)]
            for band in np.array_split(pixels, PARTS, axis=0)
        ]
    )
    return Raw(saturated, shading, source)


def _background(part: NDArray[Any]) -> float:
    """Return the mean of the darker half; a mean, since grey levels are whole and few."""
    if part.size == 0:
        return float("nan")
    half = (part.size + 1) // 2
    return float(np.partition(part.ravel(), half - 1)[:half].mean(dtype=np.float64))
