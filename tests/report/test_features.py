"""The first look at the features: what copairs is given, and what is not asked of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from idrstream.report import charts
from idrstream.report.content import feature_words
from idrstream.report.features import FeatureOverview, _components, _normalised, _precision


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


def test_wells_are_drawn_where_controls_are_compared_with_others():
    meta, values = screen(negatives=3)
    found, shares, why = _components(meta, values)
    assert why == ""
    axes = found[["PC1", "PC2"]].to_numpy()
    # The two components of the centred profiles, whatever their signs.
    centred = values - values.mean(axis=0)
    _, lengths, right = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(np.abs(axes), np.abs(centred @ right[:2].T))
    assert shares == pytest.approx((lengths[:2] ** 2 / (lengths**2).sum()).tolist())


def test_a_plate_with_one_control_has_no_points_and_few_wells_no_plot():
    meta, values = screen(negatives=3)
    single = (meta["Plate"] == "P2") & (meta["Group"] == "negative control")
    kept = ~(single & (single.cumsum() > 1)).to_numpy()  # one control is left on P2
    more = pd.concat([meta[kept], meta[meta["Plate"] == "P1"].assign(Plate="P3")])
    of_more = np.vstack([values[kept], values[(meta["Plate"] == "P1").to_numpy()]])
    found, _, why = _components(more.reset_index(drop=True), of_more)
    assert why == ""
    assert found["PC1"].isna().tolist() == (found["Plate"] == "P2").tolist()

    few, _, why = _components(meta[kept].reset_index(drop=True), values[kept])
    assert "6 wells" in why
    assert "there are 5" in why
    assert few["PC1"].isna().all()


def test_the_legend_says_what_colour_and_shape_mean():
    meta, values = screen(negatives=3)
    wells, shares, why = _components(meta.assign(Well="A1"), values)
    overview = FeatureOverview(
        wells=wells, why_no_plot=why, explained=shares, precision=None, why_no_precision="",
        families=(), blocks=(), nuclei=100, batches=1, of_batches=1,
    )  # fmt: skip
    plot = feature_words(overview)["plot"]
    assert plot["by"] == "target and control type"
    assert [(name, count) for _, name, count in plot["legend"]] == [
        ("KIF11", 4), ("negative control", 6),
    ]  # fmt: skip
    many = wells.assign(Target=[f"gene {at}" for at in range(len(wells))])
    by_control = feature_words(replace(overview, wells=many))["plot"]
    assert by_control["by"] == "control type"
    assert [name for _, name, _ in by_control["legend"]] == ["negative control", "positive control"]


@pytest.mark.parametrize(
    ("low", "high", "counts", "expected"),
    [
        (0, 10, False, [0, 2, 4, 6, 8, 10]),
        (-1.3, 4.2, False, [-1, 0, 1, 2, 3, 4]),
        (0, 1, True, [0, 1]),
        (0, 0.03, False, [0, 0.01, 0.02, 0.03]),
        (1234, 5678, False, [2000, 3000, 4000, 5000]),
    ],
)
def test_axes_have_round_ticks(low, high, counts, expected):
    axis = charts.Axis(low, high, 0, 100, counts)
    assert axis.ticks() == pytest.approx(expected)
    assert axis.at(high) == 100
