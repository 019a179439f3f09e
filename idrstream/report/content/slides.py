"""Large images as a whole: where the cells are, and how the tiles agree at their borders."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import StorageError
from idrstream.quality.tiles import SeenTile, read_seen
from idrstream.report import charts
from idrstream.tiles.seams import check_seams

if TYPE_CHECKING:
    from idrstream.report.data import FolderData

log = logging.getLogger(__name__)

_SIDE_PX = 600  # the longer side of a picture
_CELL_PX = 4  # of the picture, in which objects are counted
_MOST = 24


def large_images(data: FolderData) -> list[dict[str, Any]]:
    """Return picture and seam check of each large image; none if there are none."""
    images: dict[tuple[str, str, int], dict[int, SeenTile]] = {}
    for number in data.batches["Batch"]:
        try:
            for tile in read_seen(data.folder, int(number)):
                images.setdefault((tile.plate, tile.well, tile.site), {})[tile.number] = tile
        except StorageError as error:
            log.warning("The report lacks tiles: %s", error)
    return [_picture(list(tiles.values())) for tiles in list(images.values())[:_MOST]]


def _picture(tiles: list[SeenTile]) -> dict[str, Any]:
    one = tiles[0]
    name = f"Plate {one.plate}, well {one.well}" + (f", site {one.site}" if one.site != 1 else "")
    density = density_map(tiles)
    known = density[np.isfinite(density)]
    high = float(np.quantile(known, 0.995)) if known.size else 1.0
    check = check_seams(tiles)
    height, width = density.shape
    size = f"{one.image[0]:,} x {one.image[1]:,} pixels"
    return {
        "uri": charts.data_uri(charts.coloured(density, 0.0, max(high, 1.0))),
        "width": width,
        "height": height,
        "words": f"{name}: density of {check.objects:,} objects in {size}",
        "caption": f"{name}: {size}, {len(tiles)} of {one.count} tiles. {check}.",
    }


def density_map(tiles: list[SeenTile]) -> NDArray[np.float64]:
    """Return objects in squares of the image, NaN at the borders of tiles and where none is done.

    Returns
    -------
    NDArray of float64
        Shape ``(Y, X)``, at most 600 x 600.
    """
    height, width = tiles[0].image
    scale = min(1.0, _SIDE_PX / max(height, width))
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    cells = -(-shape[0] // _CELL_PX), -(-shape[1] // _CELL_PX)
    counts = np.zeros(cells)
    done = np.zeros(shape, np.bool_)
    for tile in tiles:
        mine = tile.seen[tile.seen["owned"]]
        rows = np.clip(mine["y"] * scale / _CELL_PX, 0, cells[0] - 1).astype(np.intp)
        columns = np.clip(mine["x"] * scale / _CELL_PX, 0, cells[1] - 1).astype(np.intp)
        np.add.at(counts, (rows, columns), 1)
        top, left, bottom, right = (round(side * scale) for side in tile.core)
        done[top + bool(top) : bottom, left + bool(left) : right] = True
    large = np.repeat(np.repeat(counts, _CELL_PX, 0), _CELL_PX, 1)[: shape[0], : shape[1]]
    return np.where(done, large, np.nan)
