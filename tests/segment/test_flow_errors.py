"""How well masks fit the flows is what Cellpose says, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.models


def theirs(masks, flows):
    import torch
    from cellpose.metrics import flow_error

    with np.errstate(invalid="ignore"):
        return flow_error(masks, flows, torch.device("cpu"))[0]


def ours(masks, flows):
    from idrstream.segment.network.flow_errors import flow_errors

    return flow_errors(masks, flows)


def blobs(seed, shape, count):
    """Return labels of random shapes: in pieces, at the border, lost under others."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for label in range(1, count + 1):
        centre, axes = rng.uniform(0, shape), rng.uniform(0.5, 9, 2)
        inside = ((y - centre[0]) / axes[0]) ** 2 + ((x - centre[1]) / axes[1]) ** 2 < 1
        labels[inside & (rng.random(shape) < 0.95)] = label
    return labels


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 50)),
    count=st.integers(1, 12),
    dtype=st.sampled_from([np.uint16, np.int32, np.uint32]),
)
def test_errors_are_cellposes(seed, shape, count, dtype):
    masks = blobs(seed, shape, count).astype(dtype)
    if masks.max() == 0:
        masks[0, 0] = 1
    flows = np.random.default_rng(seed).normal(0, 4, (2, *shape)).astype(np.float32)
    np.testing.assert_array_equal(ours(masks, flows), theirs(masks, flows))


def test_a_large_mask_and_one_of_a_single_pixel():
    masks = np.zeros((300, 310), np.uint16)
    masks[5:290, 3:305] = 1
    masks[150, 150] = 2
    flows = np.random.default_rng(0).normal(0, 4, (2, 300, 310)).astype(np.float32)
    found = ours(masks, flows)
    np.testing.assert_array_equal(found, theirs(masks, flows))
    assert found.shape == (2,)


def test_a_number_that_no_mask_has_has_no_error():
    masks = np.array([[1, 1, 0, 3]], np.uint16)
    found = ours(masks, np.ones((2, 1, 4), np.float32))
    assert np.isnan(found[1])
    assert np.isfinite(found[[0, 2]]).all()


def test_no_masks_have_no_errors():
    assert ours(np.zeros((4, 5), np.uint16), np.ones((2, 4, 5), np.float32)).shape == (0,)
