"""What the names of features say."""

from __future__ import annotations

import numpy as np
import pytest

from idrstream.compile.feature_names import block_weights, parse_features

CHANNELS = ("DNA", "ER", "ER_2", "1")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Cells_AreaShape_Zernike_4_2", ("Cells", "AreaShape", "", "classical")),
        ("Cytoplasm_Intensity_MeanIntensity_ER", ("Cytoplasm", "Intensity", "ER", "classical")),
        ("Nuclei_Intensity_MADIntensity_ER_2", ("Nuclei", "Intensity", "ER_2", "classical")),
        ("Nuclei_Texture_SumVariance_DNA_3_01_256", ("Nuclei", "Texture", "DNA", "classical")),
        ("Cells_Granularity_1_DNA", ("Cells", "Granularity", "DNA", "classical")),
        ("Cells_Granularity_2_1", ("Cells", "Granularity", "1", "classical")),
        (
            "Cells_RadialDistribution_FracAtD_ER_2of4",
            ("Cells", "RadialDistribution", "ER", "classical"),
        ),
        (
            "Cells_RadialDistribution_ZernikeMagnitude_ER_2_4_0",
            ("Cells", "RadialDistribution", "ER_2", "classical"),
        ),
        ("Cells_Correlation_K_ER_2_DNA", ("Cells", "Correlation", "ER_2|DNA", "classical")),
        ("Cells_Correlation_Manders_DNA_ER", ("Cells", "Correlation", "DNA|ER", "classical")),
        ("Cells_Neighbors_NumberOfNeighbors_Adjacent", ("Cells", "Neighbors", "", "classical")),
        ("Nuclei_Location_MaxIntensity_X_DNA", ("Nuclei", "Location", "DNA", "classical")),
        ("efficientnet_12", ("Nuclei", "efficientnet", "", "efficientnet")),
        ("Cells_efficientnet_12", ("Cells", "efficientnet", "", "efficientnet")),
        ("GreyLevel_ER", ("Nuclei", "GreyLevel", "ER", "GreyLevel")),
        ("Sharpness", ("Nuclei", "Sharpness", "", "Sharpness")),
    ],
)  # fmt: skip
def test_object_family_and_channel(name, said):
    one = parse_features([name], CHANNELS)[0]
    assert (one.object, one.family, one.channel, one.block) == said
    assert one.name == name


def test_channels_are_learned_from_intensities():
    names = ["Cells_Intensity_MeanIntensity_My_Dye", "Cells_Texture_Contrast_My_Dye_3_00_256"]
    assert [one.channel for one in parse_features(names)] == ["My_Dye", "My_Dye"]
    assert parse_features(names[1:])[0].channel == ""


def test_blocks_count_alike_in_distances():
    names = [f"efficientnet_{n}" for n in range(900)]
    names += [f"Cells_AreaShape_Zernike_{n}_0" for n in range(100)]
    weights = np.array(block_weights(parse_features(names)))
    assert (weights[:900] ** 2).sum() == pytest.approx((weights[900:] ** 2).sum())
    assert (weights**2).sum() == pytest.approx(1000)  # as without weights
    np.testing.assert_allclose(block_weights(parse_features(names[:900])), 1)
