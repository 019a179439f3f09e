"""Tiles: every pixel and every object of an image belongs to exactly one."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idrstream.errors import ConfigError
from idrstream.records import Box, GreyLevels, Tile
from idrstream.segment.labels import objects_in
from idrstream.tiles.grid import Grid, format_tile, overlap_for, parse_tile, tiles_of
from idrstream.tiles.own import at_image_border, global_points, kept, owned


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    overlap = draw(st.integers(4, 40))
    side = draw(st.integers(2 * overlap, 2 * overlap + 90))
    sides = st.integers(1, 400)
    return Grid((draw(sides), draw(sides)), side, overlap)


@settings(deadline=None)
@given(grids())
def test_cores_cover_the_image_once_and_lie_in_their_regions(grid: Grid) -> None:
    covered = np.zeros(grid.image, int)
    tiles = list(tiles_of(grid))
    assert [tile.number for tile in tiles] == list(range(1, len(grid) + 1))
    for tile in tiles:
        assert tile.count == len(tiles)
        covered[tile.core.slices] += 1
        assert max(tile.region.shape) <= grid.side_px
        assert tile.region.top <= tile.core.top < tile.core.bottom <= tile.region.bottom
        assert tile.region.left <= tile.core.left < tile.core.right <= tile.region.right
    assert (covered == 1).all()


@settings(deadline=None)
@given(grids())
def test_neighbours_see_half_the_overlap_beyond_their_cores(grid: Grid) -> None:
    for tile in tiles_of(grid):
        for start, core, end in (
            (tile.region.top, tile.core.top, grid.image[0]),
            (tile.region.left, tile.core.left, grid.image[1]),
        ):
            assert start == core == 0 or core - start >= grid.overlap_px // 2
            assert end > 0


@settings(max_examples=40, deadline=None)
@given(grids(), st.integers(0, 2**32 - 1), st.data())
def test_each_object_is_owned_once_in_whatever_order(
    grid: Grid, seed: int, data: st.DataObject
) -> None:
    # Rectangles apart from each other, none larger than half the overlap: each is seen whole.
    rng = np.random.default_rng(seed)
    most = grid.overlap_px // 2
    image = np.zeros(grid.image, np.int32)
    step = most + 1
    number = 0
    for y in range(0, grid.image[0] - most + 1, step):
        for x in range(0, grid.image[1] - most + 1, step):
            height, width = rng.integers(1, most + 1, 2)
            if rng.random() < 0.3:
                number += 1
                image[y : y + height, x : x + width] = number
    expected = sorted(map(tuple, objects_in(image).locations))
    found: list[tuple[float, ...]] = []
    for tile in data.draw(st.permutations(list(tiles_of(grid)))):
        objects = objects_in(np.ascontiguousarray(image[tile.region.slices]))
        mine = kept(objects, owned(objects.table, tile))
        assert sorted(set(np.unique(mine.labels)) - {0}) == list(range(1, len(mine) + 1))
        assert np.allclose(objects_in(mine.labels).locations, mine.locations)
        found += map(tuple, np.round(global_points(mine.locations, tile), 6))
    assert sorted(found) == [tuple(np.round(point, 6)) for point in expected]


def test_a_centroid_on_the_border_of_two_cores_belongs_to_one() -> None:
    first, second = tiles_of(Grid((10, 30), 20, 10))
    border = first.core.right
    image = np.zeros((10, 30), np.int32)
    image[4, border - 1 : border + 1] = 1  # its centroid is exactly between them
    seen = [objects_in(np.ascontiguousarray(image[t.region.slices])) for t in (first, second)]
    assert [owned(s.table, t).sum() for s, t in zip(seen, (first, second), strict=True)] == [0, 1]


def test_the_border_of_a_tile_is_none_of_the_image() -> None:
    first, second = tiles_of(Grid((10, 30), 20, 10))
    image = np.zeros((10, 30), np.int32)
    image[4, 5:24] = 1
    objects = objects_in(np.ascontiguousarray(image[first.region.slices]))
    assert owned(objects.table, first).all()
    assert not at_image_border(objects.table, first).any()
    image[:, 28:] = 2
    objects = objects_in(np.ascontiguousarray(image[second.region.slices]))
    assert at_image_border(objects.table, second).tolist() == [False, True]


def test_numbers_in_the_whole_image_never_meet() -> None:
    tiles = list(tiles_of(Grid((1000, 1000), 100, 10)))
    room = tiles[1].first_label - tiles[0].first_label
    assert [tile.first_label for tile in tiles] == [room * n for n in range(len(tiles))]
    assert tiles[-1].first_label + room < 2**32


def test_the_last_tiles_are_as_large_as_what_is_left() -> None:
    grid = Grid((5000, 3110))
    assert [tuple(region) for region, _ in grid.boxes()] == [
        (0, 0, 3104, 3104), (0, 2816, 3104, 3110), (2816, 0, 5000, 3104), (2816, 2816, 5000, 3110),
    ]  # fmt: skip
    assert len(Grid((3104, 288))) == 1


def test_the_overlap_grows_with_the_objects() -> None:
    assert overlap_for(math.nan) == overlap_for(17.0) == 288
    assert overlap_for(100.0) >= 800
    with pytest.raises(ConfigError, match="tile_px"):
        Grid((1000, 1000), 500, overlap_for(100.0))


def test_a_tile_reads_back_from_its_text() -> None:
    tile = Tile(
        2, 9, Box(0, 80, 100, 180), Box(0, 90, 90, 170), (300, 300),
        GreyLevels(10.5, 300.25, 20.0, 12.0), 17.3, 0.325, (100, 120),
        (GreyLevels(5.0, 90.0, 7.0), None), 40.0,
    )  # fmt: skip
    assert parse_tile(format_tile(tile)) == tile
    plain = parse_tile(format_tile(next(tiles_of(Grid((5, 7))))))
    assert plain.levels is None
    assert plain.largest == (5, 7)
    older = (
        format_tile(tile).replace("300.25,20.0,12.0", "300.25,20.0").replace("[100,120]", "null")
    )
    assert parse_tile(older) == replace(tile, levels=GreyLevels(10.5, 300.25, 20.0), largest=None)
    assert math.isnan(plain.diameter_px)
    assert math.isnan(plain.pixel_um)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[" * 100_000,
        '{"number":1,"count":1,"region":[0,0,9,9],"core":[0,0,9,10],"image":[9,9],"levels":null,'
        '"diameter_px":null,"pixel_um":null}',
        '{"number":2,"count":1,"region":[0,0,9,9],"core":[0,0,9,9],"image":[9,9],"levels":null,'
        '"diameter_px":null,"pixel_um":null}',
    ],
)
def test_what_is_no_tile_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a tile"):
        parse_tile(text)
