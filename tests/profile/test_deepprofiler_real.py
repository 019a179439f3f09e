"""One batch through DeepProfiler itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from idrstream import models
from idrstream.compile import compile_batch
from idrstream.errors import MissingToolError
from idrstream.profile import CommandEngine, DeepProfilerProject, check_features
from idrstream.records import Frame, ImageTask, Nuclei

pytestmark = pytest.mark.models

HEIGHT, WIDTH = 160, 192


def checkpoint_for(config, folder):
    """Return the shipped checkpoint, or make one that is good enough."""
    with contextlib.suppress(MissingToolError):
        return models.profiler_checkpoint_path()
    path = folder / "tiny.h5"
    maker = Path(__file__).with_name("make_checkpoint.py")
    subprocess.run(
        [sys.executable, maker, config, path],
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
    )
    return path


def frame_of(task, number, points, seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = rng.normal(20, 2, (HEIGHT, WIDTH))
    for (cy, cx), size in zip(points, rng.uniform(4, 9, len(points)), strict=True):
        pixels += 150 * np.exp(-((((y - cy) ** 2 + (x - cx) ** 2) / (2 * size**2)) ** 2))
    return Frame(np.clip(pixels, 0, 255).astype(np.uint8), number, task)


@pytest.fixture(scope="module")
def batch(tmp_path_factory, write_config):
    folder = tmp_path_factory.mktemp("a folder with blanks")
    size = {"dataset__images__width": WIDTH, "dataset__images__height": HEIGHT}
    config = write_config(folder / "tiny.json", **size)
    checkpoint = checkpoint_for(config, folder)
    write_config(config, **size, profile__checkpoint=checkpoint.name)
    project = DeepProfilerProject(folder / "DP project", config, checkpoint)
    project.prepare()
    inner = np.array([[40.0, 50.0], [80.5, 100.25], [120.0, 30.0]])
    border = np.array([[0.0, 0.0], [159.0, 191.0]])
    metadata = {"Original Gene Target": "ENSG00000149503", "Control Type": "positive control"}
    for plate, number, points in (
        ("LT0001_02", 50, inner),
        ("LT0001_02", 51, inner[:0]),
        ("0012", 1, border),
        ("LT0001_02", 52, inner),
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
        CommandEngine(gpu="-1", timeout_s=500).profile(project)
    finally:
        os.chdir(before)
    return SimpleNamespace(project=project, elsewhere=elsewhere)


def test_features_are_complete(batch):
    check_features(batch.project)
    written = [batch.project.features_path(image).is_file() for image in batch.project.images]
    assert written == [True, False, True, True]


def test_equal_pixels_give_equal_features(batch):
    first, _, _, last = batch.project.images
    with (
        np.load(batch.project.features_path(first)) as one,
        np.load(batch.project.features_path(last)) as other,
    ):
        assert one["features"].dtype == np.float32
        assert np.array_equal(one["features"], other["features"])
        assert one["features"].std() > 1e-3


def test_the_table_is_made_of_them(batch):
    table = compile_batch(batch.project, extra_metadata=["object_outlines", "Control Type"])
    assert table.shape == (8, 2 + 1 + 8 + 1 + batch.project.feature_count)
    assert list(table["Metadata_Plate"]) == ["LT0001_02"] * 3 + ["0012"] * 2 + ["LT0001_02"] * 3
    assert list(table["Location_Center_X"]) == [50.0, 100.25, 30.0, 0.0, 191.0, 50.0, 100.25, 30.0]
    assert table["Object_Outline"][4] == "[[1,1],[2,1]]"
    assert table.notna().all(axis=None)


def test_nothing_is_written_elsewhere_and_clear_removes_the_rest(batch):
    assert [path.name for path in batch.elsewhere.rglob("*")] == ["LT0001_02"]
    batch.project.clear()
    left = [path.name for path in batch.project.root.rglob("*") if path.is_file()]
    assert sorted(left) == sorted(["tiny.json", batch.project.config.checkpoint])
