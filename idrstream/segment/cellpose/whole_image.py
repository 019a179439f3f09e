"""Grey levels and diameter that hold for a whole large image, from a sample of it."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.records import GreyLevels
from idrstream.segment.network.intensity import dark_level
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
        low, high = (float(level) for level in np.percentile(rows, percentiles))
        dark = dark_level(rows)
        levels = GreyLevels(low, max(high, low + 1), dark)
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
