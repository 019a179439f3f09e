"""The light of a Cell Painting field's five channels, from the places of nuclei and cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Grey levels above background of a bright part of a cell, by channel; see `paint`.
LEVELS = {"DNA": 3200.0, "ER": 2300.0, "RNA": 2000.0, "AGP": 2400.0, "Mito": 3000.0}


@dataclass(frozen=True, slots=True)
class CellMaps:
    """Where the parts of cells are, pixel by pixel.

    Attributes
    ----------
    nuclei, cells : NDArray
        Shape ``(y, x)``, uint16: label images; a nucleus and its cell have the same number.
    rho : NDArray
        Shape ``(y, x)``, float32: distance from the centre of the own cell in units of its
        outline's; 1 outside of cells.
    across_px : NDArray
        Shape ``(y, x)``, float32: distance from the long axis of the own cell in pixels.
    golgi : NDArray
        Shape ``(y, x)``, float32: 0 to 1, a spot beside the nucleus.
    dna, nucleoli : NDArray
        Shape ``(y, x)``, float32: chromatin and nucleoli, about 1 where bright.
    """

    nuclei: NDArray[np.uint16]
    cells: NDArray[np.uint16]
    rho: NDArray[np.float32]
    across_px: NDArray[np.float32]
    golgi: NDArray[np.float32]
    dna: NDArray[np.float32]
    nucleoli: NDArray[np.float32]


def paint(
    maps: CellMaps,
    gains: NDArray[np.float32],
    cell_diameter_px: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the light above background of each channel.

    Parameters
    ----------
    maps : CellMaps
        Where the parts of cells are.
    gains : NDArray
        Shape ``(1 + number of cells, 5)``: brightness of each cell in each channel; the first
        row, of the background, is not used.
    cell_diameter_px : float
        Mean diameter of a cell.
    rng : numpy.random.Generator
        Source of the textures.

    Returns
    -------
    NDArray
        Shape ``(5, y, x)``, float32, grey levels: DNA, ER, RNA, AGP, Mito. A cell is thick beside
        its nucleus and thin at its border. ER lies around the nucleus and outlines it; RNA is in
        nucleoli and cytoplasm; actin in fibres and at the border, the Golgi beside the
        nucleus; mitochondria are threads.
    """
    from scipy import ndimage

    inside = maps.nuclei > 0
    cell = maps.cells > 0
    from_nucleus = ndimage.distance_transform_edt(~inside).astype(np.float32)
    near = np.exp(-from_nucleus / (0.17 * cell_diameter_px))
    thick = np.where(cell, np.sqrt(np.clip(1.08 - maps.rho**2, 0.03, 1.0)), 0).astype(np.float32)
    cytoplasm = np.where(inside, 0, thick)
    fine, net, coarse = (_texture(rng, cell.shape, sigma) for sigma in (1.1, 1.7, 5.0))
    er = cytoplasm * (0.22 + 0.9 * near) * _positive(1 + 0.28 * net + 0.18 * coarse)
    er += inside * 0.30 * (1 + 0.1 * net)
    rna = cytoplasm * (0.35 + 0.5 * near) * _positive(1 + 0.13 * fine + 0.12 * coarse)
    rna += inside * (0.5 + 0.06 * fine) + 1.1 * maps.nucleoli
    channels = (
        maps.dna,
        er,
        rna,
        _actin(maps, thick, fine, coarse),
        cytoplasm * (0.06 + 1.5 * near**0.6 * np.exp(-np.abs(net + 0.25 * fine) / 0.22)),
    )
    levels = np.array(list(LEVELS.values()), np.float32)[:, None, None]
    own = np.moveaxis(gains[maps.cells], -1, 0)
    painted: NDArray[np.float32] = (np.stack(channels) * levels * own).astype(np.float32)
    return painted


def _actin(
    maps: CellMaps,
    thick: NDArray[np.float32],
    fine: NDArray[np.float32],
    coarse: NDArray[np.float32],
) -> NDArray[np.float32]:
    from scipy import ndimage

    # An inner border pixel has a pixel of no or another cell beside it.
    low, high = (
        one(maps.cells, size=3) for one in (ndimage.minimum_filter, ndimage.maximum_filter)
    )
    to_border = ndimage.distance_transform_edt(low == high)
    border = np.exp(-to_border / 1.6) * (maps.cells > 0)
    fibres = np.clip(np.sin(1.3 * maps.across_px + 1.4 * coarse), 0, 1) ** 3
    spread = thick > 0
    grain = _positive(1 + 0.2 * fine)
    light = (0.16 * thick + 0.16 * fibres * spread * (maps.nuclei == 0)) * grain
    found: NDArray[np.float32] = (
        light + 0.55 * border * _positive(1 + 0.35 * coarse) + 0.95 * maps.golgi * grain
    )
    return found


def _positive(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(values, 0.1, None)


def _texture(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> NDArray[np.float32]:
    """Return noise of mean 0 and deviation 1 with grains of about `sigma` pixels."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="wrap")
    texture: NDArray[np.float32] = (smooth - smooth.mean()) / smooth.std()
    return texture
