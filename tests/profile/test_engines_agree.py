"""The torch engine against DeepProfiler over channels and boxes: minutes, not in the suite."""

from __future__ import annotations

import numpy as np
import pytest
from own_python import needs_deepprofiler
from scipy.ndimage import gaussian_filter

from idrstream.config import ProfileSettings
from idrstream.profile import DeepProfilerEngine, DeepProfilerProject, TorchEngine
from idrstream.records import Frame, ImageTask, Nuclei

pytestmark = [pytest.mark.models, pytest.mark.slow, needs_deepprofiler]

HEIGHT, WIDTH = 300, 420


def read(project):
    return [
        np.load(project.features_path(image))["features"]
        for image in project.images
        if image.nuclei
    ]


def add(project, number, pixels, points):
    task = ImageTask("P1", "A1", 1, (number,))
    project.add(Frame(pixels, number, task), Nuclei(np.array(points), None, number, task, 17.0))


@pytest.mark.parametrize("box_size", [64, 96, 128])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_features_are_equal_within_a_ten_thousandth(
    tmp_path, trained_checkpoint, write_config, channels, box_size
):
    checkpoint = trained_checkpoint(tmp_path / "trained.h5", channels)
    config = write_config(
        tmp_path / "trained.json",
        dataset__images__width=WIDTH,
        dataset__images__height=HEIGHT,
        dataset__images__channels=["DNA"] * channels,
        dataset__locations__box_size=box_size,
        profile__checkpoint=checkpoint.name,
    )
    project = DeepProfilerProject(tmp_path / "project", config, checkpoint)
    project.prepare()
    rng = np.random.default_rng(box_size + channels)

    def pixels():
        return (gaussian_filter(rng.random((HEIGHT, WIDTH)), 4) * 4000 % 255).astype(np.uint8)

    many = 2000 if (channels, box_size) == (1, 64) else 30
    add(project, 1, pixels(), np.empty((0, 2)))
    add(project, 2, pixels(), [[100.25, 200.5]])
    add(project, 3, pixels(), rng.uniform(0, [HEIGHT, WIDTH], (many, 2)))
    border = [[0, 0], [HEIGHT - 1, WIDTH - 1], [box_size / 2, 0], [0, WIDTH / 2], [-300, 10]]
    add(project, 4, pixels().astype(np.uint16) * 200, border)
    add(project, 5, np.zeros((HEIGHT, WIDTH), np.uint8), [[150, 150]])
    engine = DeepProfilerEngine(ProfileSettings(dp_gpu="-1", profile_timeout_s=600))
    try:
        engine.profile(project)
    finally:
        engine.close()
    wanted = read(project)
    TorchEngine(ProfileSettings(profile_device="cpu")).profile(project)
    for ours, theirs in zip(read(project), wanted, strict=True):
        assert theirs.std() > 1e-3
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()
