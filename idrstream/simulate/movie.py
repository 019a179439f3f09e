"""One simulated movie: what the camera saw, and the truth behind it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from idrstream.screen.wells import well_number
from idrstream.simulate.life import Cell, Colony
from idrstream.simulate.shapes import Patch, render
from idrstream.simulate.spec import ScreenSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from idrstream.simulate.painting_spec import PaintingSpec

# Grey levels that the camera adds in the dark, and its electrons per grey level.
CAMERA_OFFSET = 2.0
_ELECTRONS_PER_LEVEL = 30.0
_READ_NOISE_LEVELS = 0.4
_SMALLEST_PX = 8


@dataclass(frozen=True, slots=True)
class Truth:
    """What is in a movie: one entry for each nucleus in each frame.

    Attributes
    ----------
    frame : NDArray
        Shape ``(n,)``, int32: frame, counted from 0.
    label : NDArray
        Shape ``(n,)``, int32: its value in the masks of that frame, counted from 1.
    track, parent : NDArray
        Shape ``(n,)``, int32: its track, and the track it was born from; 0 for none.
    positions : NDArray
        Shape ``(n, 2)``, float64, ``(y, x)`` in pixels: centroid of the visible mask.
    phase : NDArray
        Shape ``(n,)``, text: its phase.
    """

    frame: NDArray[np.int32]
    label: NDArray[np.int32]
    track: NDArray[np.int32]
    parent: NDArray[np.int32]
    positions: NDArray[np.float64]
    phase: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class SimulatedMovie:
    """A simulated movie with its truth.

    Attributes
    ----------
    plate, well : str
        Where it belongs.
    frames : NDArray
        Shape ``(t, y, x)``, uint8: what the camera saw. Frames that are not valid are zero.
    masks : NDArray
        Shape ``(t, y, x)``, uint16: 0 for background, else the label of a nucleus.
    valid : NDArray
        Shape ``(t,)``, bool.
    truth : Truth
        The nuclei.
    flatfield : NDArray
        Shape ``(y, x)``, float32, mean 1: the plate's illumination.
    background : float
        Grey level of the medium where the illumination is 1.
    offset : float
        Grey levels that the camera adds, not illuminated.
    """

    plate: str
    well: str
    frames: NDArray[np.uint8]
    masks: NDArray[np.uint16]
    valid: NDArray[np.bool_]
    truth: Truth
    flatfield: NDArray[np.float32]
    background: float
    offset: float


def simulate_movie(
    spec: ScreenSpec | None = None, *, plate: str = "SIM0001_01", well: str = "A15"
) -> SimulatedMovie:
    """Simulate the movie of one well in memory.

    Parameters
    ----------
    spec : ScreenSpec, optional
        What to simulate; plates and wells_per_plate do not matter.
    plate : str
        Plate name; wells of one plate share their illumination.
    well : str
        Well name; its control type decides the phenotype.

    Returns
    -------
    SimulatedMovie
        Depends on the spec's seed, the plate and the well alone.
    """
    spec = spec or ScreenSpec()
    half = 2 if well in spec.small_wells else 1
    shape = (spec.height // half, spec.width // half)
    seeds = np.random.SeedSequence([spec.seed, zlib.crc32(plate.encode()), well_number(well)])
    life, camera = (np.random.default_rng(seed) for seed in seeds.spawn(2))
    flatfield = plate_flatfield(shape, spec, plate)
    colony = Colony(spec, shape, well, life)
    valid = np.array([number + 1 not in spec.invalid_frames for number in range(spec.frames)])
    frames = np.zeros((spec.frames, *shape), np.uint8)
    masks = np.zeros((spec.frames, *shape), np.uint16)
    seen: list[tuple[int, list[Cell]]] = []
    for number in range(spec.frames):
        if number:
            colony.step()
        if valid[number]:
            signal, masks[number], shown = _draw(colony.cells, shape)
            frames[number] = _photograph(signal, flatfield, spec, camera)
            seen.append((number, shown))
    return SimulatedMovie(
        plate=plate,
        well=well,
        frames=frames,
        masks=masks,
        valid=valid,
        truth=_truth(seen, masks),
        flatfield=flatfield,
        background=spec.background,
        offset=CAMERA_OFFSET,
    )


def plate_flatfield(
    shape: tuple[int, int], spec: ScreenSpec | PaintingSpec, plate: str
) -> NDArray[np.float32]:
    """Return the illumination of a plate.

    Parameters
    ----------
    shape : tuple of int
        ``(y, x)`` of a frame.
    spec : ScreenSpec or PaintingSpec
        Strength of the vignetting, and seed.
    plate : str
        Plate name; plates differ slightly.

    Returns
    -------
    NDArray
        Shape ``(y, x)``, float32, mean 1: a smooth hill with its top off the centre.
    """
    rng = np.random.default_rng([spec.seed, zlib.crc32(plate.encode())])
    top_y, top_x = rng.uniform(-0.25, 0.25, 2)
    wide_y, wide_x = rng.uniform(0.85, 1.15, 2)
    y = np.linspace(-1, 1, shape[0])[:, None]
    x = np.linspace(-1, 1, shape[1])[None, :]
    square = ((y - top_y) / wide_y) ** 2 + ((x - top_x) / wide_x) ** 2
    # Fall-off as the cosine to the fourth, scaled to reach the wanted depth in the far corner.
    fall = 1.0 / (1.0 + 0.35 * square) ** 2
    depth = (fall.max() - fall) / (fall.max() - fall.min())
    flat = 1.0 - spec.vignetting * depth
    # In steps of 2**-12: the truth on disk is exact and packs ten times smaller.
    flatfield: NDArray[np.float32] = (np.rint(4096 * flat / flat.mean()) / 4096).astype(np.float32)
    return flatfield


def _draw(
    cells: list[Cell], shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.uint16], list[Cell]]:
    """Draw all nuclei; return grey levels, masks, and the nuclei in the order of their labels."""
    signal = np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.uint16)
    shown: list[Cell] = []
    for cell in cells:
        patch = render(cell.look, cell.phase, (cell.y, cell.x), cell.angle, cell.growth)
        if stamp(patch, signal, labels, len(shown) + 1):
            shown.append(cell)
    return signal, labels, shown


def stamp(
    patch: Patch, signal: NDArray[np.float32], labels: NDArray[np.uint16], label: int
) -> bool:
    """Put a patch into the frame where no other nucleus is; return whether it is to be seen."""
    height, width = patch.cover.shape
    rows = slice(max(patch.top, 0), min(patch.top + height, signal.shape[0]))
    columns = slice(max(patch.left, 0), min(patch.left + width, signal.shape[1]))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return False
    part = np.s_[
        rows.start - patch.top : rows.stop - patch.top,
        columns.start - patch.left : columns.stop - patch.left,
    ]
    cover, levels = patch.cover[part], patch.signal[part]
    taken = labels[rows, columns] > 0
    inside = cover > 0.5
    # What a neighbour or the border cuts off is not drawn: a nucleus is in one piece.
    mine = inside & ~taken
    if cover.shape != patch.cover.shape or (inside & taken).any():
        mine = largest_part(mine)
        levels = np.where(mine | ~inside, levels, 0)
    if mine.sum() < max(_SMALLEST_PX, 0.5 * inside.sum()):
        return False
    view = signal[rows, columns]
    np.maximum(view, np.where(taken, 0, levels), out=view)
    labels[rows, columns][mine] = label
    return True


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of a mask."""
    from scipy import ndimage

    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    largest: NDArray[np.bool_] = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return largest


