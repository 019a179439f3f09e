import numpy as np
import pytest

from idrstream.segment.network.intensity import visible_percentiles
from idrstream.simulate import ScreenSpec, simulate_movie


def frame(nuclei):
    spec = ScreenSpec(frames=1, height=512, width=672, nuclei_per_frame=nuclei)
    return simulate_movie(spec, well="A15")


@pytest.mark.parametrize("nuclei", [100, 400])
def test_a_usual_frame_is_scaled_as_cellpose_does(nuclei):
    assert visible_percentiles(frame(nuclei).frames[0]) == (1.0, 99.0)


@pytest.mark.parametrize("nuclei", [4, 12])
def test_few_nuclei_are_not_cut_off_at_the_level_of_the_medium(nuclei):
    movie = frame(nuclei)
    pixels, nuclei = movie.frames[0], movie.masks[0] > 0
    assert nuclei.mean() < 0.01
    upper = np.percentile(pixels, visible_percentiles(pixels)[1])
    assert upper > np.median(pixels[nuclei])
    assert np.percentile(pixels, 99) < np.median(pixels[nuclei])  # Cellpose's own scale


def test_a_shift_or_factor_of_the_grey_levels_changes_nothing():
    pixels = frame(40).frames[0].astype(np.float32)
    assert visible_percentiles(pixels) == pytest.approx(visible_percentiles(pixels * 16 + 100))


@pytest.mark.parametrize("shape", [(96, 128), (300, 400)])
@pytest.mark.parametrize(("level", "noise", "dtype"), [(24, 1.0, np.uint8), (300, 20.0, np.uint16)])
def test_noise_alone_shows_no_nuclei_and_one_dim_nucleus_does(shape, level, noise, dtype):
    rng = np.random.default_rng(0)
    image = level + rng.normal(0, noise, shape) + np.linspace(0, noise, shape[1])
    assert visible_percentiles(image.astype(dtype)) is None
    y, x = np.mgrid[: shape[0], : shape[1]]
    image[np.hypot(y - 40, x - 50) < 8] += 8 * noise
    assert visible_percentiles(image.astype(dtype)) is not None
    assert visible_percentiles(np.full(shape, level, dtype)) is None
