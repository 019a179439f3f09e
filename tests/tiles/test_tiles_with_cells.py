"""Nuclei with their cells by tiles: by the scale of the whole image, owned with their nucleus."""

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from idrstream.config import SHIPPED, SegmentSettings
from idrstream.records import Box, Frame, ImageTask, Objects, Tile
from idrstream.segment.make import make_segmentor
from idrstream.simulate.slide import SlideSpec, slide_region
from idrstream.tiles.grid import SIDE_PX, Grid, overlap_for, tiles_of
from idrstream.tiles.own import global_points, own_objects
from idrstream.tiles.sample import ImageSample

pytestmark = pytest.mark.models

SPEC = SlideSpec(288, 800, empty=0.0, density=0.5, seed=2)
SIZE = (SPEC.height, SPEC.width)
TASK = ImageTask("P", "A1", 1, (1,))


@pytest.fixture(scope="module")
def planes() -> np.ndarray:
    """Nuclei, and the cells around them: dim on the left, bright on the right."""
    nuclei = slide_region(SPEC, Box(0, 0, *SIZE))[0]
    around = ndimage.gaussian_filter(ndimage.grey_dilation(nuclei, (13, 13)).astype(float), 2)
    bright = np.linspace(0.15, 1, SPEC.width)
    return np.stack([nuclei, (around * bright + 100).astype(np.uint16)])


def sample(planes: np.ndarray, others: int) -> ImageSample:
    def one(plane: np.ndarray, *beside: ImageSample) -> ImageSample:
        return ImageSample((plane,), lambda _at, _side: plane, beside)

    return one(planes[0], *([one(planes[1])] * others))


def by_tiles(segmentor: Any, planes: np.ndarray, side_px: int) -> list[tuple[Tile, Objects]]:
    whole = segmentor.whole_image(sample(planes, len(segmentor.other_channels)))
    found = []
    grid = Grid(SIZE, side_px, overlap_for(24.0, whole.scale), whole.scale)
    for tile in tiles_of(grid, whole):
        pixels = planes[(slice(None), *tile.region.slices)]
        frame = Frame(pixels, tile.number, TASK, (), ("DNA", "Cell"), tile)
        found.append((tile, own_objects(segmentor.segment(frame), tile)))
    return found


def rows(found: list[tuple[Tile, Objects]]) -> np.ndarray:
    """Position of each nucleus, its area, and that of its cell and cytoplasm."""
    values = []
    for tile, objects in found:
        at = global_points(objects.locations, tile)
        areas = [kind.table["area"] for kind in objects.kinds]
        values.append(np.column_stack([at, *areas]))
    return np.concatenate(values)


@pytest.mark.parametrize(
    "options",
    [
        {"cells": "expand", "cell_distance": "6 px"},
        {"cells": "propagate", "cell_channels": ("Cell",), "cell_distance": "12 px"},
        {"cells": "cellpose", "cell_channels": ("Cell",), "cell_model": SHIPPED,
         "cell_diameter": 24.0},
    ],
    ids=lambda options: options["cells"],
)  # fmt: skip
def test_cells_by_tiles_are_those_of_the_whole_image(
    planes: np.ndarray, options: dict[str, Any]
) -> None:
    if options["cells"] == "propagate":
        pytest.importorskip("centrosome")
    settings = SegmentSettings(
        diameter=17.0, remove_edge_masks=False, gpu=False, segment_channel="DNA", **options
    )
    segmentor = make_segmentor(settings)
    tiled = by_tiles(segmentor, planes, 700)
    at_once = rows(by_tiles(segmentor, planes, SIDE_PX))
    found = rows(tiled)
    assert len(tiled) == 2
    assert all(len(objects.kinds) == 3 for _, objects in tiled)
    assert abs(len(found) - len(at_once)) <= 1
    nearest = np.linalg.norm(found[:, None, :2] - at_once[None, :, :2], axis=2).argmin(axis=1)
    same = np.abs(found[:, 3] - at_once[nearest, 3]) <= 0.05 * at_once[nearest, 3]
    assert same.mean() > 0.97
    assert (found[:, 3] >= found[:, 2]).mean() > 0.9


def test_each_channel_has_its_own_scale(planes: np.ndarray) -> None:
    settings = SegmentSettings(
        diameter=17.0, gpu=False, segment_channel="DNA", cells="cellpose", cell_model=SHIPPED,
        cell_channels=("Cell",), cell_diameter=24.0,
    )  # fmt: skip
    whole = make_segmentor(settings).whole_image(sample(planes, 1))
    assert whole is not None
    assert (whole.diameter_px, whole.cell_diameter_px) == (17.0, 24.0)
    for levels, plane in zip((whole.levels, *whole.others), planes, strict=True):
        assert levels is not None
        assert levels.high == pytest.approx(np.percentile(plane, 99), rel=0.05)
