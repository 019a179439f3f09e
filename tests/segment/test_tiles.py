"""Cutting images into tiles and blending them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idrstream.segment.network.tiles import TileBlend, cut_tile, plan_tiles

SIDES = st.integers(1, 120).map(lambda n: 16 * n)


@given(SIDES, SIDES)
def test_tiles_are_equal_small_inside_and_overlap(height, width):
    plan = plan_tiles((height, width))
    for axis, side in enumerate((height, width)):
        starts = sorted({corner[axis] for corner in plan.corners})
        size = plan.tile[axis]
        assert size <= 288
        assert size % 16 == 0
        assert starts[0] == 0
        assert starts[-1] + size == side
        assert all(b - a <= size - 32 for a, b in pairwise(starts))


def test_a_frame_is_covered_with_less_waste_than_cellposes_squares():
    plan = plan_tiles((1040, 1360))
    assert len(plan) * np.prod(plan.tile) < 0.75 * 48 * 224**2


@pytest.mark.parametrize("shape", [(272, 272), (304, 272), (1040, 1360), (16, 640)])
def test_blending_the_cut_tiles_gives_the_image_back(shape):
    image = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    plan = plan_tiles(shape)
    blend = TileBlend(plan, 2)
    for index in range(len(plan)):
        tile = cut_tile(image, plan, index)
        blend.add(index, np.stack([tile, -tile]))
    result = blend.result()
    assert result.shape == (2, *shape)
    np.testing.assert_allclose(result[0], image, atol=1e-5)
    np.testing.assert_allclose(result[1], -image, atol=1e-5)
