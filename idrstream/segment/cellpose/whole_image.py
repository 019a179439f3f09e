"""Grey levels and diameter that hold for a whole large image, from a sample of it."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.records import GreyLevels, Tile
from idrstream.segment.network.intensity import blank_level, dark_level, filled, near_bright
from idrstream.segment.network.scale import smallest_diameter_px
from idrstream.tiles.sample import ImageSample, WholeImage

if TYPE_CHECKING:
    from idrstream.segment.cellpose.models import LoadedModel

_PLACES = 5  # where the diameter is estimated
_PLACE_PX = 640
_AROUND_PX, _AROUND_DIAMETERS = 64, 3  # of bright pixels, that the network sees


def whole_image(sample: ImageSample, loaded: LoadedModel, given_px: float) -> WholeImage:
    """Return what holds for all tiles of an image.

    Parameters
    ----------
    sample : ImageSample
        Windows of the channel that is segmented.
    loaded : LoadedModel
        Its percentiles of the sample become 0 and 1.
    given_px : float
        Diameter that the settings give; 0: it is estimated at the places with the most cells, and
        the lower median taken.
    """
    shape = min(window.shape for window in sample.windows)
    rows = np.concatenate([window[: shape[0], : shape[1]] for window in sample.windows])
    percentiles = loaded.model.percentiles(rows)
    levels = None
    if percentiles is not None and rows.min() < rows.max():
        blank = blank_level(rows)
        low, high = (float(level) for level in np.percentile(filled(rows, blank), percentiles))
        levels = GreyLevels(low, max(high, low + 1), dark_level(rows), blank)
    if given_px:
        return WholeImage(levels, given_px)
    if loaded.estimator is None:
        return WholeImage(levels, loaded.usual_diameter_px)
    if levels is None:
        return WholeImage()
    found = [
        float(loaded.estimator.estimate(place, loaded.model))
        for place in _places(sample, levels.dark)
    ]
    found = [value for value in found if np.isfinite(value) and value > 0]
    if not found:
        return WholeImage(levels)
    smallest = smallest_diameter_px(loaded.model.diam_mean)
    return WholeImage(levels, max(statistics.median_low(found), smallest))


def _places(sample: ImageSample, dark: float) -> list[NDArray[Any]]:
    """Return the surroundings of the windows with the most bright pixels."""
    bright = [float(np.mean(window > dark)) for window in sample.windows]
    best = sorted(range(len(bright)), key=lambda at: (-bright[at], at))[:_PLACES]
    return [sample.around(at, _PLACE_PX) for at in best if bright[at] > 0]


def tile_as_seen(
    pixels: NDArray[Any], loaded: LoadedModel, tile: Tile | None, diameter_px: float
) -> NDArray[np.float32]:
    """Return a frame as the network sees it: a tile by the grey levels of its whole image.

    Of a tile, what is far from anything bright is 0, so that the network need not see it.
    """
    if tile is None or tile.levels is None:
        image: NDArray[np.float32] = loaded.model.normalised(pixels)
        return image
    low, high, dark, blank = tile.levels
    around = max(_AROUND_PX, round(_AROUND_DIAMETERS * diameter_px))
    near = near_bright(pixels, dark, around)
    if near is None:
        return np.zeros(pixels.shape, np.float32)
    image = filled(pixels, blank).astype(np.float32)
    image -= np.float32(low)
    image /= np.float32(high - low)
    image[~near] = 0
    return image
