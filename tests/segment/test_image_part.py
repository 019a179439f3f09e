"""Parts of an image: what a network says of them is to the bit what it says of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from idrstream.errors import SegmentationError
from idrstream.segment.network.image_part import ImagePart, part_view
from idrstream.tiles.grid import Grid

pytestmark = pytest.mark.models
SHAPE = (1100, 900)


def network():
    """A network whose answer depends on each pixel's place in its tile, and on the whole tile."""
    import torch

    class Place:
        device = torch.device("cpu")

        def __call__(self, tiles):
            n, _, height, width = tiles.shape
            mean = tiles.mean((1, 2, 3), keepdim=True)
            place = torch.arange(height * width).reshape(1, 1, height, width) / 7
            flows = tiles[:, :1] * torch.sin(place) + mean
            return flows.expand(n, 3, height, width).contiguous(), torch.ones(n, 256)

    return Place()


@pytest.mark.parametrize("scale", [1.0, 0.73, 1.171])
def test_tiles_see_what_the_whole_image_shows(scale: float) -> None:
    from idrstream.segment.network.tile_runner import TileRunner

    rng = np.random.default_rng(0)
    pixels = rng.random(SHAPE, np.float32)
    bright = np.zeros(SHAPE, np.bool_)
    bright[300:, 200:] = rng.random((800, 700)) > 0.999
    runner = TileRunner(network(), 8)

    def flows(part: ImagePart) -> np.ndarray:
        (found,) = runner.run([part], [0.0])
        assert found.part is not None
        return found.part.back(found.values)

    whole = flows(ImagePart(pixels, (0, 0), SHAPE, scale, bright))
    assert whole.shape == (3, *SHAPE)
    grid = Grid(SHAPE, 820, 20, scale)
    assert len(grid) >= 4
    for region, core in grid.boxes():
        here = region.slices
        part = ImagePart(pixels[here], (region.top, region.left), SHAPE, scale, bright[here])
        reach = int(100 / scale)
        top, left = max(0, core.top - reach), max(0, core.left - reach)
        bottom, right = core.bottom + reach, core.right + reach
        found = flows(part)[
            :, top - region.top : bottom - region.top, left - region.left : right - region.left
        ]
        assert np.array_equal(found, whole[:, top:bottom, left:right])


def test_positions_are_those_of_the_pixels() -> None:
    """A slope stays what it is, there and back, at any scale."""
    y, x = np.mgrid[:700, :600].astype(np.float32)
    for scale in (0.4, 1.0, 1.7):
        part = ImagePart((y + 2 * x)[100:, 50:], (100, 50), (700, 600), scale)
        view = part_view(part)
        seen = view.planes[:, view.inside[0], view.inside[1]]
        back = view.back(np.repeat(seen, 3, axis=0))
        inner = np.s_[:, 40:-40, 40:-40]
        assert np.abs(back - part.pixels)[inner].max() < 1e-2


def test_a_part_of_objects_that_are_too_small_is_refused() -> None:
    part = ImagePart(np.zeros((50, 60), np.float32), (0, 0), (50, 60), 30.0)
    with pytest.raises(SegmentationError, match="too small"):
        part_view(part)
