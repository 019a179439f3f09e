"""What neighbours say of their overlap: agreement, objects twice, lost, cut off."""

import numpy as np
import pytest

from idrstream.quality.tiles import SEEN_FIELDS, SeenTile
from idrstream.records import Tile
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


def seen(tile: Tile, image: np.ndarray) -> SeenTile:
    objects = own_objects(objects_in(np.ascontiguousarray(image[tile.region.slices])), tile)
    tables = [(objects.table, True), (objects.of_neighbours, False)]
    rows = np.zeros(sum(len(table) for table, _ in tables), SEEN_FIELDS)
    at = 0
    for table, owned in tables:
        part = rows[at : at + len(table)]
        at += len(table)
        part["owned"], part["area"] = owned, table["area"]
        for name, of in (("y", 0), ("top", 0), ("bottom", 0), ("x", 1), ("left", 1), ("right", 1)):
            part[name] = table[name] + tile.region[of]
    return SeenTile("P", "A1", 1, tile.number, tile.count, tile.region, tile.core, tile.image, rows)


def check(*images: np.ndarray) -> SeamCheck:
    tiles = list(tiles_of(GRID))
    images = images * len(tiles) if len(images) == 1 else images
    return check_seams([seen(tile, image) for tile, image in zip(tiles, images, strict=True)])


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