def _photograph(
    signal: NDArray[np.float32],
    flatfield: NDArray[np.float32],
    spec: ScreenSpec,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return what the camera records of the grey levels above background."""
    from scipy import ndimage

    if spec.blur_px:
        sharp = ndimage.gaussian_filter(signal, spec.blur_px)
        haze = ndimage.uniform_filter(ndimage.uniform_filter(signal, 13), 13)
        signal = 0.95 * sharp + 0.05 * haze
    light = flatfield * (signal + spec.background)
    if spec.noise:
        scale = _ELECTRONS_PER_LEVEL / spec.noise**2
        light = rng.poisson(light * scale).astype(np.float32) / scale
        light += rng.standard_normal(light.shape, np.float32) * (_READ_NOISE_LEVELS * spec.noise)
    levels: NDArray[np.uint8] = np.clip(np.rint(light + CAMERA_OFFSET), 0, 255).astype(np.uint8)
    return levels


def _truth(seen: list[tuple[int, list[Cell]]], masks: NDArray[np.uint16]) -> Truth:
    from scipy import ndimage

    centres = [np.zeros((0, 2))]
    for number, cells in seen:
        if cells:
            order = np.arange(1, len(cells) + 1)
            image = masks[number]
            centres.append(np.array(ndimage.center_of_mass(image > 0, image, order)))
    flat = [
        (number, label, cell) for number, cells in seen for label, cell in enumerate(cells, start=1)
    ]
    return Truth(
        frame=np.array([number for number, _, _ in flat], np.int32),
        label=np.array([label for _, label, _ in flat], np.int32),
        track=np.array([cell.track for _, _, cell in flat], np.int32),
        parent=np.array([cell.parent for _, _, cell in flat], np.int32),
        positions=np.concatenate(centres),
        phase=np.array([cell.phase for _, _, cell in flat], dtype="U12"),
    )
