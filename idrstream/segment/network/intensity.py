"""Which grey levels of a frame the network sees as 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

USUAL_PERCENTILES = (1.0, 99.0)
"""Those of Cellpose."""

_HIGHEST = 99.98
_LEFT_OUT = 0.2
_APART = 3.5


def visible_percentiles(image: NDArray[Any]) -> tuple[float, float] | None:
    """Return the percentiles of pixels that become 0 and 1 for the network; None without nuclei.

    Cellpose takes the 1st and the 99th. Where nuclei cover less than about a hundredth of a frame
    the 99th lies in the medium: nuclei are then cut off at a multiple of 1 and its noise fills the
    range. Here the upper one is the 99th, too, unless that would cut off more than the brightest
    fifth of the nuclei: then it is as much higher, up to 99.98.

    An image has nuclei if Otsu's threshold separates bright from dark, or if a pixel of the
    smoothed image lies more than seven deviations (from the median of absolute ones) above the
    median. Otherwise the noise of an empty well, scaled to the full range, would look like nuclei.
    """
    bright = bright_pixels(image)
    return None if bright is None or not bright.any() else percentiles_for(bright)


def percentiles_for(bright: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the percentiles for an image whose bright pixels are known."""
    lower, usual = USUAL_PERCENTILES
    return lower, float(np.clip(100 - 100 * _LEFT_OUT * bright.mean(), usual, _HIGHEST))


def bright_pixels(image: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Return which pixels are those of nuclei, roughly; None for an image of one value."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), 1.0)
    if smooth.min() == smooth.max():
        return None
    bright: NDArray[np.bool_] = smooth > threshold_otsu(smooth)  # type: ignore[no-untyped-call]
    medium = smooth[~bright]
    if smooth[bright].mean() < medium.mean() + _APART * medium.std():
        # Otsu cut through the medium: there are hardly any nuclei, so the median lies in it.
        middle = np.median(smooth)
        spread = 1.4826 * np.median(np.abs(smooth - middle))
        bright = smooth > middle + 2 * _APART * spread
    return bright


def dark_level(image: NDArray[Any]) -> float:
    """Return a grey level that the smoothed image exceeds wherever there are nuclei.

    Seven deviations above the medium, or Otsu's threshold where that is lower.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), 1.0)
    if smooth.min() == smooth.max():
        return float(smooth.max())
    otsu = float(threshold_otsu(smooth))  # type: ignore[no-untyped-call]
    medium = smooth[smooth <= otsu]
    middle = float(np.median(medium))
    spread = 1.4826 * float(np.median(np.abs(medium - middle)))
    return min(otsu, middle + 2 * _APART * spread)


def is_dark(image: NDArray[Any], dark: float) -> bool:
    """Return whether nothing in an image exceeds the level of `dark_level`."""
    from scipy import ndimage

    if image.max() <= dark:  # also of what was never written
        return True
    return bool(ndimage.gaussian_filter(np.asarray(image, np.float32), 1.0).max() <= dark)
