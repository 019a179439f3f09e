"""The specification of a simulated screen, and its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc

from idrstream.errors import ConfigError
from idrstream.screen.wells import PLATE_COLUMNS, PLATE_ROWS, well_name, well_number

STUDY = "idr0013-neumann-mitocheck"
ANALYSIS = Path("20150916-mitocheck-analysis") / "mitocheck"
NEGATIVE, POSITIVE = "negative control", "positive control"

_NUCLEUS_UM = 11.7  # 18 pixels of 0.65 µm

# Control wells of a real Mitocheck plate with their targets, in the order they are taken.
_CONTROLS: dict[str, str] = {
    "A4": "ENSG00000149503",
    "A15": NEGATIVE,
    "P21": "COPB",
    "B2": NEGATIVE,
    "M13": "KIF11",
    "C15": NEGATIVE,
    "C1": "ENSG00000149503",
    "D2": NEGATIVE,
    "C4": "ENSG00000149503",
    "M16": NEGATIVE,
    "N3": NEGATIVE,
    "O16": NEGATIVE,
}
WELLS = tuple(_CONTROLS) + tuple(
    name
    for number in range(1, PLATE_ROWS * PLATE_COLUMNS + 1)
    if (name := well_name(number)) not in _CONTROLS
)


def gene_target(well: str) -> str:
    """Return the target that is knocked down in a well of a simulated plate.

    Parameters
    ----------
    well : str
        Well name.

    Returns
    -------
    str
        A target as Mitocheck's table has it, or ``negative control``. It depends on the well
        alone, so that every plate has the same map.
    """
    return _CONTROLS.get(well, "KIF11" if well_number(well) % 4 == 0 else NEGATIVE)


@dataclass(frozen=True, slots=True)
class ScreenSpec:
    """What a simulated screen contains.

    The same seed gives the same bytes. Every well has its own random numbers, so it does not
    change with the number of plates and wells.
    """

    plates: Annotated[int, Doc("plates of the screen")] = 2
    wells_per_plate: Annotated[
        int, Doc("wells of each plate: of the first four, two negative controls")
    ] = 4
    frames: Annotated[int, Doc("frames of each movie, half an hour apart")] = 5
    height: Annotated[int, Doc("height of a frame in pixels")] = 1024
    width: Annotated[int, Doc("width of a frame in pixels")] = 1344
    nuclei_per_frame: Annotated[
        int, Doc("mean number of nuclei in the first frame of a control well")
    ] = 120
    diameter_px: Annotated[float, Doc("mean diameter of an interphase nucleus in pixels")] = 18.0
    seed: Annotated[int, Doc("seed of the random numbers")] = 0
    background: Annotated[float, Doc("grey level of the medium where the illumination is 1")] = 24.0
    brightness: Annotated[
        float, Doc("grey levels of a mean interphase nucleus above the background")
    ] = 75.0
    vignetting: Annotated[float, Doc("how much darker the darkest corner is, 0 to 0.8")] = 0.35
    noise: Annotated[float, Doc("factor on the camera's noise: 0 for none, 1 as Mitocheck's")] = 1.0
    blur_px: Annotated[float, Doc("standard deviation of the point spread in pixels")] = 0.9
    motion: Annotated[
        float, Doc("factor on how far nuclei wander: 1 as most of Mitocheck's, 3 to test trackers")
    ] = 1.0
    uneven_times: Annotated[
        float, Doc("spread of the time between frames, as the logarithm's standard deviation")
    ] = 0.0
    wanted_frames: Annotated[
        tuple[int, ...],
        Doc("frames that the table asks for, such as 1,3,5 (default: the middle one)"),
    ] = ()
    invalid_frames: Annotated[
        tuple[int, ...], Doc("frames that are marked not valid and never written, such as 2,4")
    ] = ()
    empty_wells: Annotated[tuple[str, ...], Doc("wells without nuclei, such as A15,B2")] = ()
    small_wells: Annotated[
        tuple[str, ...], Doc("wells with frames of half the height and width, such as A15")
    ] = ()

    def __post_init__(self) -> None:
        """Check every value.

        Raises
        ------
        ConfigError
            If a value is out of range; the message names the field.
        """
        for field, low, high in _RANGES:
            check_range(field, getattr(self, field), low, high)
        for field in ("wanted_frames", "invalid_frames"):
            for number in getattr(self, field):
                check_range(field, number, 1, self.frames)
        for field in ("empty_wells", "small_wells"):
            for name in getattr(self, field):
                _known_well(field, name)
        if self.nuclei_per_frame * self.diameter_px**2 > 0.5 * self.height * self.width:
            msg = (
                f"nuclei_per_frame: {self.nuclei_per_frame} nuclei of {self.diameter_px:g} px fill "
                f"more than half of {self.height} x {self.width} pixels; ask for fewer"
            )
            raise ConfigError(msg)

    @property
    def pixel_um(self) -> float:
        """Side of a pixel in micrometres: simulated nuclei are as wide as those of HeLa cells."""
        return _NUCLEUS_UM / self.diameter_px

    @property
    def plate_names(self) -> tuple[str, ...]:
        """Names of the plates, for example ``SIM0001_01``."""
        return tuple(f"SIM{number:04d}_01" for number in range(1, self.plates + 1))

    @property
    def wells(self) -> tuple[str, ...]:
        """Names of the wells of each plate."""
        return WELLS[: self.wells_per_plate]

    @property
    def table_frames(self) -> tuple[int, ...]:
        """Frames that the table to process asks for, counted from 1."""
        return self.wanted_frames or ((self.frames + 1) // 2,)


def screen_name(plate: str) -> str:
    """Return a plate's full screen name, which names its folder and its group in CellH5."""
    return f"{plate}--simulated--sp0001_01_01--tt17--c1"


