"""Grey levels and diameter that hold for a whole large image, from a sample of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.records import GreyLevels, Tile
from idrstream.segment.network.image_part import ImagePart
from idrstream.segment.network.intensity import blank_level, dark_level, exceeding, filled
from idrstream.segment.network.scale import smallest_diameter_px
from idrstream.tiles.sample import ImageSample, WholeImage

if TYPE_CHECKING:
    from idrstream.segment.cellpose.models import LoadedModel

_PLACES = 5  # where the diameter is estimated
_PLACE_PX = 640


def whole_image(sample: ImageSample, loaded: LoadedModel, given_px: float) -> WholeImage:
    """Return what holds for all tiles of an image.

    Parameters
    ----------
    sample : ImageSample
        Windows of the channels that are segmented.
    loaded : LoadedModel
        Its percentiles of the sample become 0 and 1, for each channel by itself.
    given_px : float
        Diameter that the settings give; 0: it is estimated at the places with the most cells, and
        the lower median taken.
    """
    levels = _grey_levels(sample, loaded)
    others = tuple(_grey_levels(other, loaded) for other in sample.others)
    diameter_px = _diameter(sample, levels, loaded, given_px)
    return WholeImage(levels, diameter_px, others, scale=scale_for(loaded, diameter_px))


def rows_of(sample: ImageSample) -> NDArray[Any]:
    """Return the windows of a sample below each other, shape ``(Y, X)``."""
    height, width = min(window.shape for window in sample.windows)
    return np.concatenate([window[:height, :width] for window in sample.windows])


def _grey_levels(sample: ImageSample, loaded: LoadedModel) -> GreyLevels | None:
    rows = rows_of(sample)
    if rows.min() == rows.max():
        return None
    percentiles = loaded.model.percentiles(rows)
    if percentiles is None:
        return None
    blank = blank_level(rows)
    low, high = (float(level) for level in np.percentile(filled(rows, blank), percentiles))
    return GreyLevels(low, max(high, low + 1), dark_level(rows), blank)


def _diameter(
    sample: ImageSample, levels: GreyLevels | None, loaded: LoadedModel, given_px: float
) -> float:
    if given_px:
        return given_px
    if loaded.estimator is None:
        return loaded.usual_diameter_px
    if levels is None:
        return math.nan
    found = [
        float(loaded.estimator.estimate(place, loaded.model))
        for place in _places(sample, levels.dark)
    ]
    found = [value for value in found if np.isfinite(value) and value > 0]
    smallest = smallest_diameter_px(loaded.model.diam_mean)
    return max(statistics.median_low(found), smallest) if found else math.nan


def _places(sample: ImageSample, dark: float) -> list[NDArray[Any]]:
    """Return the surroundings of the windows with the most bright pixels."""
    bright = [float(np.mean(window > dark)) for window in sample.windows]
    best = sorted(range(len(bright)), key=lambda at: (-bright[at], at))[:_PLACES]
    return [sample.around(at, _PLACE_PX) for at in best if bright[at] > 0]


def brightest_place(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the square of a tile, shape ``(Y, X)``, that shows the most.

    A diameter is estimated there: in the whole of a tile that is nearly empty that would take
    minutes and gigabytes.
    """
    dark = dark_level(pixels)
    height, width = pixels.shape
    tops, lefts = (
        [min(start, max(0, length - _PLACE_PX)) for start in range(0, length, _PLACE_PX)]
        for length in (height, width)
    )
    places = [pixels[y : y + _PLACE_PX, x : x + _PLACE_PX] for y in tops for x in lefts]
    return max(places, key=lambda place: int((place > dark).sum()))


def part_as_seen(
    planes: Sequence[NDArray[Any]], loaded: LoadedModel, tile: Tile, diameter_px: float
) -> ImagePart:
    """Return a tile as the network sees it: by the grey levels of its whole image.

    Parameters
    ----------
    planes : sequence of NDArray
        The channels that are segmented, each of shape ``(Y, X)``.
    loaded : LoadedModel
        Scales a channel of which nothing is known for the whole image.
    tile : Tile
        Where the tile lies.
    diameter_px : float
        Usual diameter of the objects.

    Returns
    -------
    ImagePart
        Of float32, shape ``(Y, X)``, or ``(2, Y, X)`` of two channels; zeros if nothing is bright.
    """
    corner, scale = (tile.region.top, tile.region.left), scale_for(loaded, diameter_px)
    channels = list(zip(planes, (tile.levels, *tile.others), strict=False))
    bright = np.zeros(planes[0].shape, np.bool_)
    image = np.zeros((len(channels), *bright.shape), np.float32)
    for at, (pixels, levels) in enumerate(channels):
        if levels is None:
            image[at] = loaded.model.normalised(pixels)
        bright |= image[at].any() if levels is None else exceeding(pixels, levels.dark)
    for at, (pixels, levels) in enumerate(channels):
        if levels is not None and bright.any():  # else the network looks at nothing
            image[at] = filled(pixels, levels.blank)
            image[at] -= np.float32(levels.low)
            image[at] /= np.float32(levels.high - levels.low)
    return ImagePart(image if len(image) > 1 else image[0], corner, tile.image, scale, bright)


def scale_for(loaded: LoadedModel, diameter_px: float) -> float:
    """Return how many pixels the network sees for each of an image; NaN without a diameter."""
    return float(loaded.model.diam_mean) / diameter_px
