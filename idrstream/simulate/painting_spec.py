"""The specification of a simulated Cell Painting screen: channels, treatments, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Literal

from typing_extensions import Doc

from idrstream.errors import ConfigError
from idrstream.screen.wells import PLATE_COLUMNS, PLATE_ROWS, well_name
from idrstream.simulate.spec import NEGATIVE, check_range

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
"""Cell Painting's channels: nuclei, endoplasmic reticulum, RNA with nucleoli, actin with Golgi and
membrane, mitochondria; Bray et al. 2016, https://doi.org/10.1038/nprot.2016.105."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """What a well's treatment does to its cells, as factors on what controls have.

    Attributes
    ----------
    name : str
        Name, in the table's column ``Original Gene Target``.
    cell_size : float
        Factor on the diameter of cells.
    nucleus_size : float
        Factor on the diameter of nuclei.
    brightness : Mapping[str, float]
        Factor on the light of a channel above its background, by channel; 1 for others.
    """

    name: str
    cell_size: float = 1.0
    nucleus_size: float = 1.0
    brightness: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


CONTROL = Treatment(NEGATIVE)
TREATMENTS = (
    Treatment("large cells", cell_size=1.3),
    Treatment("bright mitochondria", brightness=MappingProxyType({"Mito": 1.8})),
    Treatment("small nuclei", nucleus_size=0.75),
)
"""Treatments of a simulated plate, beside `CONTROL`."""


def treatment_of(number: int) -> Treatment:
    """Return the treatment of a well, the same on every plate.

    Parameters
    ----------
    number : int
        Well number, counted from 1. Odd ones of each seven are negative controls.
    """
    at = (number - 1) % (2 * len(TREATMENTS) + 1)
    return TREATMENTS[at // 2] if at % 2 else CONTROL


@dataclass(frozen=True, slots=True)
class PaintingSpec:
    """What a simulated Cell Painting screen contains.

    The same seed gives the same bytes. Every field has its own random numbers, so it does not
    change with the number of plates, wells and fields. The cells are in interphase.
    """

    plates: Annotated[int, Doc("plates of the screen")] = 2
    wells_per_plate: Annotated[int, Doc("wells of each plate, four of seven controls")] = 7
    fields: Annotated[int, Doc("fields (sites) of each well")] = 2
    planes: Annotated[int, Doc("z-planes of each field; the middle one is in focus")] = 3
    height: Annotated[int, Doc("height of a field in pixels")] = 512
    width: Annotated[int, Doc("width of a field in pixels")] = 512
    nuclei_per_frame: Annotated[int, Doc("mean number of nuclei in a field")] = 48
    diameter_px: Annotated[float, Doc("mean diameter of a nucleus in pixels")] = 24.0
    cell_diameter_px: Annotated[float, Doc("mean diameter of a cell in pixels")] = 54.0
    seed: Annotated[int, Doc("seed of the random numbers")] = 0
    vignetting: Annotated[float, Doc("how much darker the darkest corner is, 0 to 0.8")] = 0.35
    noise: Annotated[float, Doc("factor on the camera's noise: 0 for none")] = 1.0
    blur_px: Annotated[float, Doc("standard deviation of the point spread in pixels")] = 0.9
    file_format: Annotated[
        Literal["cellh5", "ome-tiff"], Doc("files of the fields: cellh5 or ome-tiff")
    ] = "cellh5"

    def __post_init__(self) -> None:
        """Check every value.

        Raises
        ------
        ConfigError
            If a value is out of range; the message names the field.
        """
        for name, low, high in _RANGES:
            check_range(name, getattr(self, name), low, high)
        if self.file_format not in ("cellh5", "ome-tiff"):
            msg = f"file_format: {self.file_format!r} is neither cellh5 nor ome-tiff"
            raise ConfigError(msg)
        if self.cell_diameter_px < 1.3 * self.diameter_px:
            msg = (
                f"cell_diameter_px: cells of {self.cell_diameter_px:g} px have no cytoplasm around "
                f"nuclei of {self.diameter_px:g} px; give at least 1.3 times as much"
            )
            raise ConfigError(msg)
        if self.nuclei_per_frame * self.cell_diameter_px**2 > self.height * self.width:
            msg = (
                f"nuclei_per_frame: {self.nuclei_per_frame} cells of {self.cell_diameter_px:g} px "
                f"do not fit into {self.height} x {self.width} pixels; ask for fewer"
            )
            raise ConfigError(msg)

    @property
    def plate_names(self) -> tuple[str, ...]:
        """Names of the plates, for example ``CP0001``."""
        return tuple(f"CP{number:04d}" for number in range(1, self.plates + 1))

    @property
    def wells(self) -> tuple[str, ...]:
        """Names of the wells of each plate."""
        return tuple(well_name(number) for number in range(1, self.wells_per_plate + 1))

    @property
    def focus(self) -> int:
        """The z-plane in focus, counted from 0."""
        return self.planes // 2


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("plates", 1, 9999),
    ("wells_per_plate", 1, PLATE_ROWS * PLATE_COLUMNS),
    ("fields", 1, 99),
    ("planes", 1, 99),
    ("height", 32, 16384),
    ("width", 32, 16384),
    ("nuclei_per_frame", 0, 20000),
    ("diameter_px", 6, 200),
    ("cell_diameter_px", 8, 500),
    ("seed", 0, 2**63 - 1),
    ("vignetting", 0, 0.8),
    ("noise", 0, 20),
    ("blur_px", 0, 20),
)


def tiny_painting(**changes: object) -> PaintingSpec:
    """Return a spec small enough for tests: 1 plate, 7 wells, 1 field of 256 x 256 pixels.

    Parameters
    ----------
    **changes
        Fields of `PaintingSpec` to set otherwise.

    Returns
    -------
    PaintingSpec
        One field of it takes about a tenth of a second.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """
    small: dict[str, object] = {
        "plates": 1,
        "fields": 1,
        "planes": 2,
        "height": 256,
        "width": 256,
        "nuclei_per_frame": 14,
    }
    return PaintingSpec(**{**small, **changes})  # type: ignore[arg-type]
