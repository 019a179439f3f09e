"""What targets change, by object, family and channel."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from idrstream.compile.feature_names import parse_features
from idrstream.report.families import TARGETS, family_effects

NAMES = (
    "Nuclei_efficientnet_0", "Nuclei_AreaShape_Area", "Cells_Intensity_MeanIntensity_ER",
    "Cells_Intensity_StdIntensity_ER", "Cells_Intensity_MeanIntensity_DNA",
    "Cells_Correlation_K_DNA_ER",
)  # fmt: skip


def test_an_effect_is_where_its_features_are():
    values = np.zeros((4, len(NAMES)))
    values[0, [2, 3]] = 3, 5
    values[1, [2, 3]] = 5, 3
    values[2, 5] = -2
    targets = pd.Series(["bright", "bright", "apart", ""])
    bright, apart = family_effects(values, parse_features(NAMES), targets, ("DNA", "ER"))
    assert (bright.target, bright.wells) == ("bright", 2)
    assert bright.columns == ("DNA", "ER", "none")
    at = bright.rows.index("Cells, Intensity"), bright.columns.index("ER")
    assert bright.effects[at] == pytest.approx(4)  # of the mean over wells, not the mean of each
    assert np.nansum(bright.effects) == pytest.approx(4)
    assert bright.top[0] == ("Cells_Intensity_MeanIntensity_ER", 4.0)
    # A correlation counts in both of its channels.
    correlation = apart.effects[apart.rows.index("Cells, Correlation")]
    assert correlation[:2].tolist() == [2, 2]
    assert np.isnan(correlation[2])
    assert apart.top[0] == ("Cells_Correlation_K_DNA_ER", -2.0)


def test_one_family_has_no_map_and_many_targets_are_cut():
    one = parse_features([f"efficientnet_{n}" for n in range(4)])
    assert family_effects(np.ones((3, 4)), one, pd.Series(["a", "b", ""]), ()) == ()
    strength = np.arange(30.0)[:, None] * np.ones((1, len(NAMES)))
    many = family_effects(
        strength, parse_features(NAMES), pd.Series([f"t{n}" for n in range(30)]), ()
    )
    assert [one.target for one in many] == [f"t{n}" for n in range(29, 29 - TARGETS, -1)]
