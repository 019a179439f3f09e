"""DeepProfiler itself behind the door of arrays, against its own command and the torch engine."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from objects_at import objects_at
from own_python import PYTHON, needs_deepprofiler

from idrstream.config import ProfileSettings
from idrstream.profile import DeepModel, DeepProfilerEngine, DeepProfilerProject, TorchEngine
from idrstream.profile.deepprofiler.features_file import read_features
from idrstream.records import Frame, ImageTask
from idrstream.testing.engines import FeatureEngineConformance

pytestmark = [pytest.mark.models, needs_deepprofiler]

SHAPE = (160, 192)
OTHERS = ((211, 190), (96, 128))
NAMES = ("DNA", "ER", "AGP", "Mito", "RNA")
INNER = np.array([[40.0, 50.0], [80.5, 100.25], [60.0, 30.0]])
# Corners, a box that ends at the border, and one wholly beyond it.
BORDER = np.array([[0.0, 0.0], [159.0, 191.0], [32.0, 160.0], [-40.0, 300.0]])


def frame_of(number, points, channels, *, shape=SHAPE, dtype="u1", dark=False):
    rng = np.random.default_rng(number)
    y, x = np.mgrid[: shape[0], : shape[1]]
    planes = []
    for _ in channels:
        pixels = rng.normal(20, 2, shape) * (not dark)
        for (cy, cx), size in zip(points, rng.uniform(4, 9, len(points)), strict=True):
            spot = np.exp(-((((y - cy) ** 2 + (x - cx) ** 2) / (2 * size**2)) ** 2))
            pixels += 150 * spot * (not dark)
        planes.append(np.clip(pixels, 0, 255))
    pixels = np.stack(planes).astype(dtype) * (200 if dtype == "u2" else 1)
    return Frame(pixels, number, ImageTask("P1", "A4", 4, (number,)), channels=tuple(channels))


def scenes_of(channels, shape=SHAPE):
    made = [
        (frame_of(1, INNER, channels, shape=shape), INNER),
        (frame_of(2, INNER[:0], channels, shape=shape), INNER[:0]),
        (frame_of(3, BORDER, channels, shape=shape, dtype="u2"), BORDER),
        (frame_of(4, INNER, channels, shape=shape, dark=True), INNER[:1]),
    ]
    return [frame for frame, _ in made], [objects_at(at, shape) for _, at in made]


def run_deepprofiler(project, elsewhere):
    """Run DeepProfiler's own command on a project."""
    project.write_index()
    options = ["--gpu=-1", f"--root={project.root}", f"--config={project.config_name}"]
    command = [PYTHON, "-I", "-m", "deepprofiler", *options, "profile"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(command, check=True, cwd=elsewhere, env=environment)


@pytest.fixture(scope="module")
def process():
    settings = ProfileSettings(dp_gpu="-1", profile_timeout_s=500)
    from idrstream.profile.deepprofiler.process import DeepProfilerProcess

    made = DeepProfilerProcess(settings)
    yield made
    made.close()


@pytest.fixture(scope="module", params=[1, 3, 5])
def channels(request, tmp_path_factory, write_config, trained_checkpoint, process):
    """A model of so many channels, and what DeepProfiler's command makes of some frames."""
    folder = tmp_path_factory.mktemp("a folder with blanks")
    names = NAMES[: request.param]
    checkpoint = trained_checkpoint(folder / "trained.h5", len(names))
    config = write_config(
        folder / "tiny.json",
        dataset__images__width=SHAPE[1],
        dataset__images__height=SHAPE[0],
        dataset__images__channels=list(names),
        dataset__locations__box_size=64,
        profile__checkpoint=checkpoint.name,
    )
    model = DeepModel.read(config, checkpoint)
    project = DeepProfilerProject(folder / "DP project", model)
    project.write_model()
    frames, objects = scenes_of(names)
    images = [
        project.add(frame, of, pixels=True) for frame, of in zip(frames, objects, strict=True)
    ]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    run_deepprofiler(project, elsewhere)
    assert not list(elsewhere.iterdir())
    wanted = [
        read_features(project.features_path(image), image.name) if image.objects else None
        for image in images
    ]
    engine = DeepProfilerEngine(model, folder / "engine", process)
    return SimpleNamespace(
        names=names, model=model, frames=frames, objects=objects, wanted=wanted, engine=engine,
        folder=folder,
    )  # fmt: skip


def test_the_engine_gives_the_bits_of_the_command(channels):
    found = channels.engine.profile(channels.frames, channels.objects)
    for features, wanted in zip(found, channels.wanted, strict=True):
        if wanted is None:
            assert features.values.shape == (0, 1280)
        else:
            assert np.array_equal(features.values, wanted)
            assert features.values.dtype == np.float32
    left = sorted(path.name for path in (channels.folder / "engine").rglob("*.*"))
    assert left == ["tiny.json", "trained.h5"]


def test_torch_gives_the_same_within_rounding(channels):
    engine = TorchEngine(channels.model, ProfileSettings(profile_device="cpu", crops_at_once=4))
    for features, wanted in zip(
        engine.profile(channels.frames, channels.objects), channels.wanted, strict=True
    ):
        if wanted is not None:
            assert wanted.std() > 1e-3
            assert np.abs(features.values - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_frames_of_three_sizes_in_one_call(channels):
    """Both engines, whatever size the configuration says."""
    scenes = [scenes_of(channels.names, shape) for shape in (OTHERS[0], SHAPE, OTHERS[1])]
    frames = [frame for of_size, _ in scenes for frame in of_size]
    objects = [one for _, of_size in scenes for one in of_size]
    theirs = channels.engine.profile(frames, objects)
    ours = TorchEngine(channels.model, ProfileSettings(profile_device="cpu")).profile(
        frames, objects
    )
    for features, wanted in zip(ours, theirs, strict=True):
        largest = np.abs(wanted.values).max(initial=0)
        assert np.abs(features.values - wanted.values).max(initial=0) <= 1e-4 * largest
    for features, wanted in zip(theirs[4:8], channels.wanted, strict=True):
        if wanted is not None:
            assert np.array_equal(features.values, wanted)


@pytest.fixture(scope="module")
def of_one_channel(tmp_path_factory, write_config, trained_checkpoint, process):
    folder = tmp_path_factory.mktemp("conformance")
    checkpoint = trained_checkpoint(folder / "one.h5", 1)
    config = write_config(folder / "one.json", profile__checkpoint=checkpoint.name)
    return DeepProfilerEngine(DeepModel.read(config, checkpoint), folder / "DP", process)


class TestConformance(FeatureEngineConformance):
    @pytest.fixture
    def engine(self, of_one_channel):
        return of_one_channel
