"""The torch engine against DeepProfiler over channels and boxes: minutes, not in the suite."""

from __future__ import annotations

import numpy as np
import pytest
from objects_at import objects_at
from own_python import needs_deepprofiler
from scipy.ndimage import gaussian_filter

from idrstream.config import ProfileSettings
from idrstream.profile import DeepModel, DeepProfilerEngine, TorchEngine
from idrstream.records import Frame, ImageTask

pytestmark = [pytest.mark.models, pytest.mark.slow, needs_deepprofiler]

HEIGHT, WIDTH = 300, 420


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
    model = DeepModel.read(config, checkpoint)
    rng = np.random.default_rng(box_size + channels)

    def scene(number, points, scale=1, dtype=np.uint8):
        pixels = gaussian_filter(rng.random((HEIGHT, WIDTH)), 4) * 4000 % 255
        pixels = pixels.astype(dtype)[np.newaxis] * dtype(scale)
        frame = Frame(pixels, number, ImageTask("P1", "A1", 1, (number,)))
        return frame, objects_at(np.array(points), (HEIGHT, WIDTH))

    many = 2000 if (channels, box_size) == (1, 64) else 30
    border = [[0, 0], [HEIGHT - 1, WIDTH - 1], [box_size / 2, 0], [0, WIDTH / 2], [-300, 10]]
    scenes = [
        scene(1, np.empty((0, 2))),
        scene(2, [[100.25, 200.5]]),
        scene(3, rng.uniform(0, [HEIGHT, WIDTH], (many, 2))),
        scene(4, border, 200, np.uint16),
        scene(5, [[150, 150]], 0),
    ]
    frames, objects = zip(*scenes, strict=True)
    settings = ProfileSettings(dp_gpu="-1", profile_timeout_s=600, profile_device="cpu")
    engine = DeepProfilerEngine(model, tmp_path / "engine", settings)
    try:
        wanted = engine.profile(frames, objects)
    finally:
        engine.close()
    found = TorchEngine(model, settings).profile(frames, objects)
    for ours, theirs in zip(found[1:], wanted[1:], strict=True):
        assert theirs.values.std() > 1e-3
        assert np.abs(ours.values - theirs.values).max() <= 1e-4 * np.abs(theirs.values).max()
