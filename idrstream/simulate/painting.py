"""One field of a simulated Cell Painting screen: what the camera saw, and the truth behind it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from idrstream.screen.wells import well_number
from idrstream.simulate.movie import largest_part, plate_flatfield, stamp
from idrstream.simulate.organelles import CellMaps, paint
from idrstream.simulate.painting_spec import CHANNELS, PaintingSpec, Treatment, treatment_of
from idrstream.simulate.shapes import Look, new_look, render

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A 16-bit camera: what it adds in the dark, electrons per grey level, noise of reading.
CAMERA_OFFSET = 100.0
_ELECTRONS_PER_LEVEL = 0.5
_READ_NOISE_LEVELS = 4.0
BACKGROUND = 260.0
_HAZE = 0.05
_DEFOCUS_PX = 1.7  # of each plane away from the focus
_CANDIDATES = 4  # the more, the more evenly cells are spread
_REACH = 1.6  # of a cell's outline, in units of its radius


@dataclass(frozen=True, slots=True)
class SimulatedField:
    """A simulated field with its truth.

    Attributes
    ----------
    plate, well : str
        Where it belongs.
    site : int
        Number of the field in its well, counted from 1.
    pixels : NDArray
        Shape ``(c, z, y, x)``, uint16: what the camera saw, channels as in `CHANNELS`.
    nuclei, cells : NDArray
        Shape ``(y, x)``, uint16: label images, 0 for background. A nucleus has the number of its
        cell. Cells whose nucleus is outside the field have the highest numbers.
    positions : NDArray
        Shape ``(n, 2)``, float64, ``(y, x)`` in pixels: centroids of the nuclei 1 ... n.
    flatfields : NDArray
        Shape ``(c, y, x)``, float32, each of mean 1: illumination of the plate.
    treatment : Treatment
        What was done to the cells.
    """

    plate: str
    well: str
    site: int
    pixels: NDArray[np.uint16]
    nuclei: NDArray[np.uint16]
    cells: NDArray[np.uint16]
    positions: NDArray[np.float64]
    flatfields: NDArray[np.float32]
    treatment: Treatment


@dataclass(frozen=True, slots=True)
class _Cell:
    y: float
    x: float
    angle: float
    radius_px: float
    elongation: float
    waves: NDArray[np.float64]
    golgi: tuple[float, float]
    look: Look
    tilt: float  # of the nucleus against the cell


def simulate_field(
    spec: PaintingSpec | None = None, *, plate: str = "CP0001", well: str = "A1", site: int = 1
) -> SimulatedField:
    """Simulate one field in memory.

    Parameters
    ----------
    spec : PaintingSpec, optional
        What to simulate; its numbers of plates, wells and fields do not matter.
    plate : str
        Plate name; fields of one plate share the illumination of each channel.
    well : str
        Well name; decides the treatment, see `treatment_of`.
    site : int
        Number of the field, counted from 1.

    Returns
    -------
    SimulatedField
        Depends on the spec's seed, the plate, the well and the site alone.
    """
    spec = spec or PaintingSpec()
    number = well_number(well)
    treatment = treatment_of(number)
    seeds = np.random.SeedSequence([spec.seed, zlib.crc32(plate.encode()), number, site])
    life, texture, camera = (np.random.default_rng(seed) for seed in seeds.spawn(3))
    maps = _draw(_settle(spec, treatment, life), (spec.height, spec.width))
    light = paint(
        maps, _gains(int(maps.cells.max()), treatment, life), spec.cell_diameter_px, texture
    )
    flatfields = np.stack(
        [plate_flatfield(light.shape[1:], spec, f"{plate} {name}") for name in CHANNELS]
    )
    return SimulatedField(
        plate=plate,
        well=well,
        site=site,
        pixels=_photograph(light, flatfields, spec, camera),
        nuclei=maps.nuclei,
        cells=maps.cells,
        positions=_centroids(maps.nuclei),
        flatfields=flatfields,
        treatment=treatment,
    )


def _settle(spec: PaintingSpec, treatment: Treatment, rng: np.random.Generator) -> list[_Cell]:
    """Put cells down, in the field and around it, each as far from others as some chance allows."""
    margin = 0.5 * spec.cell_diameter_px
    high, wide = spec.height + 2 * margin, spec.width + 2 * margin
    mean = spec.nuclei_per_frame / (spec.height * spec.width) * high * wide
    count = int(rng.binomial(max(1, round(2 * mean)), 0.5)) if spec.nuclei_per_frame else 0
    places = np.zeros((0, 2))
    for _ in range(count):
        some = rng.uniform((-margin, -margin), (high - margin, wide - margin), (_CANDIDATES, 2))
        far = np.hypot(*(some[:, None] - places[None]).transpose(2, 0, 1)).min(1, initial=np.inf)
        places = np.vstack([places, some[np.argmax(far)]])
    return [_new_cell(y, x, spec, treatment, rng) for y, x in places]


def _new_cell(
    y: float, x: float, spec: PaintingSpec, treatment: Treatment, rng: np.random.Generator
) -> _Cell:
    size = float(np.clip(rng.lognormal(0, 0.12), 0.75, 1.35))
    orders = np.arange(2, 7)
    turn, aside = rng.uniform(0, 2 * np.pi), rng.uniform(1.05, 1.35)
    look = new_look(rng, spec.diameter_px * treatment.nucleus_size, 1.0)
    nucleus = look.radius_px * aside
    return _Cell(
        y=y,
        x=x,
        angle=float(rng.uniform(0, np.pi)),
        radius_px=spec.cell_diameter_px / 2 * treatment.cell_size * size,
        elongation=1.0 + 0.9 * float(rng.beta(2, 3)),
        waves=np.stack(
            [orders, 0.13 * rng.gamma(2.0, 0.5, 5) * 2 / orders, rng.uniform(0, 2 * np.pi, 5)],
            axis=1,
        ),
        golgi=(float(nucleus * np.cos(turn)), float(nucleus * np.sin(turn))),
        look=look,
        tilt=float(rng.normal(0, 0.3)),
    )


def _gains(count: int, treatment: Treatment, rng: np.random.Generator) -> NDArray[np.float32]:
    factors = [treatment.brightness.get(name, 1.0) for name in CHANNELS]
    gains = rng.lognormal(0, 0.12, (count + 1, len(CHANNELS))) * factors
    return gains.astype(np.float32)


def _draw(cells: list[_Cell], shape: tuple[int, int]) -> CellMaps:
    dna, nuclei = np.zeros(shape, np.float32), np.zeros(shape, np.uint16)
    shown: list[_Cell] = []
    others: list[_Cell] = []
    for cell in cells:
        patch = render(cell.look, "interphase", (cell.y, cell.x), cell.angle + cell.tilt, 1.0)
        seen = stamp(patch, dna, nuclei, len(shown) + 1)
        (shown if seen else others).append(cell)
    maps = CellMaps(
        nuclei=nuclei,
        cells=np.zeros(shape, np.uint16),
        rho=np.ones(shape, np.float32),
        across_px=np.zeros(shape, np.float32),
        golgi=np.zeros(shape, np.float32),
        dna=dna,
        nucleoli=np.zeros(shape, np.float32),
    )
    for label, cell in enumerate([*shown, *others], start=1):
        _spread(cell, label, maps, with_nucleus=label <= len(shown))
    _mend(maps)
    return maps


def _spread(cell: _Cell, label: int, maps: CellMaps, *, with_nucleus: bool) -> None:
    """Give a cell the pixels that are more its own than another's; draw what is in it."""
    half = int(np.ceil(_REACH * cell.radius_px * np.sqrt(cell.elongation))) + 1
    rows, columns = (
        slice(max(0, round(at) - half), max(0, min(length, round(at) + half + 1)))
        for at, length in zip((cell.y, cell.x), maps.cells.shape, strict=True)
    )
    dy = (np.arange(rows.start, rows.stop) - cell.y)[:, None]
    dx = (np.arange(columns.start, columns.stop) - cell.x)[None, :]
    along = np.cos(cell.angle) * dx + np.sin(cell.angle) * dy
    across = np.cos(cell.angle) * dy - np.sin(cell.angle) * dx
    stretch = np.sqrt(cell.elongation)
    u, v = along / (cell.radius_px * stretch), across / (cell.radius_px / stretch)
    edge = np.ones_like(u)
    theta = np.arctan2(v, u)
    for order, amplitude, shift in cell.waves:
        edge += amplitude * np.cos(order * theta + shift)
    rho = (np.hypot(u, v) / np.clip(edge, 0.5, _REACH)).astype(np.float32)
    nuclei = maps.nuclei[rows, columns]
    own = nuclei == label if with_nucleus else np.zeros(nuclei.shape, bool)
    mine = ((rho < maps.rho[rows, columns]) & (nuclei == 0)) | own
    maps.rho[rows, columns][mine] = np.minimum(rho[mine], 1)
    maps.cells[rows, columns][mine] = label
    maps.across_px[rows, columns][mine] = across[mine]
    wide = 0.11 * cell.radius_px
    spot = np.exp(
        -(((along - cell.golgi[0]) / wide) ** 2 + ((across - cell.golgi[1]) / wide) ** 2) / 2
    )
    maps.golgi[rows, columns][mine] = np.where(own, 0.25, 1.0)[mine] * spot[mine]
    maps.nucleoli[rows, columns][own] = _nucleoli(cell, along[own], across[own])