@dataclass(frozen=True, slots=True)
class SimulatedScreen:
    """The files of a simulated screen.

    Attributes
    ----------
    folder : Path
        The folder that mirrors the archive: it holds the study's folder.
    screens_path : Path or None
        Table without header: plate TAB ``../screens/<screen>.screen``; None where the table to
        process names each file.
    table_path : Path
        The table to process.
    truth : Path
        Folder of ``<plate>/<NNNNN>_<SS>.npz``: number of the well, and of the site in it.
    study : str
        Name of the study's folder.
    movies : tuple of Path
        The files of pixels, plate by plate.
    """

    folder: Path
    screens_path: Path | None
    table_path: Path
    truth: Path
    study: str
    movies: tuple[Path, ...]

    def truth_of(self, plate: str, number: int, site: int = 1) -> Path:
        """Return the truth file of a site, given its plate, its well's number and its own."""
        return self.truth / plate / f"{number:05d}_{site:02d}.npz"


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("plates", 1, 9999),
    ("wells_per_plate", 1, PLATE_ROWS * PLATE_COLUMNS),
    ("frames", 1, 2000),
    ("height", 32, 16384),
    ("width", 32, 16384),
    ("nuclei_per_frame", 0, 20000),
    ("diameter_px", 6, 200),
    ("seed", 0, 2**63 - 1),
    ("background", 0, 200),
    ("brightness", 1, 200),
    ("vignetting", 0, 0.8),
    ("noise", 0, 20),
    ("blur_px", 0, 20),
    ("motion", 0, 10),
    ("uneven_times", 0, 2),
)


def check_range(field: str, value: float, low: float, high: float) -> None:
    """Raise `ConfigError` unless a value is in its range, and whole where its kind is."""
    whole = isinstance(low, int) and isinstance(high, int) and field not in _REAL
    if whole and (isinstance(value, bool) or int(value) != value):
        msg = f"{field}: {value!r} is not a whole number"
        raise ConfigError(msg)
    if not low <= value <= high:
        msg = f"{field}: {value!r} is outside {low:g} to {high:g}"
        raise ConfigError(msg)


_REAL = frozenset(
    {
        "diameter_px", "cell_diameter_px", "background", "brightness", "vignetting", "noise",
        "blur_px", "motion", "uneven_times",
    }
)  # fmt: skip


def _known_well(field: str, name: str) -> None:
    if not re.fullmatch(r"[A-P]([1-9]|1\d|2[0-4])", name):
        msg = f"{field}: {name!r} is not a well of a plate of 16 x 24 wells, such as A4"
        raise ConfigError(msg)


def tiny_spec(**changes: object) -> ScreenSpec:
    """Return a spec small enough for tests: 1 plate, 2 wells, 3 frames of 192 x 256 pixels.

    Parameters
    ----------
    **changes
        Fields of `ScreenSpec` to set otherwise.

    Returns
    -------
    ScreenSpec
        One movie of it takes about a tenth of a second.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """
    small: dict[str, object] = {
        "plates": 1,
        "wells_per_plate": 2,
        "frames": 3,
        "height": 192,
        "width": 256,
        "nuclei_per_frame": 12,
    }
    return ScreenSpec(**{**small, **changes})  # type: ignore[arg-type]
