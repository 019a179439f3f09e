from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from idrstream.segment.labels import as_labels, objects_in, trace_outlines

label_images = hnp.arrays(
    np.int32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.integers(0, 5),
)


@settings(deadline=None)
@given(label_images)
def test_labels_are_numbered_without_gaps_in_the_same_order(masks):
    before = masks.copy()
    labels = as_labels(masks)
    assert labels.dtype == np.int32
    assert labels.shape == masks.shape
    assert np.array_equal(masks, before)
    assert np.array_equal(labels == 0, masks == 0)
    old = np.unique(masks[masks > 0])
    assert np.array_equal(np.unique(labels[labels > 0]), np.arange(1, len(old) + 1))
    for number, value in enumerate(old, start=1):
        assert np.array_equal(labels == number, masks == value)


@pytest.fixture(scope="module")
def cellpose_utils():
    return pytest.importorskip("cellpose.utils")


@pytest.mark.models
@settings(deadline=None, max_examples=50)
@given(masks=label_images)
def test_edge_masks_are_removed_as_cellpose_does(cellpose_utils, masks):
    theirs = cellpose_utils.remove_edge_masks(masks.copy(), change_index=False)
    assert np.array_equal(as_labels(masks, drop_edge=True), as_labels(theirs))


def test_an_image_that_is_all_one_mask_touches_the_edge():
    assert not as_labels(np.ones((4, 5), np.int32), drop_edge=True).any()


@settings(deadline=None)
@given(label_images)
def test_centroids_are_scipys_centre_of_mass(masks):
    from scipy.ndimage import center_of_mass

    labels = as_labels(masks)
    count = int(labels.max())
    expected = center_of_mass(labels > 0, labels, range(1, count + 1)) if count else []
    points = objects_in(labels).locations
    assert points.shape == (count, 2)
    assert points.dtype == np.float64
    np.testing.assert_allclose(points, np.reshape(expected, (count, 2)), atol=1e-9)


def test_centroid_is_y_then_x_from_the_centre_of_the_first_pixel():
    masks = np.zeros((10, 20), np.uint16)
    masks[2:5, 7:12] = 9
    assert objects_in(as_labels(masks)).locations.tolist() == [[3.0, 9.0]]


@settings(deadline=None)
@given(label_images)
def test_the_table_is_scikit_images_region_properties(masks):
    from skimage.measure import regionprops_table

    names = ("label", "centroid", "area", "bbox")
    expected = regionprops_table(masks, properties=names)
    objects = objects_in(masks)
    columns = ("label", "y", "x", "area", "top", "left", "bottom", "right")
    assert len(objects) == len(expected["label"])
    for column, values in zip(columns, expected.values(), strict=True):
        np.testing.assert_allclose(objects.table[column], values)
    on_border = set(np.concatenate([masks[0], masks[-1], masks[:, 0], masks[:, -1]])) - {0}
    assert set(objects.table["label"][objects.table["touches_border"]]) == on_border
    assert objects.labels is masks


def test_outlines_belong_to_the_rows_also_where_labels_have_gaps():
    masks = np.zeros((9, 9), np.int32)
    masks[1:4, 1:4], masks[5:8, 5:8] = 2, 7
    objects = objects_in(masks, "Cells", outlines=True, diameter_px=3.0, channel="ER")
    assert (objects.name, objects.channel, len(objects)) == ("Cells", "ER", 2)
    assert [outline.mean(axis=0).tolist() for outline in objects.outlines] == [[2, 2], [6, 6]]


@pytest.mark.models
@settings(deadline=None, max_examples=50)
@given(masks=label_images)
def test_outlines_are_those_of_cellpose_where_it_gives_any(cellpose_utils, masks):
    labels = as_labels(masks)
    ours = trace_outlines(labels)
    assert len(ours) == int(labels.max(initial=0))
    if not labels.any() or labels.min() > 0:  # Cellpose takes the lowest value for background
        return
    listed = cellpose_utils.outlines_list(labels, multiprocessing=False)
    for outline, theirs in zip(ours, listed, strict=True):
        if len(theirs):
            assert np.array_equal(outline[:, ::-1], theirs)


@settings(deadline=None)
@given(label_images)
def test_outline_points_are_pixels_of_their_own_mask(masks):
    labels = as_labels(masks)
    for label, outline in enumerate(trace_outlines(labels), start=1):
        assert outline.ndim == 2
        assert len(outline) >= 1
        assert outline.dtype == np.int64
        assert (labels[outline[:, 0], outline[:, 1]] == label).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 1)])
def test_tiny_masks_keep_an_outline(shape):
    masks = np.zeros((6, 6), np.int32)
    masks[2 : 2 + shape[0], 3 : 3 + shape[1]] = 1
    (outline,) = trace_outlines(masks)
    assert outline[0].tolist() == [2, 3]
