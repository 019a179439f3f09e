"""Names of models, which settings may have in the place of a file."""

from __future__ import annotations

SHIPPED = "idrstream-nuclei"
"""Name of the model that comes with this package."""

SHIPPED_MODELS = (SHIPPED, "idrstream-nuclei-fast")
"""All models of nuclei that come with this package."""

BUILT_IN = (
    "cyto3",
    "nuclei",
    "cyto2",
    "cyto",
    "tissuenet_cp3",
    "livecell_cp3",
    "yeast_PhC_cp3",
    "yeast_BF_cp3",
    "bact_phase_cp3",
    "bact_fluor_cp3",
    "deepbacs_cp3",
    "cyto2_cp3",
    "CP",
    "CPx",
    "TN1",
    "TN2",
    "TN3",
    "LC1",
    "LC2",
    "LC3",
    "LC4",
)
"""Cellpose 3's own models that need nothing but the U-Net; it downloads them at first use."""

BUILT_IN_4 = ("cpsam", "cpsam_v2", "cpdino", "cpdino-vitb")
"""Cellpose 4's own models, which need it in the place of Cellpose 3."""
