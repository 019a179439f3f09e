"""Which diameters of nuclei a model and a frame can be asked for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ConfigError, SegmentationError
from idrstream.segment.network.scale import smallest_diameter_px

if TYPE_CHECKING:
    from idrstream.segment.cellpose.models import LoadedModel

_log = logging.getLogger("idrstream.segment")


def check_smallest(diameter_px: float, loaded: LoadedModel) -> None:
    """Refuse a diameter that is too small for the network, whatever the frames are."""
    usual = loaded.model.diam_mean
    smallest = smallest_diameter_px(usual)
    if 0 < diameter_px < smallest:
        raise ConfigError(
            f"segmentor: diameter is {diameter_px:g} pixels, but the model works on nuclei of "
            f"{usual:g} and can enlarge smaller ones of {smallest:.2g} or more; set diameter to "
            "their diameter in pixels, or to 0: estimated"
        )


def check_diameter(given: float, smallest: float, largest: float, shape: tuple[int, ...]) -> None:
    """Refuse a diameter that a frame of shape ``(Y, X)`` cannot be searched for."""
    if smallest <= given <= largest:
        return
    rows, columns = shape
    raise SegmentationError(
        f"nuclei with a diameter of {given:g} pixels cannot be found in a frame of {rows} x "
        f"{columns} (Y x X); set diameter to {smallest:.2g} to {largest:g}, or to 0: estimated"
    )


def diameter_of(
    pixels: NDArray[Any],
    loaded: LoadedModel,
    given: float | Literal["plate"],
    of_plate: float | None = None,
) -> float:
    """Return the diameter of the nuclei of a frame, one that the network can be asked for.

    Parameters
    ----------
    pixels : NDArray
        Shape ``(Y, X)``.
    loaded : LoadedModel
        The model, and what estimates the diameter.
    given : float or "plate"
        As in the settings; 0: estimated.
    of_plate : float, optional
        What was estimated for the plate.

    Raises
    ------
    idrstream.errors.SegmentationError
        If the frame cannot be searched for it, or nothing comes out of the estimate.
    """
    largest = float(max(*pixels.shape, loaded.model.diam_mean))
    smallest = smallest_diameter_px(loaded.model.diam_mean, pixels.shape)
    if given and given != "plate":
        check_diameter(given, smallest, largest, pixels.shape)
        return given
    if of_plate is not None:
        found = of_plate
    elif loaded.estimator is None:
        return loaded.usual_diameter_px
    else:
        found = float(loaded.estimator.estimate(pixels, loaded.model))
    if not (np.isfinite(found) and found > 0):
        raise SegmentationError(f"the estimated diameter is {found}; set diameter")
    taken = min(max(found, smallest), largest)
    if taken != found:
        _log.warning("Taking %.1f px as diameter, not the %.2g px estimated", taken, found)
    return taken
