"""Which diameters of nuclei a model and a frame can be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from idrstream.errors import ConfigError, SegmentationError
from idrstream.segment.network.scale import smallest_diameter_px

if TYPE_CHECKING:
    from idrstream.segment.cellpose.models import LoadedModel


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
