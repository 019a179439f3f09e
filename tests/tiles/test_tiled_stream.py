"""A large image as a stream: the objects of the whole image, once each, whatever the way."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from idrstream import IdrStream
from idrstream.cli.main import main
from idrstream.compile import read_batch_table
from idrstream.download.downloader import TransportDownloader
from idrstream.download.large import LargeImages
from idrstream.download.transports.local import LocalTransport
from idrstream.errors import ConfigError
from idrstream.preprocess.tiles import alone_in
from idrstream.records import Box, Frame, GreyLevels, ImageTask
from idrstream.report.write import write_report
from idrstream.run.cutting import with_tiles
from idrstream.schedule.result import RunResult
from idrstream.simulate.slide import SlideSpec, write_slide
from idrstream.tiles.grid import Grid, parse_tile, tiles_of
from idrstream.tiles.sample import ImageSample, WholeImage, take_sample
from idrstream.tiles.table import cut_image
from tests.helpers.tiled import Means, Threshold

SPEC = SlideSpec(700, 940, diameter_px=12.0, channels=3, empty=0.0, seed=5)
NUMBERS = ["Location_Center_X", "Location_Center_Y", "Metadata_Label", "Nuclei_Area"]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slide") / "a.ome.tif", SPEC)


def table_of(*images: Path) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Plate": [path.name.partition(".")[0] for path in images],
            "Well": "A1",
            "Path": [str(path) for path in images],
        }
    )


def new_stream(folder: Path, *, segmentor: Any = None, **preprocess: Any) -> IdrStream:
    stream = IdrStream("large", folder / "tmp", folder / "out")
    stream.init_downloader()
    given = {"tile_px": 320, "tile_overlap_px": 96, "image_channels": ("DNA=dna", "Two=1")}
    stream.init_preprocessor(**{**given, **preprocess})
    stream.init_segmentor(segmentor or Threshold())
    stream.copy_DP_files(engine=Means())
    return stream


def run(folder: Path, table: pd.DataFrame, **options: Any) -> RunResult:
    stream = new_stream(folder, **options.pop("stream", {}))
    try:
        return stream.run_stream(table, **{"batch_size": 4, "progress": False, **options})
    finally:
        stream.close()


def test_tiles_are_not_tracked(slide: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="track = true does not work with tiles"):
        run(tmp_path, table_of(slide), track=True)
    assert not (tmp_path / "tmp/idrstream_work").exists()
    stream = new_stream(tmp_path)
    plan = stream.plan(table_of(slide), track=True)
    stream.close()
    assert not plan.is_good
    assert "does not work with tiles" in str(plan)


def batches(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "out").glob("batch_*"))}


def label_files(folder: Path) -> dict[str, bytes]:
    root = folder / "out/labels"
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def rows_of(folder: Path) -> pd.DataFrame:
    tables = [pd.read_csv(path, index_col=0) for path in sorted((folder / "out").glob("batch_*"))]
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def whole(slide: Path) -> pd.DataFrame:
    """What the same segmentor finds in the whole image."""
    image = LargeImages(TransportDownloader(LocalTransport(slide.parent))).open(
        ImageTask("P", "A1", 1, (1,), metadata={"Path": str(slide)})
    )
    task = ImageTask("P", "A1", 1, (1,))
    pixels = image.read([0], Box(0, 0, SPEC.height, SPEC.width))
    table = Threshold().segment(Frame(pixels, 1, task)).table
    return pd.DataFrame({"x": table["x"], "y": table["y"], "area": table["area"]})


@pytest.fixture(scope="module")
def once(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("once")
    result = run(folder, table_of(slide), extra_metadata=["object_outlines"])
    assert not len(result.failures())
    yield folder
    shutil.rmtree(folder)


def sorted_rows(*columns: Any) -> Any:
    rows = np.column_stack([np.asarray(column, float) for column in columns]).round(6)
    return rows[np.lexsort(rows.T)]


def test_tiles_find_the_objects_of_the_whole_image(once: Path, whole: pd.DataFrame) -> None:
    found = rows_of(once)
    assert len(whole) > 300
    assert np.array_equal(
        sorted_rows(found["Location_Center_X"], found["Location_Center_Y"], found["Nuclei_Area"]),
        sorted_rows(whole["x"], whole["y"], whole["area"]),
    )
    assert found["Metadata_Label"].is_unique
    assert np.allclose(found["Metadata_Location_X_um"], found["Location_Center_X"] * SPEC.pixel_um)


def test_outlines_lie_around_their_objects_in_the_whole_image(once: Path) -> None:
    found = rows_of(once)
    for row in found.sample(20, random_state=0).itertuples():
        points = np.array(eval(row.Object_Outline))
        centre = np.array([row.Location_Center_X, row.Location_Center_Y])
        assert (points.min(0) <= centre).all()
        assert (centre <= points.max(0)).all()


@pytest.mark.parametrize(
    "options",
    [
        {"preprocess_workers": 4, "frames_at_once": 3, "batches_in_flight": 3},
        {"preprocess_workers": 1, "frames_at_once": 1, "batches_in_flight": 1, "prefetch": 1},
    ],
)
def test_the_bytes_do_not_depend_on_workers(
    slide: Path, tmp_path: Path, once: Path, options: dict[str, Any]
) -> None:
    run(tmp_path, table_of(slide), extra_metadata=["object_outlines"], **options)
    assert batches(tmp_path) == batches(once)
    assert label_files(tmp_path) == label_files(once)


def test_the_bytes_do_not_depend_on_interruptions(slide: Path, tmp_path: Path, once: Path) -> None:
    outlines = {"extra_metadata": ["object_outlines"]}
    assert run(tmp_path, table_of(slide), batch_nums=[2], **outlines).nuclei > 0
    assert run(tmp_path, table_of(slide), **outlines).nuclei > 0
    assert batches(tmp_path) == batches(once)
    assert label_files(tmp_path) == label_files(once)


def test_the_objects_do_not_depend_on_the_order_of_the_tiles(
    slide: Path, tmp_path: Path, once: Path
) -> None:
    stream = new_stream(tmp_path / "cut")
    tiles = with_tiles(stream.components(), table_of(slide), tmp_path)
    stream.close()
    assert tiles["Tile"].is_unique
    run(tmp_path, tiles.sample(frac=1, random_state=3), batch_size=5)
    assert (
        rows_of(tmp_path)[NUMBERS]
        .sort_values("Metadata_Label", ignore_index=True)
        .equals(rows_of(once)[NUMBERS].sort_values("Metadata_Label", ignore_index=True))
    )


def test_the_label_image_has_the_numbers_of_the_table(once: Path) -> None:
    found = rows_of(once)
    labels = zarr.open_group(once / "out/labels/a-A-1-1.zarr/labels/nuclei", mode="r")
    level = labels["0"]
    assert level.dtype == np.uint32
    pixels = level[:]
    assert pixels.shape == (SPEC.height, SPEC.width)
    numbers, areas = np.unique(pixels[pixels > 0], return_counts=True)
    by_number = found.set_index("Metadata_Label")["Nuclei_Area"]
    assert np.array_equal(areas, by_number.loc[numbers].to_numpy())
    assert len(numbers) == len(found)


def test_the_label_image_of_a_wide_slide_is_a_pyramid(tmp_path: Path) -> None:
    spec = SlideSpec(300, 2300, diameter_px=12.0, empty=0.0, channels=2)
    run(tmp_path, table_of(write_slide(tmp_path / "w.ome.tif", spec)))
    image = zarr.open_group(tmp_path / "out/labels/w-A-1-1.zarr/labels/nuclei", mode="r")
    scales = image.attrs["ome"]["multiscales"][0]["datasets"]
    assert [one["path"] for one in scales] == ["0", "1", "2"]
    assert scales[2]["coordinateTransformations"][0]["scale"] == [spec.pixel_um * 4] * 2
    levels = [image[str(number)][:] for number in range(3)]
    assert np.array_equal(levels[1], levels[0][::2, ::2])
    assert np.array_equal(levels[2], levels[0][::4, ::4])
    assert levels[0].any()


def test_the_report_shows_the_whole_image_and_its_seams(once: Path) -> None:
    page = write_report(once / "out", once / "report.html", features=False).path.read_text()
    assert "Large images" in page
    assert "neighbours agree on 100.00%" in page
    assert "0 objects are there twice and 0 are lost" in page


def test_collected_cells_keep_number_and_position_and_not_the_tile(once: Path, capsys: Any) -> None:
    (table, *_) = sorted((once / "out").glob("batch_*"))
    read = read_batch_table(table)
    assert read["Metadata_Label"].dtype == np.int64
    assert read["Metadata_Location_X_um"].dtype == np.float64
    out = once / "collected"
    assert main(["collect", str(once / "out"), "--normalize", "none", "--out", str(out)]) == 0
    assert "Tile" not in "".join(capsys.readouterr())
    cells = pd.read_parquet(out / "cells")
    assert set(cells["Metadata_Label"]) == set(rows_of(once)["Metadata_Label"])
    assert "Metadata_Tile" not in cells


def test_the_plan_counts_tiles_and_nothing_is_left_after_the_run(
    slide: Path, tmp_path: Path, once: Path
) -> None:
    stream = new_stream(tmp_path)
    plan = stream.plan(table_of(slide), batch_size=4)
    stream.close()
    assert plan.is_good
    assert plan.images == rows_of(once)["Metadata_Well"].nunique()
    stream = new_stream(once)
    again = stream.run_stream(
        table_of(slide), batch_size=4, progress=False, extra_metadata=["object_outlines"]
    )
    stream.close()
    assert not again.plan.numbers


class Measured(Threshold):
    """Counts how often an image was measured."""

    def __init__(self, diameter_px: float = 12.0) -> None:
        super().__init__(diameter_px=diameter_px)
        self.count: list[int] = []

    def describe(self) -> dict[str, object]:
        return {"diameter_px": self.diameter_px}

    def whole_image(self, sample: ImageSample) -> WholeImage:
        self.count.append(1)
        return super().whole_image(sample)


def test_scale_and_diameter_are_measured_once_for_a_folder(slide: Path, tmp_path: Path) -> None:
    segmentor = Measured()
    run(tmp_path, table_of(slide), stream={"segmentor": segmentor}, batch_nums=[0])
    table = batches(tmp_path)
    run(tmp_path, table_of(slide), stream={"segmentor": segmentor})
    run(tmp_path, table_of(slide), stream={"segmentor": segmentor})
    assert len(segmentor.count) == 1
    assert batches(tmp_path).items() > table.items()
    for changed in ({"segmentor": Measured(13.0)}, {"segmentor": Measured(), "tile_px": 400}):
        stream = new_stream(tmp_path, **changed)
        tiles = with_tiles(stream.components(), table_of(slide), tmp_path / "out")
        stream.close()
        assert changed["segmentor"].count == [1]
        assert parse_tile(tiles["Tile"][0]).diameter_px == changed["segmentor"].diameter_px


def test_what_the_sample_reads_is_not_read_again(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "b.ome.tif", SlideSpec(2560, 2048, density=0.1, channels=2))
    with closing(LargeImages(TransportDownloader(LocalTransport(tmp_path)))) as images:
        image = images.open(ImageTask("P", "A1", 1, (1,), metadata={"Path": str(path)}))
        sample = take_sample(image, 0)
        assert sum(window.size for window in sample.windows) < 0.9 * 2560 * 2048
        sample.around(20, 640)
        for tile in tiles_of(Grid(image.info.shape, 1056, 288)):
            image.read([0], tile.region, alone_in(tile))
        assert image.bytes_moved < 1.1 * path.stat().st_size


def test_what_the_first_sample_misses_is_looked_for(tmp_path: Path) -> None:
    pixels = np.zeros((3000, 3000), np.uint16)
    pixels[2080:2180, 2080:2180] = 1000  # between windows
    tifffile.imwrite(tmp_path / "b.tif", pixels, tile=(256, 256), compression="zlib")
    asked = []

    def measure(sample: ImageSample) -> WholeImage:
        asked.append(len(sample.windows))
        seen = any(window.any() for window in sample.windows)
        return WholeImage(GreyLevels(0, 1000, 100) if seen else None, 17.0)

    with closing(LargeImages(TransportDownloader(LocalTransport(tmp_path)))) as images:
        image = images.open(
            ImageTask("P", "A1", 1, (1,), metadata={"Path": str(tmp_path / "b.tif")})
        )
        tiles = cut_image(image, 0, measure, side_px=3104)
    assert tiles[0].levels == GreyLevels(0, 1000, 100)
    assert asked == sorted(asked)
    assert 2 <= len(asked) <= 3


def test_an_empty_slide_has_no_objects_and_does_not_fail(tmp_path: Path) -> None:
    path = write_slide(
        tmp_path / "e.ome.tif", SlideSpec(500, 500, density=0.0, empty=0.99, channels=2)
    )
    result = run(tmp_path, table_of(path))
    assert (result.nuclei, len(result.failures())) == (0, 0)


def test_another_grid_finds_the_same_objects(slide: Path, tmp_path: Path, once: Path) -> None:
    run(tmp_path, table_of(slide), stream={"tile_px": 450, "tile_overlap_px": 60})
    positions = ["Location_Center_X", "Location_Center_Y", "Nuclei_Area"]
    one, other = (sorted_rows(*(rows_of(f)[name] for name in positions)) for f in (tmp_path, once))
    assert np.array_equal(one, other)


def test_an_image_that_cannot_be_read_fails_alone(slide: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"II*\x00 and nothing more")
    result = run(tmp_path, table_of(bad, slide), batch_size=100)
    failures = result.failures()
    assert len(failures) == 1
    assert "bad.tif" in failures["Reason"].iloc[0]
    assert result.nuclei > 300


def test_an_image_that_became_another_is_not_taken_for_it(slide: Path, tmp_path: Path) -> None:
    copy = shutil.copy(slide, tmp_path / "a.ome.tif")
    stream = new_stream(tmp_path)
    tiles = with_tiles(stream.components(), table_of(Path(copy)), tmp_path)
    stream.close()
    write_slide(tmp_path / "a.ome.tif", SlideSpec(500, 940, channels=2))
    result = run(tmp_path, tiles)
    assert result.nuclei == 0
    assert "make it anew" in result.failures()["Reason"].iloc[0]


def test_the_file_of_the_image_stays(slide: Path, once: Path) -> None:
    assert slide.is_file()
    assert not any((once / "tmp").rglob("*.tif"))
