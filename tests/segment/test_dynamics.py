"""Masks out of flows are Cellpose's, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.models


def smooth_flows(seed, shape=(90, 110)):
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).normal(size=(3, *shape))
    flows = np.stack([gaussian_filter(plane, 5) for plane in noise]).astype(np.float32)
    flows[:2] *= 40 / flows[:2].std()
    return flows


@pytest.mark.parametrize("steps", [1, 37, 200])
def test_pixels_end_where_cellposes_do(steps):
    from cellpose.dynamics import follow_flows

    from idrstream.segment.network.dynamics import follow

    flows = smooth_flows(steps)
    inside = flows[2] > 0
    pixels = np.nonzero(inside)
    field = np.ascontiguousarray(flows[:2] * inside / np.float32(5))
    expected = follow_flows(field, pixels, niter=steps)
    assert np.array_equal(follow(field, np.stack(pixels).astype(np.float32), steps), expected)


def flows_of_disks():
    """Return flows as a network might see them: disks, with some noise, one of them spoilt."""
    from cellpose.dynamics import masks_to_flows

    y, x = np.mgrid[:90, :110]
    labels = np.zeros((90, 110), np.int32)
    for label, centre in enumerate(((20, 20), (22, 45), (60, 30), (50, 80), (2, 90)), 1):
        labels[np.hypot(y - centre[0], x - centre[1]) < 11] = label
    noise = np.random.default_rng(1).normal(0, 0.5, (2, 90, 110))
    spoilt = np.where(labels == 3, -1.5, 0)
    flows = 5 * masks_to_flows(labels) + noise + spoilt
    return np.concatenate([flows, (10.0 * (labels > 0) - 5)[np.newaxis]]).astype(np.float32)


@pytest.mark.parametrize(("flow_threshold", "at_least"), [(0, 5), (0.4, 4), (0.02, 0)])
def test_masks_are_cellposes(flow_threshold, at_least):
    from cellpose.dynamics import resize_and_compute_masks

    from idrstream.segment.network.dynamics import masks_from_flows

    flows = flows_of_disks()
    options = {"flow_threshold": flow_threshold, "cellprob_threshold": -0.1, "min_size": 4}
    expected = resize_and_compute_masks(flows[:2], flows[2], niter=150, **options)
    masks = masks_from_flows(flows, steps=150, **options)
    assert np.array_equal(masks, expected)
    assert masks.max() >= at_least


def test_nothing_inside_is_no_mask():
    from idrstream.segment.network.dynamics import masks_from_flows

    masks = masks_from_flows(np.full((3, 20, 30), -5, np.float32), steps=10)
    assert masks.shape == (20, 30)
    assert masks.max() == 0
