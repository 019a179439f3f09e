"""The first look at the features: what copairs is given, and what is not asked of it."""

import numpy as np
import pandas as pd
import pytest

from idrstream.report.features import _normalised, _precision


def screen(negatives):
    """Return wells of two plates: two of a target and some negative controls on each."""
    rng = np.random.default_rng(1)
    rows = [
        (plate, group, target)
        for plate in ("P1", "P2")
        for group, target, wells in (
            ("positive control", "KIF11", 2),
            ("negative control", "", negatives),
        )
        for _ in range(wells)
    ]
    meta = pd.DataFrame(rows, columns=["Plate", "Group", "Target"])
    values = rng.normal(size=(len(meta), 20))
    values[(meta["Group"] == "positive control").to_numpy()] += 6
    return meta, _normalised(values, meta)[0]


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_targets_are_ranked_against_negative_controls():
    pytest.importorskip("copairs")
    found, why = _precision(*screen(negatives=3))
    assert why == ""
    assert found["Target"].tolist() == ["KIF11"]
    assert found["mAP"].iloc[0] == 1


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_one_negative_control_on_each_plate_cannot_be_compared_with():
    pytest.importorskip("copairs")
    found, why = _precision(*screen(negatives=1))
    assert found is None
    assert "two negative controls" in why
