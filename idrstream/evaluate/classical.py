"""CellProfiler's measurements of nuclei: the baseline that learned features have to beat."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.packages import require_extra
from idrstream.profile.classical.measure import measure_objects

FAMILIES = (
    "size_shape", "zernike", "intensity", "granularity", "radial_distribution", "texture",
)  # fmt: skip
"""Families that one nucleus in one channel has."""


def classical_features(crops: NDArray[Any]) -> NDArray[np.float32]:
    """Return the measurements of the nucleus in each crop, those of the engine ``classical``.

    The nucleus is the object nearest to the centre after Otsu's threshold. Where it lies in the
    crop is left out; a measurement that is not defined for it is that of the median nucleus.

    Parameters
    ----------
    crops : NDArray
        Shape ``(n, Y, X)``, unsigned integers.

    Returns
    -------
    NDArray of float32
        Shape ``(n, d)``, finite.

    Raises
    ------
    idrstream.errors.MissingToolError
        When cp_measure is not installed.
    """
    require_extra("cp_measure", "classical", "the baseline")
    rows = np.array([1], np.int32)
    found = [
        measure_objects("Nuclei", _nucleus(crop), rows, crop[np.newaxis], ("DNA",), FAMILIES)
        for crop in crops
    ]
    features = np.concatenate([values for _, values in found])
    place = ("Location", "Center_", "BoundingBoxM", "SpatialMoment")
    where = [not any(part in name for part in place) for name in found[0][0]]
    features = features[:, where]
    known = ~np.isnan(features).all(axis=0)
    features[:, ~known] = 0
    features[:, known] = np.where(
        np.isnan(features[:, known]), np.nanmedian(features[:, known], axis=0), features[:, known]
    )
    return features


def _nucleus(crop: NDArray[Any]) -> NDArray[np.int32]:
    """Return the label image of the nucleus of a crop."""
    from scipy import ndimage

    pixels = crop.astype(np.float64)
    scaled = (pixels - pixels.min()) / (np.ptp(pixels) + 1e-9)
    # Parts of scikit-image are typed and parts are not; here it is taken as untyped.
    threshold = importlib.import_module("skimage.filters").threshold_otsu(scaled)
    labels, count = ndimage.label(ndimage.gaussian_filter(scaled, 1) > threshold)
    if count == 0:
        return np.ones(crop.shape, np.int32)
    away = ndimage.distance_transform_edt(labels == 0, return_indices=True)[1]
    y, x = away[:, crop.shape[0] // 2, crop.shape[1] // 2]
    nucleus: NDArray[np.int32] = (labels == labels[y, x]).astype(np.int32)
    return nucleus
