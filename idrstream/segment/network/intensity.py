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
_WHOLE_PX = 151  # side of a square that is larger than any nucleus


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
    from skimage.filters import threshold_otsu

    smooth, recorded = _smooth(image)
    levels = smooth[recorded]
    if levels.min() == levels.max():
        return None
    bright: NDArray[np.bool_] = levels > threshold_otsu(levels)  # type: ignore[no-untyped-call]
    medium = levels[~bright]
    if levels[bright].mean() < medium.mean() + _APART * medium.std():
        # Otsu cut through the medium: there are hardly any nuclei, so the median lies in it.
        middle, spread = _middle_and_spread(levels)
        bright = levels > middle + 2 * _APART * spread
    found = np.zeros(image.shape, np.bool_)
    found[recorded] = bright
    return found


def blank_level(image: NDArray[Any]) -> float:
    """Return the grey level of the medium if pixels of 0 are such that were never recorded; else 0.

    Where a slide was not scanned, and around fields that were shifted or turned, there are zeros.
    The step from there to the medium would look like the border of a nucleus. A camera adds an
    offset, so zeros are blank if the medium lies more than seven deviations above them, and there
    is a square without any of them that is larger than a nucleus.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    recorded = image > 0
    if recorded.all() or not recorded.any() or min(image.shape) < _WHOLE_PX:
        return 0.0
    if not ndimage.minimum_filter(recorded, _WHOLE_PX, mode="constant").any():
        return 0.0
    levels = image[recorded]
    medium = levels[levels <= threshold_otsu(levels)]  # type: ignore[no-untyped-call]
    middle, spread = _middle_and_spread(medium)
    return middle if middle > 2 * _APART * spread else 0.0


def without_blank(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image whose blank pixels, see `blank_level`, have the grey level of the medium."""
    return filled(image, blank_level(image))


def filled(image: NDArray[Any], level: float) -> NDArray[Any]:
    """Return an image with a grey level in the place of 0; the image itself if that is 0."""
    return np.where(image == 0, np.asarray(level, image.dtype), image) if level else image


def dark_level(image: NDArray[Any]) -> float:
    """Return a grey level that the smoothed image exceeds wherever there are nuclei.

    Seven deviations above the medium, or Otsu's threshold where that is lower.
    """
    from skimage.filters import threshold_otsu

    smooth, recorded = _smooth(image)
    levels = smooth[recorded]
    if levels.min() == levels.max():
        return float(levels.max())
    otsu = float(threshold_otsu(levels))  # type: ignore[no-untyped-call]
    middle, spread = _middle_and_spread(levels[levels <= otsu])
    return min(otsu, middle + 2 * _APART * spread)


def exceeding(image: NDArray[Any], dark: float) -> NDArray[np.bool_]:
    """Return which pixels of the smoothed image exceed the level of `dark_level`."""
    from scipy import ndimage

    if image.max() <= dark:  # also of what was never written
        return np.zeros(image.shape, np.bool_)
    found: NDArray[np.bool_] = ndimage.gaussian_filter(np.asarray(image, np.float32), 1.0) > dark
    return found


def _smooth(image: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the image as it is judged, and which of its pixels are not blank."""
    from scipy import ndimage

    blank = blank_level(image)
    smooth = ndimage.gaussian_filter(np.asarray(filled(image, blank), np.float32), 1.0)
    return smooth, image > 0 if blank else np.ones(image.shape, np.bool_)


def _middle_and_spread(levels: NDArray[Any]) -> tuple[float, float]:
    """Return the median, and the deviation that follows from the median of absolute ones."""
    middle = float(np.median(levels))
    return middle, 1.4826 * float(np.median(np.abs(levels - middle)))
