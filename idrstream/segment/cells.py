"""Cells around nuclei, and cytoplasm: label images of one frame. Pure functions.

All label images have shape ``(Y, X)`` and int32; a cell has the label of its nucleus and contains
it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.records import OBJECT_KINDS, GreyLevels, Objects
from idrstream.segment.labels import Labels, objects_in, same_rows

_SMOOTHING_PX = 1.0
_REGULARIZATION = 0.05  # CellProfiler's default


@dataclass(frozen=True, slots=True)
class FoundCells:
    """Cells of one frame, matched with its nuclei.

    Attributes
    ----------
    nuclei : NDArray of int32
        The nuclei, those without a row of their own left out.
    cells : NDArray of int32
        The cells, under the labels of their nuclei.
    cytoplasm : NDArray of int32
        The cells without any nucleus.
    children : NDArray of int32, optional
        By label of a nucleus, from 0: the nuclei in its cell; 0 where it has no cell. None where
        every cell was made of its nucleus.
    without_nucleus, sharing : int
        Cells without a nucleus, and nuclei in the cell of a larger one: they are left out.
    """

    nuclei: Labels
    cells: Labels
    cytoplasm: Labels
    children: NDArray[np.int32] | None = None
    without_nucleus: int = 0
    sharing: int = 0


def expanded(nuclei: Labels, distance_px: float) -> FoundCells:
    """Return cells that reach so far beyond their nuclei, or half way to the next one.

    Where two cells meet, a pixel belongs to the nearer nucleus (``skimage.segmentation
    .expand_labels``); the border of the image ends them.
    """
    from skimage.segmentation import expand_labels

    return _around(nuclei, expand_labels(nuclei, distance_px))  # type: ignore[no-untyped-call]


def grey_levels_of_cells(windows: Sequence[NDArray[Any]]) -> GreyLevels | None:
    """Return the grey levels that `propagated` takes for all tiles of an image.

    Minimum, maximum and threshold of all windows together; None if they have one value.
    """
    from skimage.filters import threshold_li

    smooth = np.concatenate([_smoothed(window).ravel() for window in windows])
    low, high = float(smooth.min()), float(smooth.max())
    if high <= low:
        return None
    threshold = float(threshold_li((smooth - low) / (high - low)))  # type: ignore[no-untyped-call]
    return GreyLevels(low, high, low + threshold * (high - low))


def propagated(
    nuclei: Labels,
    pixels: NDArray[Any],
    distance_px: float = math.inf,
    levels: GreyLevels | None = None,
) -> FoundCells:
    """Return cells that spread from their nuclei over the bright parts of a channel.

    A seeded watershed whose distance grows with steps of intensity: CellProfiler's Propagation,
    by its own function (Jones, Carpenter & Golland 2005, doi:10.1007/11569541_54). Cells end
    where the channel, smoothed by a Gaussian of 1 px, is below its minimum cross-entropy
    threshold (Li & Tam 1998), and where the next cell begins.

    Parameters
    ----------
    nuclei : NDArray of int32
        The nuclei.
    pixels : NDArray
        Shape ``(Y, X)``: the channel, of any scale.
    distance_px : float
        How far a cell reaches from its nucleus at most.
    levels : GreyLevels, optional
        Those of the whole image, from `grey_levels_of_cells`, if this is a tile; by default of the
        pixels alone.
    """
    from centrosome.propagate import propagate
    from scipy.ndimage import distance_transform_edt

    smooth = _smoothed(pixels)
    levels = levels or grey_levels_of_cells([pixels])
    foreground = nuclei > 0
    if levels is not None:
        foreground |= smooth > levels.dark
        smooth = (smooth - levels.low) / (levels.high - levels.low)
    if math.isfinite(distance_px):
        foreground &= distance_transform_edt(nuclei == 0) <= distance_px
    cells, _ = propagate(smooth, nuclei, foreground, _REGULARIZATION)
    return _around(nuclei, cells)


def matched(nuclei: Labels, cells: Labels) -> FoundCells:
    """Return cells that were found on their own under the labels of their nuclei.

    A nucleus belongs to the cell that has more than half of its pixels. Of several nuclei in one
    cell the largest stands for it, of equal ones the first. A nucleus whose pixels no cell has
    for more than half keeps its row, without a cell; a cell without a nucleus is left out.
    """
    n_nuclei, n_cells = int(nuclei.max(initial=0)), int(cells.max(initial=0))
    areas = np.bincount(nuclei.ravel(), minlength=n_nuclei + 1)
    both = (nuclei > 0) & (cells > 0)
    pairs, counts = np.unique(np.stack([nuclei[both], cells[both]]), axis=1, return_counts=True)
    most = 2 * counts > areas[pairs[0]]
    owner = np.zeros(n_nuclei + 1, np.int32)
    owner[pairs[0, most]] = pairs[1, most]
    inside = np.bincount(owner[1:], minlength=n_cells + 1)
    # By cell, then the largest, then the first.
    order = np.lexsort((np.arange(n_nuclei + 1), -areas, owner))
    first = {int(owner[n]): int(n) for n in order[::-1] if owner[n]}
    label_of = np.zeros(n_cells + 1, np.int32)
    label_of[list(first)] = list(first.values())
    stands = (owner == 0) | (label_of[owner] == np.arange(n_nuclei + 1))
    kept = np.where(stands[nuclei], nuclei, 0)
    found = np.where((kept > 0) & (owner[nuclei] > 0), kept, label_of[cells])
    return FoundCells(
        kept.astype(np.int32),
        found.astype(np.int32),
        np.where(nuclei > 0, 0, found).astype(np.int32),
        np.where(owner > 0, inside[owner], 0).astype(np.int32),
        int((inside[1:] == 0).sum()),
        int((~stands).sum()),
    )


def objects_of(
    found: FoundCells,
    *,
    drop_edge: bool,
    outlines: bool = False,
    diameter_px: float = math.nan,
    channel: str = "",
) -> Objects:
    """Return the nuclei of a frame with their cells and cytoplasms, row by row.

    Parameters
    ----------
    found : FoundCells
        The label images.
    drop_edge : bool
        Leave out nuclei with a pixel on the border of the image, and their cells.
    outlines, diameter_px, channel
        As of `objects_in`; the outlines are those of the nuclei.
    """
    present = np.zeros(int(found.nuclei.max(initial=0)) + 1, np.bool_)
    present[found.nuclei.ravel()] = True
    if drop_edge:
        for edge in (found.nuclei[0], found.nuclei[-1], found.nuclei[:, 0], found.nuclei[:, -1]):
            present[edge] = False
    present[0] = False
    new = np.where(present, np.cumsum(present), 0).astype(np.int32)
    nuclei = objects_in(
        new[found.nuclei], outlines=outlines, diameter_px=diameter_px, channel=channel
    )
    related = tuple(
        same_rows(objects_in(new[labels], kind, channel=channel), nuclei.table)
        for kind, labels in zip(OBJECT_KINDS[1:], (found.cells, found.cytoplasm), strict=True)
    )
    children = None if found.children is None else found.children[: len(present)][present]
    counts: dict[str, int] = {}
    if children is not None:
        counts = {
            "Cells_Without_Nucleus": found.without_nucleus,
            "Nuclei_In_Larger_Ones_Cell": found.sharing,
            "Nuclei_Without_Cell": int((children == 0).sum()),
        }
    return Objects(
        nuclei.name, nuclei.labels, nuclei.table, nuclei.outlines, diameter_px, channel, related,
        children, counts,
    )  # fmt: skip


def _smoothed(pixels: NDArray[Any]) -> NDArray[np.float64]:
    from skimage.filters import gaussian

    found: NDArray[np.float64] = gaussian(pixels.astype(np.float64), _SMOOTHING_PX)  # type: ignore[no-untyped-call]
    return found


def _around(nuclei: Labels, cells: NDArray[Any]) -> FoundCells:
    inside = nuclei > 0
    whole = np.where(inside, nuclei, cells).astype(np.int32)
    return FoundCells(nuclei, whole, np.where(inside, 0, whole).astype(np.int32))
