"""The families of measurements: cp_measure's functions, under CellProfiler's names.

Pixels are float64 from 0 to 1 and labels 1 to n without gaps, as cp_measure wants them. Imports
cp_measure: import this module only where something is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from cp_measure.core import (
    measurecolocalization,
    measuregranularity,
    measureobjectintensity,
    measureobjectintensitydistribution,
    measureobjectsizeshape,
    measuretexture,
)
from cp_measure.multimask.measureobjectneighbors import (
    D_ADJACENT,
    D_WITHIN,
    M_ANGLE_BETWEEN_NEIGHBORS,
    M_FIRST_CLOSEST_DISTANCE,
    M_FIRST_CLOSEST_OBJECT_NUMBER,
    M_NUMBER_OF_NEIGHBORS,
    M_PERCENT_TOUCHING,
    M_SECOND_CLOSEST_DISTANCE,
    M_SECOND_CLOSEST_OBJECT_NUMBER,
    get_measurement_name,
    measureobjectneighbors,
)
from numpy.typing import NDArray

_NEIGHBOURS_PX = 5  # between nuclei; cells are neighbours where they touch
_NEVER_DEFINED = {f"NormalizedMoment_{order}" for order in ("0_0", "0_1", "1_0")}
_CLOSEST = (
    M_FIRST_CLOSEST_OBJECT_NUMBER, M_FIRST_CLOSEST_DISTANCE, M_SECOND_CLOSEST_OBJECT_NUMBER,
    M_SECOND_CLOSEST_DISTANCE, M_ANGLE_BETWEEN_NEIGHBORS,
)  # fmt: skip

Named = Iterator[tuple[str, NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class View:
    """Objects of one kind in one frame.

    Attributes
    ----------
    kind : str
        Kind of the objects.
    labels : NDArray of int32
        Shape ``(Y, X)``: 0 is background, objects are 1 to n without gaps.
    planes : Mapping[str, NDArray]
        Each channel, shape ``(Y, X)``, float64 from 0 to 1, by its name in columns.
    levels : int
        Largest grey level of the channels, for thresholds that are searched level by level.
    """

    kind: str
    labels: NDArray[np.int32]
    planes: Mapping[str, NDArray[np.float64]]
    levels: int


def _size_shape(view: View) -> Named:
    for measure in (
        measureobjectsizeshape.get_sizeshape,
        measureobjectsizeshape.get_feret,
    ):
        for name, values in measure(view.labels, None).items():
            if name not in _NEVER_DEFINED:
                yield f"AreaShape_{name}", values


def _zernike(view: View) -> Named:
    for name, values in measureobjectsizeshape.get_zernike(view.labels, None).items():
        yield f"AreaShape_{name}", values


def _neighbours(view: View) -> Named:
    if view.kind == "Cytoplasm":  # those of its cell
        return
    method = D_ADJACENT if view.kind == "Cells" else D_WITHIN
    count = int(view.labels.max())
    if count < 2:  # cp_measure fails on these
        for feature in (M_NUMBER_OF_NEIGHBORS, M_PERCENT_TOUCHING, *_CLOSEST):
            name = get_measurement_name(feature, method, _NEIGHBOURS_PX)
            yield name, np.full(count, np.nan if feature in _CLOSEST else 0.0)
        return
    found = measureobjectneighbors(view.labels, view.labels, method, _NEIGHBOURS_PX)
    for name, values in found.items():
        no_second = count < 3 and ("Second" in name or "Angle" in name)
        yield name, np.full(count, np.nan) if no_second else values


def _intensity(view: View) -> Named:
    for channel, pixels in view.planes.items():
        # The quartiles as CellProfiler computes them.
        found = measureobjectintensity.get_intensity(view.labels, pixels, legacy=True)
        for name, values in found.items():
            if not name.endswith("_Z"):
                yield f"{name}_{channel}", values


def _granularity(view: View) -> Named:
    for channel, pixels in view.planes.items():
        for name, values in measuregranularity.get_granularity(view.labels, pixels).items():
            yield f"{name}_{channel}", values


def _texture(view: View) -> Named:
    for channel, pixels in view.planes.items():
        for name, values in measuretexture.get_texture(view.labels, pixels).items():
            feature, scale = name.split("_", 1)
            yield f"Texture_{feature}_{channel}_{scale}", values


def _radial_distribution(view: View) -> Named:
    for channel, pixels in view.planes.items():
        for measure in (
            measureobjectintensitydistribution.get_radial_distribution,
            measureobjectintensitydistribution.get_radial_zernikes,
        ):
            for name, values in measure(view.labels, pixels).items():
                family, feature, bins = name.split("_", 2)
                yield f"{family}_{feature}_{channel}_{bins}", values


def _pairs(view: View, *measures: Callable[..., Mapping[str, Any]], **options: Any) -> Named:
    """Yield measurements of each pair of channels; those of one of the two name it first."""
    pairs = list(combinations(view.planes.items(), 2))
    flat = {name: _flat(view.labels, pixels) for name, pixels in view.planes.items() if pairs}
    for (one, first), (other, second) in pairs:
        for measure in measures:
            for name, found in measure(first, second, view.labels, **options).items():
                values = np.asarray(found, np.float64)
                if name in ("Correlation_Pearson", "Correlation_Slope"):  # of rounding errors
                    values = np.where(flat[one] | flat[other], np.nan, values)
                name = name.replace("Correlation_Pearson", "Correlation_Correlation")
                pair = f"{other}_{one}" if name.endswith("_2") else f"{one}_{other}"
                yield f"{name.removesuffix('_1').removesuffix('_2')}_{pair}", values


def _flat(labels: NDArray[np.int32], pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which objects have the same value everywhere."""
    from scipy.ndimage import find_objects

    inside = (
        pixels[box][labels[box] == label] for label, box in enumerate(find_objects(labels), 1)
    )
    return np.array([np.ptp(values) == 0 for values in inside], np.bool_)


def _colocalisation(view: View) -> Named:
    return _pairs(
        view,
        measurecolocalization.get_correlation_pearson,
        measurecolocalization.get_correlation_overlap,
        measurecolocalization.get_correlation_manders_fold,
        measurecolocalization.get_correlation_rwc,
    )


def _costes(view: View) -> Named:
    costes = measurecolocalization.get_correlation_costes
    return _pairs(view, costes, scale_max=view.levels)


FAMILIES: Mapping[str, Callable[[View], Named]] = {
    "size_shape": _size_shape,
    "zernike": _zernike,
    "neighbours": _neighbours,
    "intensity": _intensity,
    "granularity": _granularity,
    "radial_distribution": _radial_distribution,
    "texture": _texture,
    "colocalisation": _colocalisation,
    "costes": _costes,
}
"""Functions that yield the measurements of a family by name."""


def measure(view: View, families: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return the measurements of some families by name, a value for each object."""
    return {
        name: np.asarray(values, np.float64)
        for family in families
        for name, values in FAMILIES[family](view)
    }
