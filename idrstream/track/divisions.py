"""Mothers and their daughters: which three objects of a movie may be a division."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from idrstream.track.points import Points

_SISTERS = (0.15, 2.2)  # diameters between sisters
_OFF_CENTRE = 0.4  # diameters between their middle and the mother, at most
_UNLIKE = 0.6  # logarithm of the ratio of their areas, at most
_LARGER = 0.35  # logarithm of their mean area over the mother's, at most
_UNEQUAL = 0.6  # logarithm of the ratio of their brightness, at most
_DIVIDES = 0.55  # cost of a division; of each of the above at its most; of a frame more
_COST_OFF_CENTRE, _COST_UNLIKE, _COST_LARGER, _COST_UNEQUAL = 0.5, 1.3, 1.0, 0.3
_LATE = 0.06
_CONDENSED = 0.45  # less, where both are e times as bright and small as the median nucleus


@dataclass(frozen=True, slots=True)
class Divisions:
    """Mothers, their two daughters, and the cost of each division."""

    mother: NDArray[np.intp]
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    cost: NDArray[np.float64]


def possible_divisions(points: Points) -> Divisions:
    """Return all divisions that there may be.

    Two objects that lie on opposite sides of where another was one frame before, or two, are of
    about one area and brightness and not larger than it; one of them may come a frame late.
    """
    found = []
    for at in range(1, len(points.frames)):
        together = points.near(points.between(at), points.between(at), _SISTERS[1])
        apart = together[0] < together[1]
        together = together[0][apart], together[1][apart]
        found.append(_with_mothers(points, *together, at - 1, 0))
        if at >= 2:
            found.append(_with_mothers(points, *together, at - 2, 1))
        if at + 1 < len(points.frames):
            late = points.near(points.between(at), points.between(at + 1), _SISTERS[1])
            found.append(_with_mothers(points, *late, at - 1, 1))
    none = np.zeros(0, np.intp)
    mother, first, second, cost = (
        np.concatenate([none, *(each[n] for each in found)]) for n in range(4)
    )
    mother, first, second = (a.astype(np.intp) for a in (mother, first, second))
    return Divisions(mother, first, second, cost.astype(np.float64))


def _with_mothers(
    points: Points, one: NDArray[np.intp], other: NDArray[np.intp], at: int, late: int
) -> tuple[NDArray[Any], ...]:
    """Return the mothers in a frame of pairs, both sisters, and what the division costs."""
    from scipy.spatial import cKDTree

    here, area, bright = points.between(at), points.log_area, points.log_brightness
    apart = np.linalg.norm(points.place[one] - points.place[other], axis=1)
    unlike = np.abs(area[one] - area[other]) / _UNLIKE
    unequal = np.abs(bright[one] - bright[other]) / _UNEQUAL
    sisters = (apart >= _SISTERS[0]) & (unlike <= 1) & (unequal <= 1)
    one, other, unlike, unequal = (a[sisters] for a in (one, other, unlike, unequal))
    if not len(one) or here.start == here.stop:
        return (np.zeros(0, np.intp),) * 4
    middle = (points.place[one] + points.place[other]) / 2
    near = cKDTree(middle).sparse_distance_matrix(
        cKDTree(points.place[here]), _OFF_CENTRE, output_type="coo_matrix"
    )
    pair, mother = near.row, here.start + near.col.astype(np.intp)
    one, other, unlike, unequal = (a[pair] for a in (one, other, unlike, unequal))
    larger = np.maximum(0, (area[one] + area[other]) / 2 - area[mother]) / _LARGER
    off = near.data / _OFF_CENTRE
    condensed = (bright[one] + bright[other] - area[one] - area[other]) / 2 + np.median(area)
    cost = (
        _DIVIDES
        + _COST_OFF_CENTRE * off**2
        + _COST_UNLIKE * unlike**2
        + _COST_LARGER * larger**2
        + _COST_UNEQUAL * unequal**2
        + _LATE * late
        - _CONDENSED * np.clip(condensed, -1, 1)
    )
    good = larger <= 1
    return mother[good], one[good], other[good], np.maximum(cost, 0)[good]
