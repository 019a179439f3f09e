"""What neighbours say of their overlap: agreement, objects twice, lost, cut off."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.recfunctions import repack_fields

from idrstream.quality.tiles import (
    SEEN_FIELDS,
    SeenTile,
    read_seen,
    seen_in,
    seen_path,
    write_seen,
)
from idrstream.records import Frame, ImageTask, Tile
from idrstream.segment.cells import expanded, objects_of
from idrstream.segment.labels import objects_in
from idrstream.tiles.grid import Grid, tiles_of
from idrstream.tiles.own import own_objects
from idrstream.tiles.seams import SeamCheck, check_seams

GRID = Grid((120, 200), 120, 40)


def squares(*places: tuple[int, int], side: int = 10) -> np.ndarray:
    image = np.zeros(GRID.image, np.int32)
    for number, (y, x) in enumerate(places, start=1):
        image[y : y + side, x : x + side] = number
    return image


def seen(tile: Tile, image: np.ndarray, reach_px: float = 0.0) -> SeenTile:
    """Return what a tile sees of labelled nuclei, with cells that reach so far around them."""
    labels = np.ascontiguousarray(image[tile.region.slices])
    nuclei = objects_in(labels)
    if reach_px:
        nuclei = objects_of(expanded(nuclei.labels, reach_px), drop_edge=False)
    task = ImageTask("P", "A1", 1, (tile.number,))
    frame = Frame(labels[None].astype(np.uint8), tile.number, task, tile=tile)
    return seen_in(frame, own_objects(nuclei, tile))


def check(*images: np.ndarray, reach_px: float = 0.0) -> SeamCheck:
    tiles = list(tiles_of(GRID))
    images = images * len(tiles) if len(images) == 1 else images
    return check_seams(
        [seen(tile, image, reach_px) for tile, image in zip(tiles, images, strict=True)]
    )


def test_tiles_that_see_the_same_agree_wholly() -> None:
    tiles = list(tiles_of(GRID))
    assert len(tiles) == 2
    border = tiles[0].core.right
    places = [(20, border - 5), (50, border - 11), (80, border + 1), (20, 20), (60, 180)]
    found = check(squares(*places))
    assert (found.objects, found.doubled, found.lost, found.cut_off) == (5, 0, 0, 0)
    assert found.agreed == found.seen > 0
    assert found.agreement == 1.0
    assert "agree on 100.00%" in str(found)


@pytest.mark.parametrize(
    ("shift", "doubled", "lost"),
    [((1, -2), 0, 1), ((-2, 1), 1, 0)],  # where the first and the second tile see it
)
def test_an_object_at_the_border_that_each_sees_elsewhere(
    shift: tuple[int, int], doubled: int, lost: int
) -> None:
    border = next(tiles_of(GRID)).core.right
    first, second = (squares((40, border - 5 + by)) for by in shift)
    found = check(first, second)
    assert (found.doubled, found.lost) == (doubled, lost)
    assert found.objects == 1 + doubled - lost


def test_an_object_that_one_does_not_see_is_lost_or_disputed() -> None:
    border = next(tiles_of(GRID)).core.right
    here, nothing = squares((40, border - 1)), squares()
    assert check(here, nothing).lost == 1
    found = check(nothing, here)
    assert (found.lost, found.doubled, found.objects) == (0, 0, 1)
    assert found.agreement < 1


def test_objects_larger_than_the_overlap_are_counted() -> None:
    border = next(tiles_of(GRID)).core.right
    found = check(squares((20, border - 45), side=80))
    assert found.cut_off == 2  # either tile owns its part of it
    assert "tile_overlap_px" in str(found)


def test_cells_larger_than_the_overlap_are_counted_where_their_nuclei_are_not() -> None:
    border = next(tiles_of(GRID)).core.right
    nuclei = squares((20, border - 14), (100, 20), (50, border + 2))
    assert check(nuclei).cut_off == 0
    assert check(nuclei, reach_px=5).cut_off == 0
    found = check(nuclei, reach_px=25)  # the overlap goes 20 px beyond a core
    assert (found.cut_off, found.objects) == (2, 3)
    assert "or their cells" in str(found)


def test_a_nucleus_without_a_cell_is_not_cut_off() -> None:
    tile = list(tiles_of(GRID))[1]
    nuclei = own_objects(objects_in(squares((60, 180))[tile.region.slices].copy()), tile)
    assert len(nuclei) == 1
    missing = replace(nuclei, name="Cells", table=np.zeros_like(nuclei.table))
    task = ImageTask("P", "A1", 1, (tile.number,))
    frame = Frame(nuclei.labels[None].astype(np.uint8), tile.number, task, tile=tile)
    assert not seen_in(frame, replace(nuclei, related=(missing,))).seen["cut_off"].any()


def test_what_tiles_saw_is_kept_with_what_is_cut_off(tmp_path: Path) -> None:
    border = next(tiles_of(GRID)).core.right
    image = squares((20, border - 14), (50, border + 2))
    tiles = [seen(tile, image, reach_px=25) for tile in tiles_of(GRID)]
    (tmp_path / "qc").mkdir()
    write_seen(tmp_path, 3, tiles)
    again = list(read_seen(tmp_path, 3))
    assert check_seams(again) == check_seams(tiles)
    assert check_seams(again).cut_off == 2


def test_what_an_earlier_version_kept_is_read(tmp_path: Path) -> None:
    border = next(tiles_of(GRID)).core.right
    tiles = [seen(tile, squares((20, border - 45), side=80)) for tile in tiles_of(GRID)]
    (tmp_path / "qc").mkdir()
    write_seen(tmp_path, 3, tiles)
    path = seen_path(tmp_path, 3)
    arrays = dict(np.load(path))
    names = [name for name in SEEN_FIELDS.names if name != "cut_off"]
    arrays["seen"] = repack_fields(arrays["seen"][names])
    np.savez_compressed(path, **arrays)
    assert check_seams(list(read_seen(tmp_path, 3))).cut_off == 2
