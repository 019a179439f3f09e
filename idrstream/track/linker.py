"""The default tracker: the links and divisions of a movie that cost least together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from idrstream.track.assign import pairs_of_least_cost
from idrstream.track.divisions import possible_divisions
from idrstream.track.points import Points
from idrstream.track.protocol import Detections, Tracks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from idrstream.track.divisions import Divisions
    from idrstream.track.points import Pairs

_STEPS = 4.5  # median steps that a nucleus moves at most
_FEW = 20  # steps that tell no median
_AREA = 3.0  # cost of an area e times as large, where a step as far as any costs 1
_BRIGHTNESS = 9.0  # and of a brightness e times as high
_MOST_AREA = 0.35  # at most: in mitosis both leap
_MOST_BRIGHTNESS = 0.15
_FRAME = 0.3  # cost of each frame in a gap
_ALONE = 0.65  # cost of each end of a link that is not made
_ROUNDS = 2  # of divisions, then links again


@dataclass(frozen=True, slots=True)
class NucleusTracker:
    """Links nuclei by distance, overlap, area and brightness; closes gaps and finds divisions.

    Lengths are in diameters of the movie's nuclei, so that they suit any magnification.

    Attributes
    ----------
    max_step : float
        How far a nucleus moves from one frame to the next at most. Where nuclei move little, it
        is less: 4.5 times the movie's own median step, but at least half of it.
    max_gap : int
        Frames in a row in which a nucleus may not be found.
    divisions : bool
        Whether nuclei may divide.

    Notes
    -----
    Assignment as by Jaqaman et al. 2008, https://doi.org/10.1038/nmeth.1237, but the links of all
    frames, also those over gaps, are chosen at once. Then each possible division is compared with
    the links in its place; those that cost less are taken, and all other links are chosen again.
    """

    max_step: float = 1.5
    max_gap: int = 2
    divisions: bool = True

    def describe(self) -> dict[str, object]:
        """Return what changes a result."""
        return {"name": "nuclei", "version": 2, **asdict(self)}

    def track(self, frames: Sequence[Detections]) -> Tracks:
        """Follow the objects of a movie; see `Tracker.track`."""
        points = Points.of(sorted(frames, key=lambda frame: frame.number))
        pairs = points.pairs(self.max_step, self.max_gap)
        reach = self._reach(pairs)
        cost = _costs(pairs, reach)
        near = (pairs.step <= reach) & (cost < 2 * _ALONE)
        links = _Links(len(points), pairs.one[near], pairs.other[near], cost[near])
        mother = np.full(len(points), -1)
        before, into = links.solved(mother)
        if self.divisions:
            possible = possible_divisions(points)
            for _ in range(_ROUNDS):
                _divide(possible, before, into, mother)
                before, into = links.solved(mother)
        return _as_tracks(points, before, mother)

    def _reach(self, pairs: Pairs) -> float:
        """Return how far the nuclei of a movie move from one frame to the next at most."""
        next_frame = pairs.skipped == 0
        one, other, step = (a[next_frame] for a in (pairs.one, pairs.other, pairs.step))
        cost = _costs(pairs, self.max_step)[next_frame]
        taken = pairs_of_least_cost(one, other, cost, _ALONE)
        if len(taken) < _FEW:
            return self.max_step
        return min(self.max_step, max(self.max_step / 2, _STEPS * float(np.median(step[taken]))))


def _costs(pairs: Pairs, reach: float) -> NDArray[np.float64]:
    costs: NDArray[np.float64] = (
        pairs.square / reach**2
        + np.minimum(_AREA * pairs.area, _MOST_AREA)
        + np.minimum(_BRIGHTNESS * pairs.brightness, _MOST_BRIGHTNESS)
        + _FRAME * pairs.skipped
    )
    return costs


@dataclass(frozen=True, slots=True)
class _Links:
    """Links that may be, between so many objects."""

    count: int
    one: NDArray[np.intp]
    other: NDArray[np.intp]
    cost: NDArray[np.float64]

    def solved(self, mother: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return the object before each, -1 for none, and what the link to it, or none, costs.

        The links of a whole movie are chosen at once; none lead from a mother or to a daughter.
        """
        divided = np.zeros(self.count, bool)
        divided[mother[mother >= 0]] = True
        free = (mother[self.other] < 0) & ~divided[self.one]
        one, other, cost = self.one[free], self.other[free], self.cost[free]
        taken = pairs_of_least_cost(one, other, cost, _ALONE)
        before, into = np.full(self.count, -1), np.full(self.count, _ALONE)
        before[other[taken]], into[other[taken]] = one[taken], cost[taken]
        return before, into


def _divide(
    possible: Divisions,
    before: NDArray[np.intp],
    into: NDArray[np.float64],
    mother: NDArray[np.intp],
) -> None:
    """Take divisions that cost less than the links in their place; note mothers in place.

    `before` and `into` are as `_Links.solved` returns them.
    """
    after, out = np.full(len(before), -1), np.full(len(before), _ALONE)
    linked = np.flatnonzero(before >= 0)
    after[before[linked]], out[before[linked]] = linked, into[linked]
    parent, daughters = possible.mother, (possible.first, possible.second)
    gain = -possible.cost
    for one in daughters:  # a link to it ends; what was before it is alone, unless it is the mother
        elsewhere = (before[one] >= 0) & (before[one] != parent)
        gain += into[one] - np.where(elsewhere, _ALONE, 0.0)
    following = after[parent]
    to_daughter = (following == daughters[0]) | (following == daughters[1])  # counted already
    gain += np.where(to_daughter, 0.0, out[parent] - np.where(following >= 0, _ALONE, 0.0))
    divided, born = np.zeros(len(before), bool), mother >= 0
    divided[mother[born]] = True
    for at in np.lexsort((daughters[1], daughters[0], parent, -gain)):
        if gain[at] <= 0:
            break
        of, both = int(parent[at]), [int(one[at]) for one in daughters]
        if not divided[of] and not born[both].any():
            divided[of] = born[both] = True
            mother[both] = of


def _as_tracks(points: Points, before: NDArray[np.intp], mother: NDArray[np.intp]) -> Tracks:
    """Return numbered tracks: a daughter begins one."""
    count = len(points)
    track, parent, generation = (np.zeros(count, np.int32) for _ in range(3))
    last = 0
    for at in range(count):  # by frame: what was before is numbered already
        previous, of = int(before[at]), int(mother[at])
        if of < 0 and previous >= 0:
            track[at], parent[at], generation[at] = (
                track[previous], parent[previous], generation[previous],
            )  # fmt: skip
            continue
        last += 1
        track[at] = last
        if of >= 0:
            parent[at], generation[at] = track[of], generation[of] + 1
    return Tracks(points.number, points.label, track, parent, generation)
