"""``idrstream segment`` with the shipped model, and what holds for a whole image in it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from idrstream.cli.main import main
from idrstream.config import SegmentSettings
from idrstream.records import Box, Frame, ImageTask, Tile
from idrstream.segment import CellPoseSegmentor
from idrstream.segment.cellpose.whole_image import brightest_place, part_as_seen
from idrstream.simulate.slide import SlideSpec, slide_centres, slide_region, write_slide
from idrstream.tiles.grid import SIDE_PX, Grid, overlap_for, tiles_of
from idrstream.tiles.own import global_points, own_objects
from idrstream.tiles.sample import ImageSample

SPEC = SlideSpec(288, 800, empty=0.0, density=0.6, seed=2)
WHOLE = Box(0, 0, SPEC.height, SPEC.width)


@pytest.fixture(scope="module")
def segmentor() -> CellPoseSegmentor:
    return CellPoseSegmentor(SegmentSettings(diameter=17.0, remove_edge_masks=False, gpu=False))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return slide_region(SPEC, WHOLE)[0]


def tiles_for(
    segmentor: CellPoseSegmentor, pixels: np.ndarray, side_px: int = SIDE_PX
) -> list[Tile]:
    whole = segmentor.whole_image(ImageSample((pixels,), lambda _at, _side: pixels))
    assert whole.levels is not None
    return list(
        tiles_of(Grid(SPEC_SIZE, side_px, overlap_for(17.0, whole.scale), whole.scale), whole)
    )


def found_by(
    segmentor: CellPoseSegmentor, pixels: np.ndarray, tiles: list[Tile]
) -> tuple[np.ndarray, np.ndarray]:
    """The label image, put together of all tiles, and the places of the objects."""
    task = ImageTask("P", "A1", 1, (1,))
    labels, found = np.zeros(SPEC_SIZE, np.int64), []
    for tile in tiles:
        frame = Frame(pixels[tile.region.slices][np.newaxis], tile.number, task, tile=tile)
        objects = own_objects(segmentor.segment(frame), tile)
        own = objects.labels > 0
        assert not labels[tile.region.slices][own].any()
        labels[tile.region.slices][own] = objects.labels[own].astype(np.int64) + tile.first_label
        found.append(global_points(objects.locations, tile))
    return labels, np.concatenate(found)


def numbered_by_place(labels: np.ndarray) -> np.ndarray:
    numbers, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(np.where(numbers > 0, first, -1))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[inverse].reshape(labels.shape)


def test_tiles_find_to_the_pixel_what_the_whole_image_has(segmentor, pixels) -> None:
    tiles = tiles_for(segmentor, pixels, 700)
    assert len(tiles) > 1
    by_tiles, points = found_by(segmentor, pixels, tiles)
    (whole,) = tiles_for(segmentor, pixels)
    at_once, _ = found_by(segmentor, pixels, [whole])
    assert np.array_equal(numbered_by_place(by_tiles), numbered_by_place(at_once))
    assert len(points) >= 0.9 * len(slide_centres(SPEC, WHOLE))


SPEC_SIZE = (SPEC.height, SPEC.width)


def test_a_tile_without_anything_bright_is_not_segmented(segmentor, pixels) -> None:
    tiles = tiles_for(segmentor, pixels)
    noise = np.random.default_rng(0).normal(150, 11, (1, *SPEC_SIZE)).clip(0).astype(np.uint16)
    frame = Frame(noise, 1, ImageTask("P", "A1", 1, (1,)), tile=tiles[0])
    assert len(segmentor.segment(frame)) == 0


def test_where_the_slide_was_not_scanned_nothing_stands_out(segmentor, pixels) -> None:
    """The step from there to the medium would look like the border of a nucleus."""
    y, x = np.mgrid[: SPEC.height, : SPEC.width]
    part = np.where(x + y // 4 > 200, pixels, 0)
    (tile,) = tiles_for(segmentor, part)
    assert tile.levels is not None
    assert tile.levels.blank == pytest.approx(150, abs=2)
    seen = part_as_seen([part], segmentor._model.get(), tile, 17.0).pixels
    assert np.abs(seen[part == 0]).max() < 0.05
    assert np.quantile(seen[part > 0], 0.98) > 0.5
    by_itself = segmentor._model.get().model.normalised(part)
    assert np.abs(by_itself[part == 0]).max() < 0.05


def test_a_dim_tile_keeps_the_grey_levels_of_its_image(segmentor, pixels) -> None:
    """By itself its debris would be stretched to the brightness of nuclei."""
    (tile,) = tiles_for(segmentor, pixels)
    dim = (pixels.astype(float) * 0.005 + 150).astype(np.uint16)[np.newaxis]
    task = ImageTask("P", "A1", 1, (1,))
    assert len(segmentor.segment(Frame(dim, 1, task))) > 0
    assert len(segmentor.segment(Frame(dim, 1, task, tile=tile))) == 0


def test_the_diameter_is_estimated_where_a_tile_shows_most() -> None:
    image = np.random.default_rng(0).normal(150, 11, (1500, 1400)).clip(0).astype(np.uint16)
    image[800:900, 700:720] = 900
    place = brightest_place(image)
    assert place.shape == (640, 640)
    assert (place == 900).sum() == 2000
    image[800:900, 700:720], image[-100:, -30:] = 150, 900
    assert (brightest_place(image) == 900).sum() == 3000
    assert brightest_place(image[:300, :90]).shape == (300, 90)
    assert brightest_place(np.zeros((900, 700), np.uint16)).size > 0


def test_nuclei_at_the_border_of_the_image_are_left_out_not_those_of_tiles(pixels) -> None:
    keep, drop = (
        CellPoseSegmentor(SegmentSettings(diameter=17.0, remove_edge_masks=cut, gpu=False))
        for cut in (False, True)
    )
    tiles = tiles_for(keep, pixels, 700)
    everything, inner = (found_by(one, pixels, tiles)[1] for one in (keep, drop))
    lost = {tuple(p) for p in everything.tolist()} - {tuple(p) for p in inner.tolist()}
    assert 0 < len(lost) < 0.3 * len(everything)
    for y, x in lost:
        assert min(y, x, SPEC.height - y, SPEC.width - x) < 20


def test_the_command_writes_table_label_image_and_steps(tmp_path: Path, capsys) -> None:
    image = write_slide(tmp_path / "s.ome.tif", SPEC)
    steps = tmp_path / "steps.csv"
    code = main(
        [
            "segment", str(image), "--channel", "dna", "--out", str(tmp_path / "out"),
            "--tile-px", "700", "--diameter", "17",
            "--progress", "false", "--gpu", "false", "--profile", str(steps),
        ]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0, said
    table = pd.read_csv(tmp_path / "out/batch_0.csv.gz", index_col=0)
    assert len(table) > 30
    group = zarr.open_group(tmp_path / "out/labels/s-A-1-1.zarr/labels/nuclei", mode="r")
    numbers = np.unique(group["0"][:])
    assert set(table["Metadata_Label"]) == set(numbers[numbers > 0].tolist())
    for step in ("read", "whole image", "scale", "network", "masks", "features", "write"):
        assert f"\n{step}" in said
        assert step in steps.read_text()
    assert "peak memory" in said


def test_a_channel_that_is_not_there_is_told(tmp_path: Path, capsys) -> None:
    image = write_slide(tmp_path / "s.ome.tif", SPEC)
    code = main(["segment", str(image), "--channel", "Hoechst", "--progress", "false"])
    assert code == 1
    assert "no channel 'Hoechst'; there are 0=DNA" in capsys.readouterr().out
