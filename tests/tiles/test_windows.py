"""Windows fixed to an image: each tile holds all of those that matter to the objects it owns."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from idrstream.errors import ConfigError
from idrstream.tiles.grid import Grid, overlap_for
from idrstream.tiles.windows import SIDE_PX, STEP_PX, Windows

SCALES = st.floats(0.2, 10.0)


@given(st.integers(1, 40_000), SCALES)
def test_windows_cover_the_image_and_a_little_more(length: int, scale: float) -> None:
    windows = Windows(length, scale)
    assert windows.start(0) < 0
    assert windows.start(windows.count - 1) + SIDE_PX > windows.seen
    assert windows.count == 1 or windows.start(windows.count - 2) + SIDE_PX < windows.seen + 8
    assert windows.span(0, windows.count - 1) == (0, length)
    assert windows.within(0, length) == (0, windows.count - 1)


@given(st.integers(1, 40_000), SCALES, st.data())
def test_what_windows_are_made_of_is_looked_at_through_those(
    length: int, scale: float, data: st.DataObject
) -> None:
    windows = Windows(length, scale)
    first = data.draw(st.integers(0, windows.count - 1))
    last = data.draw(st.integers(first, windows.count - 1))
    start, stop = windows.span(first, last)
    at_the_end = stop == length  # all that the last windows are made of is there, too
    assert windows.within(start, stop) == (first, windows.count - 1 if at_the_end else last)
    seen = max(0, windows.start(first)), min(windows.seen, windows.start(last) + SIDE_PX)
    for pixel in (seen[0], seen[1] - 1):  # both pixels that each is interpolated from are there
        at = min(max((pixel + 0.5) / scale - 0.5, 0), length - 1)
        assert start <= math.floor(at)
        assert min(math.floor(at) + 1, length - 1) < stop


@settings(deadline=None)
@given(st.integers(1, 20_000), SCALES, st.integers(2, 12), st.floats(1, 30))
def test_tiles_share_the_windows_around_their_border(
    length: int, scale: float, held: int, diameters_px: float
) -> None:
    overlap = overlap_for(diameters_px, scale)
    side = math.ceil((SIDE_PX + STEP_PX * held) / scale)
    try:
        grid = Grid((length, 1), side, overlap, scale)
    except ConfigError:  # too small; see below
        reject()
    windows, boxes = Windows(length, scale), list(grid.boxes())
    assert len(boxes) == len(grid)
    assert boxes[0][1].top == 0
    assert boxes[-1][1].bottom == length
    for region, core in boxes:
        assert region.top <= core.top < core.bottom <= region.bottom
        assert region.bottom - region.top <= grid.largest[0] <= side + 4
        first, last = windows.within(region.top, region.bottom)
        # Flows are those of whole windows, blended with all their neighbours, 100 pixels around.
        if first:
            assert windows.start(first) + 32 <= core.top * scale - 100
        if last < windows.count - 1:
            assert windows.start(last) + SIDE_PX - 32 >= core.bottom * scale + 100
    for (_, core), (_, after) in pairwise(boxes):
        assert core.bottom == after.top


def test_a_tile_must_hold_two_windows() -> None:
    assert len(Grid((600, 600), 544, 136, 1.0)) == 4
    with pytest.raises(ConfigError, match="make tile_px at least 544"):
        Grid((600, 600), 543, 136, 1.0)
    with pytest.raises(ConfigError, match="make tile_px at least 1088"):
        Grid((600, 600), 1000, 136, 0.5)