def _nucleoli(
    cell: _Cell, along: NDArray[np.float64], across: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the nucleoli at points of a cell, where `render` leaves its chromatin dark."""
    radius, stretch = cell.look.radius_px, np.sqrt(cell.look.elongation)
    u = (np.cos(cell.tilt) * along + np.sin(cell.tilt) * across) / radius / stretch
    v = (np.cos(cell.tilt) * across - np.sin(cell.tilt) * along) / radius * stretch
    bright: NDArray[np.float64] = np.zeros(u.shape)
    for cu, cv, size in cell.look.nucleoli:
        bright += np.exp(-((u - cu) ** 2 + (v - cv) ** 2) / size**2)
    return bright


def _mend(maps: CellMaps) -> None:
    """Leave every cell in one piece, the one that its nucleus is in."""
    from scipy import ndimage

    for label, where in enumerate(ndimage.find_objects(maps.cells), start=1):
        if where is None:
            continue
        mask = maps.cells[where] == label
        parts, count = ndimage.label(mask)
        if count > 1:
            inside = parts[maps.nuclei[where] == label]
            kept = parts == np.bincount(inside).argmax() if len(inside) else largest_part(mask)
            maps.cells[where][mask & ~kept] = 0
            maps.rho[where][mask & ~kept] = 1
            maps.golgi[where][mask & ~kept] = 0


def _photograph(
    light: NDArray[np.float32],
    flatfields: NDArray[np.float32],
    spec: PaintingSpec,
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """Return what the camera records of each channel in each plane."""
    from scipy import ndimage

    pixels = np.empty((len(light), spec.planes, *light.shape[1:]), np.uint16)
    for channel, (sharp, flatfield) in enumerate(zip(light, flatfields, strict=True)):
        haze = ndimage.uniform_filter(ndimage.uniform_filter(sharp, 13), 13)
        for plane in range(spec.planes):
            blur = np.hypot(spec.blur_px, _DEFOCUS_PX * (plane - spec.focus))
            seen = ndimage.gaussian_filter(sharp, blur, truncate=3.0) if blur else sharp
            levels = flatfield * ((1 - _HAZE) * seen + _HAZE * haze + BACKGROUND)
            if spec.noise:  # of photons, so many that they are distributed normally, and of reading
                spread = np.sqrt(levels / _ELECTRONS_PER_LEVEL + _READ_NOISE_LEVELS**2)
                levels = levels + spec.noise * spread * rng.standard_normal(
                    levels.shape, np.float32
                )
            pixels[channel, plane] = np.clip(np.rint(levels + CAMERA_OFFSET), 0, 65535)
    return pixels


def _centroids(labels: NDArray[np.uint16]) -> NDArray[np.float64]:
    from scipy import ndimage

    numbers = np.arange(1, int(labels.max()) + 1)
    centres = ndimage.center_of_mass(labels > 0, labels, numbers)
    return np.array(centres, np.float64).reshape(len(numbers), 2)
