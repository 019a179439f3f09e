"""From rows of images to rows of tiles: the table that is streamed.

Each row has all that its tile needs: where it lies, and the grey levels and diameter of its whole
image. So whoever processes a row, in whatever order, on whatever machine, comes to the same result.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from idrstream.errors import ImageError
from idrstream.records import ImageTask, Tile
from idrstream.screen import checked_rows, read_table
from idrstream.screen.columns import FRAMES, TILE
from idrstream.tiles.grid import Grid, made_of, overlap_for, parse_tile, tiles_of
from idrstream.tiles.sample import ImageSample, WholeImage, take_sample

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from idrstream.formats.large.image import LargeImage


_FINER = 1, 4, 8
"""Of a slide that is nearly empty the first sample may miss what there is."""


class Row(NamedTuple):
    """A tile's cells: of the columns ``Frames`` and ``Tile``."""

    number: str
    tile: str


logger = logging.getLogger("idrstream.tiles")


def tile_table(
    table: pd.DataFrame,
    cut: Callable[[ImageTask], Sequence[Row]],
    *,
    ignore_invalid: bool = False,
) -> pd.DataFrame:
    """Return a table with a row for each tile of the images of another.

    Parameters
    ----------
    table : pandas.DataFrame
        A row for each image. One with a column ``Tile`` was made by this function already and is
        returned as it is. ``Frames``, if there, is not used.
    cut : callable
        Returns the rows of an image.
    ignore_invalid : bool
        Leave unusable rows out.

    Returns
    -------
    pandas.DataFrame
        Its rows in order, each as often as its image has tiles, with the tile's number in
        ``Frames`` and the tile in ``Tile``. An image that cannot be read keeps one row, whose
        failure the stream records.

    Raises
    ------
    idrstream.errors.TableError
        If rows cannot be used, or two are of one well and site.
    """
    if TILE in table:
        return table
    table = table.assign(**{FRAMES: "1"})
    tasks = checked_rows(table, ignore_invalid=ignore_invalid).tasks
    rows: list[int] = []
    cells: list[Row] = []
    for task in tasks:
        try:
            tiles = cut(task)
        except ImageError as error:
            logger.error("%s cannot be cut into tiles: %s", task.name, error)
            tiles = [Row("1", "")]
        rows += [task.row] * len(tiles)
        cells += tiles
    found = table.iloc[rows].reset_index(drop=True)
    frames, texts = zip(*cells, strict=True) if cells else ((), ())
    return found.assign(**{FRAMES: list(frames), TILE: list(texts)})


def known_tiles(tables: Iterable[Path]) -> dict[str, list[Row]]:
    """Return the tiles in tables that were made before, by what they were made of.

    An image of which not all tiles are in a table is left out.
    """
    found: dict[str, list[Row]] = {}
    for path in tables:
        table = read_table(path)
        if TILE not in table:
            continue
        images: dict[str, list[Row]] = {}
        for number, text in zip(table[FRAMES], table[TILE], strict=True):
            images.setdefault(made_of(text), []).append(Row(number, text))
        found |= {name: rows for name, rows in images.items() if name and _all_there(rows)}
    return found


def _all_there(rows: Sequence[Row]) -> bool:
    try:
        count = parse_tile(rows[0].tile).count
    except ValueError:  # of another version
        return False
    return [row.number for row in rows] == [str(number) for number in range(1, count + 1)]


def cut_image(
    image: LargeImage,
    channel: int,
    measure: Callable[[ImageSample], WholeImage | None],
    *,
    side_px: int,
    overlap_px: int | None = None,
    others: Sequence[int] = (),
) -> list[Tile]:
    """Return the tiles of an image.

    Parameters
    ----------
    image : LargeImage
        The image.
    channel : int
        Channel that is segmented, counted from 0.
    measure : callable
        Returns what holds for the whole image.
    side_px, overlap_px : int
        See `Grid`; by default the overlap follows from the diameter, that of the cells if larger.
    others : sequence of int
        The segmentor's other channels.
    """
    for finer in _FINER:
        measured = measure(take_sample(image, channel, others, finer))
        if measured is None or (measured.levels and math.isfinite(measured.diameter_px)):
            break
    whole = measured or WholeImage()
    largest_px = float(np.fmax(whole.diameter_px, whole.cell_diameter_px))
    overlap = overlap_for(largest_px, whole.scale) if overlap_px is None else overlap_px
    grid = Grid(image.info.shape, side_px, overlap, whole.scale)
    tiles = list(tiles_of(grid, whole, pixel_um=image.info.pixel_um))
    logger.info(
        "%s: %d x %d pixels in %d tiles of %d with an overlap of %d; diameter %.1f px, %s",
        image.where, *image.info.shape, len(tiles), side_px, overlap, whole.diameter_px,
        "grey levels of each tile" if whole.levels is None else
        "grey levels {:.0f} to {:.0f}".format(*whole.levels[:2]),
    )  # fmt: skip
    return tiles
