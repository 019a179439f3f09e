"""Cells and cytoplasm of drawn nuclei, where the right answer can be said for every pixel."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from idrstream.segment.cells import expanded, matched, objects_of, propagated


def discs(*centres, radius=5, shape=(60, 80)):
    """Return a label image of discs at ``(y, x)``, or at ``(y, x, radius)``."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for label, (top, left, *size) in enumerate(centres, start=1):
        labels[np.hypot(y - top, x - left) <= (size[0] if size else radius)] = label
    return labels


def areas(objects, kind):
    return objects.kind(kind).table["area"].tolist()


def test_cells_grow_by_the_distance_and_never_overlap():
    nuclei = discs((30, 20), (30, 40), (30, 70))
    found = expanded(nuclei, 8)
    assert np.array_equal(found.cells[nuclei > 0], nuclei[nuclei > 0])
    alone = discs((30, 70), radius=13) > 0
    third = found.cells == 3
    assert (third & ~alone).sum() == 0
    assert third.sum() > 0.97 * alone.sum()
    assert (found.cells[:, :30] != 2).all()  # half way between the first two
    assert (found.cells[:, 31:56] != 1).all()
    assert not (found.cytoplasm[nuclei > 0]).any()
    assert np.array_equal(found.cytoplasm + nuclei, found.cells)


def test_neighbours_at_the_border_hold_their_ground_before_they_are_left_out():
    nuclei = discs((30, 3), (30, 18))
    with_border = objects_of(expanded(nuclei, 10), drop_edge=False)
    without = objects_of(expanded(nuclei, 10), drop_edge=True)
    assert len(with_border) == 2
    assert with_border.table["touches_border"].tolist() == [True, False]
    assert with_border.kind("Cells").table["touches_border"].tolist() == [True, False]
    assert len(without) == 1
    assert areas(without, "Cells") == areas(with_border, "Cells")[1:]
    assert without.labels.max() == without.kind("Cells").labels.max() == 1


def test_rows_of_all_kinds_have_the_same_labels_also_without_cytoplasm():
    nuclei = discs((30, 20), (30, 31), (10, 60, 1))
    nuclei[28:33, 5:70] = np.where(nuclei[28:33, 5:70] > 0, nuclei[28:33, 5:70], 0)
    objects = objects_of(expanded(nuclei, 0.5), drop_edge=False)
    assert [kind.name for kind in objects.kinds] == ["Nuclei", "Cells", "Cytoplasm"]
    for kind in objects.kinds:
        assert kind.table["label"].tolist() == [1, 2, 3]
    assert areas(objects, "Cytoplasm") == [0, 0, 0]
    assert np.isnan(objects.kind("Cytoplasm").locations).all()
    assert areas(objects, "Cells") == areas(objects, "Nuclei")


def test_cells_spread_over_the_bright_parts_of_the_channel():
    pytest.importorskip("centrosome")
    nuclei = discs((30, 20, 4), (30, 42, 4))
    bodies = discs((30, 20, 10), (30, 42, 11))
    rng = np.random.default_rng(0)
    pixels = (20 + 150 * (bodies > 0) + rng.normal(0, 3, bodies.shape)).astype(np.uint16)
    found = propagated(nuclei, pixels)
    for label in (1, 2):  # right but for the pixels next to the edge
        inside, beyond = (ndimage.binary_erosion(bodies == label), bodies == label)
        assert (found.cells[inside] == label).all()
        assert not (found.cells[~ndimage.binary_dilation(beyond)] == label).any()
    near = propagated(nuclei, pixels, 3)
    assert 0 < (near.cells > 0).sum() < (found.cells > 0).sum()
    assert np.array_equal(propagated(nuclei, pixels * 0).cells, nuclei)  # nothing is bright


def test_rules_of_the_match_of_cells_with_nuclei():
    """One nucleus, two of which the larger stands, none, and a nucleus without a cell."""
    cells = discs((15, 15, 12), (15, 60, 14), (45, 15, 10))
    nuclei = discs((15, 15, 4), (15, 52, 3), (15, 66, 4), (45, 60, 4))
    found = matched(nuclei, cells)
    objects = objects_of(found, drop_edge=False)
    assert len(objects) == 3
    assert objects.children.tolist() == [1, 2, 0]
    assert objects.match_counts == {
        "Cells_Without_Nucleus": 1, "Nuclei_In_Larger_Ones_Cell": 1, "Nuclei_Without_Cell": 1,
    }  # fmt: skip
    whole, cytoplasm = areas(objects, "Cells"), areas(objects, "Cytoplasm")
    assert whole == [(cells == 1).sum(), (cells == 2).sum(), 0]
    # Of the cell with two nuclei neither is cytoplasm.
    assert cytoplasm == [
        whole[0] - (nuclei == 1).sum(), whole[1] - np.isin(nuclei, [2, 3]).sum(), 0,
    ]  # fmt: skip
    assert objects.table["area"].tolist() == [(nuclei == n).sum() for n in (1, 3, 4)]


def test_a_nucleus_belongs_to_the_cell_with_most_of_it_and_lies_within_it():
    cells = np.zeros((40, 40), np.int32)
    cells[:, :20], cells[:, 20:] = 1, 2
    nuclei = np.zeros((40, 40), np.int32)
    nuclei[10:20, 12:22] = 1  # eight tenths on the left
    nuclei[25:35, 15:25] = 2  # half and half
    found = matched(nuclei, cells)
    assert found.children.tolist() == [0, 1, 0]
    assert (found.cells[nuclei == 1] == 1).all()
    assert found.without_nucleus == 1
    assert not found.cytoplasm[nuclei > 0].any()


@pytest.mark.parametrize("make", [lambda n: expanded(n, 5), lambda n: matched(n, n)])
def test_a_frame_without_nuclei_has_all_kinds(make):
    objects = objects_of(make(np.zeros((30, 40), np.int32)), drop_edge=True)
    assert [len(kind) for kind in objects.kinds] == [0, 0, 0]
