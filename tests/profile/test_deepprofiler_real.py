"""One batch through DeepProfiler itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from own_python import PYTHON, needs_deepprofiler

from idrstream.compile import compile_batch
from idrstream.config import ProfileSettings
from idrstream.profile import (
    DeepProfilerEngine,
    DeepProfilerProject,
    TorchEngine,
    check_features,
)
from idrstream.records import Frame, ImageTask, Nuclei

pytestmark = [pytest.mark.models, needs_deepprofiler]

HEIGHT, WIDTH, CHANNELS = 160, 192, 3
INNER = np.array([[40.0, 50.0], [80.5, 100.25], [120.0, 30.0]])
BLACK = 60  # number of a frame without light


def frame_of(task, number, points, seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    if number == BLACK:
        return Frame(np.zeros((HEIGHT, WIDTH), np.uint8), number, task)
    pixels = rng.normal(20, 2, (HEIGHT, WIDTH))
    for (cy, cx), size in zip(points, rng.uniform(4, 9, len(points)), strict=True):
        pixels += 150 * np.exp(-((((y - cy) ** 2 + (x - cx) ** 2) / (2 * size**2)) ** 2))
    return Frame(np.clip(pixels, 0, 255).astype(np.uint8), number, task)


def read_features(project, image):
    if not image.nuclei:
        return None
    with np.load(project.features_path(image)) as file:
        return file["features"]


def run_deepprofiler(project):
    """Run DeepProfiler's own command on a project."""
    project.write_index()
    options = ["--gpu=-1", f"--root={project.root}", f"--config={project.config_name}"]
    # Not from the folder of the test: it takes one that has a plate's name for its images.
    command = [PYTHON, "-I", "-m", "deepprofiler", *options, "profile"]
    subprocess.run(command, check=True, cwd=project.index_path.parent)


@pytest.fixture(scope="module")
def batch(tmp_path_factory, write_config, trained_checkpoint):
    folder = tmp_path_factory.mktemp("a folder with blanks")
    checkpoint = trained_checkpoint(folder / "trained.h5", CHANNELS)
    config = write_config(
        folder / "tiny.json",
        dataset__images__width=WIDTH,
        dataset__images__height=HEIGHT,
        dataset__images__channels=["DNA"] * CHANNELS,
        dataset__locations__box_size=64,
        profile__checkpoint=checkpoint.name,
    )
    project = DeepProfilerProject(folder / "DP project", config, checkpoint)
    project.prepare()
    inner = INNER
    # Corners, a box that ends at the border, and one wholly beyond it.
    border = np.array([[0.0, 0.0], [159.0, 191.0], [32.0, 160.0], [-40.0, 300.0]])
    metadata = {"Original Gene Target": "ENSG00000149503", "Control Type": "positive control"}
    for plate, number, points in (
        ("LT0001_02", 50, inner),
        ("LT0001_02", 51, inner[:0]),
        ("0012", 1, border),
        ("LT0001_02", 52, inner),
        ("LT0001_02", BLACK, inner[:1]),
    ):
        task = ImageTask(plate, "A4", 4, (number,), metadata=metadata)
        outlines = tuple(np.array([[n, n], [n, n + 1]]) for n in range(len(points)))
        project.add(frame_of(task, number, points, 7), Nuclei(points, outlines, number, task, 17.0))
    # DeepProfiler would look for the images here, were it started here.
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "LT0001_02").mkdir()
    before = Path.cwd()
    os.chdir(elsewhere)
    try:
        run_deepprofiler(project)
    finally:
        os.chdir(before)
    features = {image.name: read_features(project, image) for image in project.images}
    return SimpleNamespace(project=project, elsewhere=elsewhere, features=features)


def test_features_are_complete(batch):
    check_features(batch.project)
    written = [batch.project.features_path(image).is_file() for image in batch.project.images]
    assert written == [True, False, True, True, True]


def test_equal_pixels_give_equal_features(batch):
    first, _, _, last, _ = batch.project.images
    with (
        np.load(batch.project.features_path(first)) as one,
        np.load(batch.project.features_path(last)) as other,
    ):
        assert one["features"].dtype == np.float32
        assert np.array_equal(one["features"], other["features"])
        assert one["features"].std() > 1e-3


def test_the_table_is_made_of_them(batch):
    table = compile_batch(batch.project, extra_metadata=["object_outlines", "Control Type"])
    assert table.shape == (11, 2 + 1 + 8 + 1 + batch.project.feature_count)
    assert list(table["Metadata_Plate"]) == ["LT0001_02"] * 3 + ["0012"] * 4 + ["LT0001_02"] * 4
    assert list(table["Location_Center_X"][:6]) == [50.0, 100.25, 30.0, 0.0, 191.0, 160.0]
    assert table["Object_Outline"][4] == "[[1,1],[2,1]]"
    assert table.notna().all(axis=None)


def test_the_process_that_stays_gives_the_same_bits(batch, tmp_path):
    other = DeepProfilerProject(
        tmp_path / "other", batch.project.config.path, batch.project.checkpoint_path
    )
    other.prepare()
    task = ImageTask("LT0001_02", "A4", 4, (50,), metadata={"Original Gene Target": "other"})
    other.add(frame_of(task, 50, INNER, 7), Nuclei(INNER, None, 50, task, 17.0))
    engine = DeepProfilerEngine(ProfileSettings(dp_gpu="-1", profile_timeout_s=500))
    try:
        engine.profile(other)
        engine.profile(batch.project)
    finally:
        engine.close()
    for image in batch.project.images:
        wanted = batch.features[image.name]
        if wanted is not None:
            assert np.array_equal(read_features(batch.project, image), wanted)
    # Another project with images of its own: the same model did both.
    (image,) = other.images
    wanted = batch.features[batch.project.images[0].name]
    assert np.array_equal(read_features(other, image), wanted)


def test_torch_gives_the_same_within_rounding(batch):
    engine = TorchEngine(ProfileSettings(profile_device="cpu", crops_at_once=4))
    engine.profile(batch.project)
    for image in batch.project.images:
        wanted = batch.features[image.name]
        if wanted is not None:
            features = read_features(batch.project, image)
            assert features.dtype == np.float32
            assert np.abs(features - wanted).max() <= 1e-4 * np.abs(wanted).max()
    table = compile_batch(batch.project)
    assert list(table["Metadata_Plate"][:4]) == ["LT0001_02"] * 3 + ["0012"]


def test_nothing_is_written_elsewhere_and_clear_removes_the_rest(batch):
    assert [path.name for path in batch.elsewhere.rglob("*")] == ["LT0001_02"]
    batch.project.clear()
    left = [path.name for path in batch.project.root.rglob("*") if path.is_file()]
    assert sorted(left) == sorted(["tiny.json", batch.project.config.checkpoint])
