import numpy as np
import pytest

from idrstream.segment.network.intensity import (
    blank_level,
    bright_pixels,
    dark_level,
    exceeding,
    visible_percentiles,
    without_blank,
)
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


def scanned(shape=(400, 500), edge=190, nuclei=True, dtype=np.uint16):
    """A field of which only the part right of a slanted edge was recorded."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = 150 + rng.normal(0, 11, shape)
    for centre in [(90, 330), (250, 300), (333, 430)] if nuclei else []:
        light += 1500 * np.exp(-(((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 60))
    recorded = x > edge + y // 10
    return np.where(recorded, np.clip(light, 1, None), 0).astype(dtype), recorded


def test_pixels_that_were_never_recorded_are_taken_for_the_medium():
    image, recorded = scanned()
    assert blank_level(image) == pytest.approx(150, abs=1)
    full = without_blank(image)
    assert full.dtype == image.dtype
    assert np.array_equal(full[recorded], image[recorded])
    assert set(full[~recorded]) == {int(blank_level(image))}


def test_the_medium_around_what_was_never_recorded_is_not_nuclei():
    empty, recorded = scanned(nuclei=False)
    assert visible_percentiles(empty) is None
    assert dark_level(empty) == pytest.approx(dark_level(empty[:, 240:]), rel=0.02)
    assert exceeding(scanned()[0], dark_level(empty)).any()
    assert 0 < bright_pixels(scanned()[0]).sum() < 0.05 * recorded.sum()


def test_zeros_of_a_dark_medium_stay_as_they_are():
    clipped = (scanned()[0].astype(int) - 150).clip(0).astype(np.uint16)  # a camera without offset
    masked = np.zeros((400, 500), np.uint16)  # nuclei cut out, all about as bright
    for y, x in [(60, 80), (200, 300), (330, 90)]:
        masked[y - 50 : y + 50, x - 50 : x + 50] = np.random.default_rng(1).normal(
            1000, 30, (100,) * 2
        )
    for image in (clipped, masked, np.zeros((400, 500), np.uint16), scanned()[0][:, 250:]):
        assert blank_level(image) == 0
        assert without_blank(image) is image


def test_what_exceeds_a_level_is_judged_smoothed():
    image = np.full((200, 300), 100.0)
    assert not exceeding(image, 120.0).any()
    image[100, 150] = 130.0  # a hot pixel, which smoothing takes away
    assert not exceeding(image, 120.0).any()
    image[98:103, 148:153] = 200.0
    found = exceeding(image, 120.0)
    assert found[100, 150]
    assert 9 <= found.sum() <= 49
