"""The profiling of batches with an engine of one's own: what is checked, published and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from idrstream.compile import masks
from idrstream.compile.masks import read_masks
from idrstream.config import ProfileSettings
from idrstream.errors import IdrStreamError, ProfileError
from idrstream.profile import ClassicalEngine, DeepModel, DeepProfilerProject, FeatureEngine
from idrstream.quality.notes import BatchNotes
from idrstream.quality.pictures import PictureStore
from idrstream.records import OBJECT_KINDS, Features, Frame, ImageTask
from idrstream.run.profiling import EngineProfiling
from idrstream.run.table_options import TableOptions
from idrstream.segment import objects_in
from idrstream.segment.cells import expanded, objects_of

TASK = ImageTask("P", "A1", 1, (1, 2, 3))


class Engine(FeatureEngine):
    """Gives the areas; `columns` and `dtype` can be changed between calls."""

    columns: tuple[str, ...] = ("area", "twice")
    dtype = np.float32

    def profile(self, frames, objects):
        areas = [np.outer(of.table["area"], [1, 2]).astype(self.dtype) for of in objects]
        return [Features(of.name, self.columns, v) for of, v in zip(objects, areas, strict=True)]

    def disk_bytes(self, frame, objects):
        return frame.pixels.nbytes + len(objects)


@pytest.fixture
def model(tmp_path, write_config, trained_checkpoint):
    checkpoint = trained_checkpoint(tmp_path / "trained.h5", 1)
    config = write_config(tmp_path / "config.json", profile__checkpoint=checkpoint.name)
    return DeepModel.read(config, checkpoint)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def make(tmp_path, model, out):
    def build(engine=None, notes=None, **options):
        project = DeepProfilerProject(tmp_path / "work" / "DP_project", model)
        kept = TableOptions(kept=out, **options)
        return EngineProfiling(project, engine or Engine(), out, kept, notes=notes)

    return build


def scene(number=1, count=2, size=(40, 50), task=TASK):
    labels = np.zeros(size, np.int32)
    for label in range(1, count + 1):
        labels[4:8, 8 * label : 8 * label + 5] = label
    frame = Frame(labels[np.newaxis].astype(np.uint8) * 20, number, task)
    return [frame], [objects_in(labels)]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"columns": ("area", "thrice")}, "other names"), ({"dtype": np.float64}, "float64")],
)
def test_an_engine_that_changes_its_mind_fails_the_batch(make, change, message):
    engine = Engine()
    profiling = make(engine)
    assert profiling.profile(*scene(1)) == [None]
    engine.__dict__ |= change
    with pytest.raises(ProfileError, match=f"frame 2 .*{message}"):
        profiling.profile(*scene(2))
    profiling.clear()  # another batch may have other features
    profiling.__dict__["_engine"] = Engine()
    assert profiling.profile(*scene(2)) == [None]


def test_what_frames_will_need_includes_what_the_engine_writes(make, model):
    height, width = model.config.size
    need = make().expected_need(TASK)
    assert need.profiling_bytes >= 3 * height * width * 2
    assert make(project=True).expected_need(TASK).kept_bytes > need.kept_bytes


def test_masks_that_are_there_belong_to_the_table_that_is_there(make, out):
    first = make(masks=True)
    first.profile(*scene(1, count=2))
    published = first.publish(0, [TASK])
    first.clear()
    assert read_masks(out, "P", "A1", 1).max() == published.rows == 2
    second = make(masks=True)
    second.profile(*scene(1, count=3))
    table = published.path.rename(out / "aside")
    published.path.mkdir()  # so that the new table cannot be written
    with pytest.raises(IdrStreamError):
        second.publish(0, [TASK])
    published.path.rmdir()
    table.rename(published.path)
    assert read_masks(out, "P", "A1", 1).max() == 2


@pytest.mark.parametrize("kind", ["masks", "project"])
def test_what_was_kept_of_a_batch_goes_with_its_table(make, out, kind):
    first = make(**{kind: True})
    first.profile(*scene(1))
    first.publish(0, [TASK])
    kept = out / {"masks": "masks", "project": "projects"}[kind]
    assert len(list(kept.iterdir())) == 1
    first.clear()
    again = make()
    again.profile(*scene(1))
    again.publish(0, [TASK])
    assert not list(kept.iterdir())


def test_a_kept_project_has_model_and_features_and_nothing_waits_in_the_work_folder(
    make, out, tmp_path, model, monkeypatch
):
    profiling = make(project=True)
    profiling.profile(*scene(1))
    sizes = []
    moved = masks.move_folder

    def measured(source, target):
        sizes.append(sum(path.stat().st_size for path in source.rglob("*") if path.is_file()))
        moved(source, target)

    monkeypatch.setattr("idrstream.run.profiling.move_folder", measured)
    profiling.publish(0, [TASK])
    checkpoint = out / "projects/batch_0/outputs/results/checkpoint" / model.config.checkpoint
    assert checkpoint.read_bytes() == model.checkpoint_path.read_bytes()
    need = make(project=True).expected_need(TASK)
    assert sizes
    assert max(sizes) < need.kept_bytes
    profiling.clear()
    assert not list((tmp_path / "work").iterdir())


def test_a_frame_of_another_size_than_its_site_has_is_left_out_with_its_notes(make, out):
    notes = BatchNotes(out, PictureStore(out, 0))
    profiling = make(notes=lambda: notes, masks=True)
    assert profiling.profile(*scene(1)) == [None]
    (problem,) = profiling.profile(*scene(2, size=(60, 50)))
    assert "frame 2 has 60 x 50 pixels" in str(problem)
    assert profiling.profile(*scene(3)) == [None]
    assert profiling.publish(0, [TASK]).rows == 4
    assert pd.read_csv(out / "qc" / "batch_0.csv")["Frame"].tolist() == [1, 3]
    with pytest.raises(IdrStreamError, match="no masks"):
        read_masks(out, "P", "A1", 2)


def test_plates_of_strange_names_have_masks(make, out):
    for number, plate in enumerate(("0012", "a b#%&é", "NA", "zarr.json", "c", " x ")):
        task = replace(TASK, plate=plate, row=number)
        profiling = make(masks=True)
        assert profiling.profile(*scene(1, task=task)) == [None]
        profiling.publish(number, [task])
        profiling.clear()
        assert read_masks(out, plate, "A1", 1).max() == 2
        assert not list(Path(out).rglob("*.part"))


@pytest.mark.parametrize("diameter_px", [9, 31, 81, 161])
def test_masks_take_no_more_than_is_said(make, out, diameter_px):
    rng = np.random.default_rng(diameter_px)
    y, x = np.mgrid[:diameter_px, :diameter_px] - diameter_px // 2
    angle, distance = np.arctan2(y, x), np.hypot(y, x)
    labels = np.zeros((600, 700), np.int32)
    for top in range(0, 600 - diameter_px, diameter_px):
        for left in range(0, 700 - diameter_px, diameter_px):
            ragged = 0.85 + 0.1 * np.sin(5 * angle + rng.uniform(0, 6))
            ragged += rng.uniform(-1, 1, angle.shape) / diameter_px
            box = labels[top : top + diameter_px, left : left + diameter_px]
            box[distance < ragged * diameter_px / 2] = labels.max() + 1
    frame = Frame(labels[np.newaxis].astype(np.uint8), 1, TASK)
    plain, kept = make(), make(masks=True)
    said = [one.disk_need(frame, objects_in(labels)).kept_bytes for one in (plain, kept)]
    kept.profile([frame], [objects_in(labels)])
    masks_bytes = kept.publish(0, [TASK]).masks.size_bytes
    assert masks_bytes <= said[1] - said[0]


def test_a_batch_without_frames_has_the_columns_of_all_kinds_and_channels(make):
    """As of movies that the source does not have: its table fits the others."""
    pytest.importorskip("cp_measure")
    engine = ClassicalEngine(ProfileSettings(classical_processes=1))
    options = {"channels": ("DNA", "ER"), "kinds": OBJECT_KINDS, "output_format": "parquet"}
    frames, (nuclei,) = scene()
    frame = replace(frames[0], pixels=np.repeat(frames[0].pixels, 2, 0), channels=("DNA", "ER"))
    objects = objects_of(expanded(nuclei.labels, 2), drop_edge=False)
    profiling = make(engine, **options)
    assert profiling.profile([frame], [objects]) == [None]
    full = pd.read_parquet(profiling.publish(0, [TASK]).path)
    profiling.clear()
    none = pd.read_parquet(profiling.publish(1, [TASK]).path)
    engine.close()
    features = [name for name in full if name.startswith(OBJECT_KINDS)]
    assert [name for name in none if name.startswith(OBJECT_KINDS)] == features
    assert any(name.startswith("Cytoplasm_Intensity_MeanIntensity_ER") for name in features)
    assert len(full) == len(objects)
    assert len(none) == 0
