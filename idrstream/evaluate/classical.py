"""Classical features of nuclei: the baseline that learned ones have to beat."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHAPE = (
    "area",
    "perimeter",
    "eccentricity",
    "solidity",
    "extent",
    "axis_major_length",
    "axis_minor_length",
    "euler_number",
    "feret_diameter_max",
)
_LEVELS = 32


def classical_features(crops: NDArray[Any]) -> NDArray[np.float64]:
    """Return shape, intensity, texture and gradient features of the nucleus in each crop.

    The nucleus is the object nearest to the centre after Otsu's threshold. Shape from its region
    and Hu's moments (scikit-image), intensity from its pixels, texture from grey-level
    co-occurrence (Haralick 1973) and local binary patterns (Ojala 2002), gradients from the
    histogram of oriented gradients (Dalal and Triggs 2005) of the middle of the crop.

    Parameters
    ----------
    crops : NDArray
        Shape ``(n, Y, X)``, integers.

    Returns
    -------
    NDArray of float64
        Shape ``(n, d)``, finite, with d of about 150.
    """
    features = np.array([_features(crop.astype(np.float64)) for crop in crops], np.float64)
    return np.nan_to_num(features, copy=False)


def _features(crop: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = (crop - crop.min()) / (np.ptp(crop) + 1e-9)
    mask = _nucleus(scaled)
    return np.concatenate(
        [_shape(mask), _intensity(crop, scaled, mask), _texture(scaled, mask), _gradients(scaled)]
    )


def _nucleus(scaled: NDArray[np.float64]) -> NDArray[np.bool_]:
    from scipy import ndimage

    threshold = _skimage("filters").threshold_otsu(scaled)
    labels, count = ndimage.label(ndimage.gaussian_filter(scaled, 1) > threshold)
    if count == 0:
        return np.ones(scaled.shape, bool)
    away = ndimage.distance_transform_edt(labels == 0, return_indices=True)[1]
    y, x = away[:, scaled.shape[0] // 2, scaled.shape[1] // 2]
    nucleus: NDArray[np.bool_] = labels == labels[y, x]
    return nucleus


def _shape(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    region = _skimage("measure").regionprops(mask.astype(np.uint8))[0]
    form = 4 * np.pi * region.area / (region.perimeter**2 + 1e-9)
    moments = region.moments_hu
    return np.array(
        [
            *(float(region[name]) for name in _SHAPE),
            form,
            *(np.sign(moments) * np.log10(np.abs(moments) + 1e-12)),
        ]
    )


def _intensity(
    crop: NDArray[np.float64], scaled: NDArray[np.float64], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    inside, outside = scaled[mask], scaled[~mask] if (~mask).any() else np.zeros(1)
    centred = (inside - inside.mean()) / (inside.std() + 1e-9)
    return np.array(
        [
            crop[mask].mean(),
            crop[mask].std(),
            crop[mask].mean() - (crop[~mask].mean() if (~mask).any() else 0.0),
            *np.percentile(inside, [0, 10, 25, 50, 75, 90, 100]),
            inside.std(),
            (centred**3).mean(),
            (centred**4).mean(),
            outside.mean(),
            outside.std(),
        ]
    )


def _texture(scaled: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    feature = _skimage("feature")
    levels = np.minimum((scaled * mask * _LEVELS).astype(np.uint8), _LEVELS - 1)
    turns = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    pairs = feature.graycomatrix(
        levels, [1, 2, 4], turns, levels=_LEVELS, symmetric=True, normed=True
    )
    kinds = ("contrast", "homogeneity", "energy", "correlation", "dissimilarity")
    haralick = [feature.graycoprops(pairs, kind).mean(axis=1) for kind in kinds]
    patterns = feature.local_binary_pattern((scaled * 255).astype(np.uint8), 8, 1, "uniform")[mask]
    histogram = np.bincount(patterns.astype(int), minlength=10)[:10] / max(1, len(patterns))
    return np.concatenate([*haralick, histogram])


def _gradients(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = scaled.shape
    middle = scaled[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
    gradients: NDArray[np.float64] = _skimage("feature").hog(
        _skimage("transform").resize(middle, (32, 32)),
        orientations=6,
        pixels_per_cell=(8, 8),
        cells_per_block=(1, 1),
    )
    return gradients


def _skimage(part: str) -> Any:
    # Parts of scikit-image are typed and parts are not; here it is taken as untyped.
    return importlib.import_module(f"skimage.{part}")
