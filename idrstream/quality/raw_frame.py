"""Quality measures of a frame before its illumination is corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.records import RawFrameQuality

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILES = 8
# The highest grey level of cameras with 8, 10, 12, 14 and 16 bits.
_HIGHEST = (255, 1023, 4095, 16383, 65535)


def measure_raw_frame(pixels: NDArray[Any], source: str = "") -> RawFrameQuality:
    """Measure a frame before its correction.

    Parameters
    ----------
    pixels : NDArray
        Shape ``(Y, X)``, uint8 or uint16.
    source : str
        Where the movie came from.

    Returns
    -------
    RawFrameQuality
        The share of saturated pixels, and the background in 8 x 8 tiles of the frame: the mean
        of the darker half of the tile's pixels. A camera with fewer bits than the file is
        recognised when its brightest pixel is at its highest level.
    """
    brightest = int(pixels.max(initial=0))
    saturated = 0.0
    if brightest in _HIGHEST:
        saturated = float(np.count_nonzero(pixels == brightest)) / pixels.size
    shading = np.array(
        [
            [_background(tile) for tile in np.array_split(band, TILES, axis=1)]
            for band in np.array_split(pixels, TILES, axis=0)
        ]
    )
    return RawFrameQuality(saturated, shading, source)


def _background(tile: NDArray[Any]) -> float:
    """Return the mean of the darker half; a median of few integer levels would be coarse."""
    if tile.size == 0:
        return float("nan")
    half = (tile.size + 1) // 2
    return float(np.partition(tile.ravel(), half - 1)[:half].mean(dtype=np.float64))
