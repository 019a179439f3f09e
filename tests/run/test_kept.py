"""What a stream keeps beside its tables when it is asked to."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import tifffile

from idrstream.compile.masks import read_masks
from idrstream.profile.deepprofiler.features_file import read_features


@pytest.fixture(scope="module")
def screen(tmp_path_factory, quick):
    return quick.make_screen(tmp_path_factory.mktemp("kept") / "screen", plates=1, wells=4)


@pytest.fixture
def stream(screen, quick, tmp_path):
    stream = quick.make_stream(screen, tmp_path, plate_model=False)
    yield stream
    stream.close()


def run(stream, quick, screen, **options):
    return stream.run_stream(quick.table_of(screen), 2, progress=False, **options)


def test_masks_belong_to_the_rows_of_the_tables(stream, quick, screen):
    result = run(stream, quick, screen, keep_masks=True)
    out = stream.final_data_dir
    assert not (out / "projects").exists()
    for item in result.batches:
        cells = pd.read_csv(item.published.path, index_col=0)
        assert len(cells)
        for task in item.batch.tasks:
            for frame in task.frames:
                name = f"{task.well_number}_{frame}"
                rows = cells[cells["Metadata_Well"] == name]
                labels = read_masks(out, task.plate, task.well, frame)
                assert labels.max() == len(rows)
                places = rows[["Location_Center_Y", "Location_Center_X"]].to_numpy()
                first = np.argwhere(labels == 1).mean(axis=0)
                np.testing.assert_allclose(places[0], first)
    assert stream.verify().is_good


def test_masks_that_are_damaged_or_gone_are_computed_again(stream, quick, screen):
    run(stream, quick, screen, keep_masks=True)
    out = stream.final_data_dir
    shutil.rmtree(out / "masks" / "batch_0.zarr")
    chunk = next((out / "masks" / "batch_1.zarr").rglob("c/0/0/0"))
    chunk.write_bytes(b"rotten")
    found = stream.verify()
    assert {problem.file for problem in found.problems} == {
        "masks/batch_0.zarr", "masks/batch_1.zarr",
    }  # fmt: skip
    again = run(stream, quick, screen, keep_masks=True)
    assert sorted(item.batch.number for item in again.batches) == [0, 1]
    assert stream.verify().is_good


def test_masks_go_with_their_batch(stream, quick, screen):
    run(stream, quick, screen, keep_masks=True, keep_project=True)
    run(stream, quick, screen, force=True, output_format="parquet")
    assert not list(stream.final_data_dir.glob("masks/*"))
    assert not list(stream.final_data_dir.glob("projects/*"))


def test_a_project_is_one_that_deepprofiler_reads(stream, quick, screen):
    run(stream, quick, screen, keep_project=True, batch_nums=[0])
    project = stream.final_data_dir / "projects" / "batch_0"
    index = pd.read_csv(project / "inputs" / "metadata" / "index.csv")
    assert len(index) == 4
    for row in index.itertuples():
        pixels = tifffile.imread(project / "inputs" / "images" / row.DNA)
        assert pixels.shape == (quick.HEIGHT, quick.WIDTH)
        name = f"{row.Metadata_Well}-{row.Metadata_Site}-Nuclei.csv"
        nuclei = pd.read_csv(project / "inputs" / "locations" / row.Metadata_Plate / name)
        features = project / "outputs" / "results" / "features" / row.Metadata_Plate
        features = features / row.Metadata_Well / f"{row.Metadata_Site}.npz"
        if len(nuclei):
            assert read_features(features, "").shape == (len(nuclei), 1280)
            assert zipfile.is_zipfile(features)
    assert list((project / "inputs" / "config").iterdir())
    assert list((project / "outputs" / "results" / "checkpoint").iterdir())
    assert stream.verify().others == ()


def test_nothing_is_kept_unasked(stream, quick, screen):
    run(stream, quick, screen)
    names = {path.name for path in stream.final_data_dir.iterdir()}
    assert not names & {"masks", "projects"}


def test_whatever_a_dead_stream_left_in_its_work_folder_is_removed(stream, quick, screen):
    work = stream.tmp_dir / "idrstream_work"
    for name in (
        "DP_engine/inputs/images/a.tif",
        "DP_project_9/inputs/x.csv",
        "DP_project_9_masks/a",
    ):
        path = work / name
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(1000))
    (work / ".idrstream").touch()
    result = run(stream, quick, screen, batch_nums=[0])
    assert result.disk.leftover_bytes >= 3000
    assert not work.exists()


def test_the_plan_counts_what_is_kept(stream, quick, screen):
    table = quick.table_of(screen)
    plain, masks, both = (
        stream.plan(table, batch_size=2, **options).output
        for options in ({}, {"keep_masks": True}, {"keep_masks": True, "keep_project": True})
    )
    assert plain.low < masks.low < both.low
    assert "what is kept" in masks.basis


def test_half_a_folder_that_a_crash_left_is_deleted(stream, quick, screen):
    run(stream, quick, screen, keep_masks=True)
    out = stream.final_data_dir
    half = out / "masks" / f".batch_1.zarr.{'0' * 32}.part"
    shutil.copytree(out / "masks" / "batch_1.zarr", half)
    strange = out / "masks" / ".mine.part"
    strange.mkdir()
    run(stream, quick, screen, keep_masks=True)
    assert not half.exists()
    assert strange.exists()
