"""One diameter for all frames of a plate: estimated once, kept with the results, resumed with."""

from __future__ import annotations

import json

import numpy as np
import pytest

from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen
from idrstream.demo import config_for
from idrstream.errors import ConfigError, PlanChangedError, SegmentationError
from idrstream.records import Frame, ImageTask
from idrstream.segment import CellPoseSegmentor
from idrstream.simulate.movie import simulate_movie

pytestmark = pytest.mark.models

SIZE = (192, 256)


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    spec = ScreenSpec(
        plates=2, wells_per_plate=3, frames=3, height=SIZE[0], width=SIZE[1],
        nuclei_per_frame=10, wanted_frames=(1, 3), empty_wells=(),
    )  # fmt: skip
    return simulate_screen(tmp_path_factory.mktemp("screen") / "screen", spec)


@pytest.fixture
def stream_of(screen, quick, tmp_path):
    def make(name="a", diameter="plate", illumination="frames"):
        stream = IdrStream("idr0013", tmp_path / name / "tmp", tmp_path / name / "out")
        stream.init_downloader(
            make_downloader(method="local", root=screen.folder, screens_path=screen.screens_path)
        )
        stream.init_preprocessor(None, True, illumination_context=illumination, plate_wells=2)
        stream.init_segmentor({"model_type": "idrstream-nuclei", "diameter": diameter})
        stream.copy_DP_files(config_for(*SIZE, tmp_path), engine=quick.ProjectionEngine())
        return stream

    return make


def run(stream, table, **options):
    try:
        result = stream.run_stream(table, 3, progress=False, **options)
    finally:
        stream.close()
    assert result.failures().empty, result.failures()["Reason"].tolist()
    return stream.final_data_dir


def kept_in(out):
    return {path.stem: json.loads(path.read_text()) for path in out.glob("diameters/*.json")}


@pytest.mark.parametrize("illumination", ["frames", "plate"])
def test_all_frames_of_a_plate_have_one_diameter(screen, stream_of, illumination):
    table = read_table(screen.table_path)
    first = table[table["Plate"] == table["Plate"].iloc[0]]
    out = run(stream_of("a", illumination=illumination), first)
    (kept,) = kept_in(out).values()
    assert len(kept["wells"]) == 2
    diameter_px = kept["diameter_px"]
    assert diameter_px >= sorted(found for _, found in kept["wells"])[1]
    given = run(stream_of("b", diameter=diameter_px, illumination=illumination), first)
    assert (out / "batch_0.csv.gz").read_bytes() == (given / "batch_0.csv.gz").read_bytes()


def test_a_table_that_grew_and_another_folder(screen, stream_of):
    table = read_table(screen.table_path)
    out = run(stream_of("a"), table[table["Plate"] == table["Plate"].iloc[0]])
    (path,) = out.glob("diameters/*.json")
    before = path.stat().st_mtime_ns
    run(stream_of("a"), table)
    assert path.stat().st_mtime_ns == before  # taken from the folder
    assert len(kept_in(out)) == 2
    other = run(stream_of("b"), table, batches_in_flight=1)
    assert kept_in(other) == kept_in(out)


def test_it_is_compared_and_a_damaged_file_is_named(screen, stream_of):
    table = read_table(screen.table_path).iloc[:2]
    out = run(stream_of(), table)
    (path,) = out.glob("diameters/*.json")
    good = path.read_text()
    for text in ('{"format": "x"}', '{"format": "idrstream-diameter-1", "diameter_px": -1}', "no"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"\.json has no diameter of a plate .*; delete it"):
            run(stream_of(), table, force_recompute=True)
    path.write_text(good)
    with pytest.raises(PlanChangedError, match=r'segmentor\.diameter was "plate"'):
        run(stream_of(diameter=17), table)
    assert path.exists()
    run(stream_of(diameter=17), table, force=True)
    assert not path.exists()


def test_a_plan_counts_the_estimates_and_writes_nothing(screen, stream_of):
    stream = stream_of()
    table = read_table(screen.table_path)
    assert stream.plan(table, batch_size=3, probe=1).is_good
    stream.close()
    assert not (stream.final_data_dir / "diameters").exists()


def frames_of(seed, count=3):
    spec = ScreenSpec(
        plates=1, wells_per_plate=1, frames=count, height=SIZE[0], width=SIZE[1],
        nuclei_per_frame=12, seed=seed,
    )  # fmt: skip
    movie = simulate_movie(spec, well="A1").frames
    return [
        Frame(pixels[np.newaxis], number, ImageTask("P1", "A1", 1, (number,)))
        for number, pixels in enumerate(movie, start=1)
    ]


def test_without_a_stream():
    segmentor = CellPoseSegmentor({"model_type": "idrstream-nuclei", "diameter": "plate"})
    frames = frames_of(3)
    with pytest.raises(ConfigError, match="plate P1 has no diameter yet; call fit_plate"):
        segmentor.segment(frames[0])
    with pytest.raises(SegmentationError, match="plate P1: no frame of it gives a diameter"):
        segmentor.fit_plate("P1", [])
    black = Frame(frames[0].pixels.astype(np.float32) * np.nan, 9, frames[0].task)
    segmentor.fit_plate("P1", [black, *frames])
    assert not segmentor.needs_plate("P1")
    found = {objects.diameter_px for objects in segmentor.segment_many(frames)}
    assert len(found) == 1
    # As when it is given.
    (diameter_px,) = found
    given = CellPoseSegmentor({"model_type": "idrstream-nuclei", "diameter": diameter_px})
    for frame in frames:
        assert np.array_equal(segmentor.segment(frame).labels, given.segment(frame).labels)
