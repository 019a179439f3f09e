"""Crops as ``tf.image.crop_and_resize`` cuts them, against its formula written out in loops."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idrstream.profile.torch.crops import cut_crops, sample_positions, scale_by_range


def one_crop(image, center, box_size):
    """TensorFlow's kernel and DeepProfiler's scaling, pixel by pixel, in single precision."""
    f4 = np.float32
    crop = np.zeros((box_size, box_size), f4)
    ends = [(f4(c - box_size / 2) / f4(n), f4(c + box_size / 2) / f4(n), f4(n - 1))
            for c, n in zip(center, image.shape, strict=True)]  # fmt: skip
    for row in range(box_size):
        for column in range(box_size):
            y, x = (
                first * end + f4(at) * ((last - first) * end / f4(box_size - 1))
                for at, (first, last, end) in zip((row, column), ends, strict=True)
            )
            if not (0 <= y <= ends[0][2] and 0 <= x <= ends[1][2]):
                continue
            top, bottom, left, right = math.floor(y), math.ceil(y), math.floor(x), math.ceil(x)
            across = f4(x - left)
            above = image[top, left] + (image[top, right] - image[top, left]) * across
            below = image[bottom, left] + (image[bottom, right] - image[bottom, left]) * across
            crop[row, column] = above + (below - above) * f4(y - top)
    low, high = crop.min(), crop.max()
    return (crop - low) / (high - low + f4(1e-7))


@settings(deadline=None, max_examples=40)
@given(
    points=st.lists(
        st.tuples(st.floats(-30, 60, width=32), st.floats(-30, 70, width=32)),
        min_size=1,
        max_size=3,
    ),
    box_size=st.integers(2, 20),
    seed=st.integers(0, 99),
)
def test_crops_are_tensorflows(points, box_size, seed):
    image = np.random.default_rng(seed).integers(0, 255, (31, 43)).astype(np.float32)
    crops = scale_by_range(cut_crops(torch.from_numpy(image), np.array(points), box_size)).numpy()
    wanted = np.stack([one_crop(image, point, box_size) for point in points])
    assert crops.dtype == np.float32
    np.testing.assert_allclose(crops, wanted, atol=3e-7)


def test_crops_of_one_value_and_beyond_the_border_are_zeros():
    image = torch.full((50, 60), 9.0)
    crops = scale_by_range(cut_crops(image, np.array([[25.0, 30.0], [-100.0, 30.0]]), 16))
    assert crops.shape == (2, 16, 16)
    assert not crops.any()


def test_a_sample_on_the_border_is_inside():
    samples = sample_positions(np.array([1.0]), 2, 10)
    assert samples.inside.tolist() == [[True, True]]
    assert samples.low[0, 0] == samples.high[0, 0] == 0
    assert sample_positions(np.array([0.5]), 2, 10).inside.tolist() == [[False, True]]
