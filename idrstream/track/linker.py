"""The default tracker: laptrack, with costs and divisions of nuclei."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

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
_SURE = 0.4  # links that cost less are made frame by frame, all others, and gaps, at once
_UNKNOWN = float("inf")


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
    Assignment as by Jaqaman et al. 2008, https://doi.org/10.1038/nmeth.1237, by laptrack. Frame by
    frame it makes the links that cost little; what is left is assigned at once, whether a frame
    lies between or not, as a nucleus that was not found leaves its place to a neighbour otherwise.
    Then each possible division is compared with the links in its place; those that cost less are
    given to laptrack as known, and all links are made again.
    """

    max_step: float = 1.5
    max_gap: int = 2
    divisions: bool = True

    def describe(self) -> dict[str, object]:
        """Return what changes a result."""
        return {"name": "nuclei", "version": 3, **asdict(self)}

    def track(self, frames: Sequence[Detections]) -> Tracks:
        """Follow the objects of a movie; see `Tracker.track`."""
        points = Points.of(sorted(frames, key=lambda frame: frame.number))
        pairs = points.pairs(self.max_step, self.max_gap)
        reach = self._reach(pairs)
        cost = _costs(pairs, reach)
        near = (pairs.step <= reach) & (cost < 2 * _ALONE)
        links = _Links(points, pairs.one[near], pairs.other[near], cost[near], self.max_gap)
        mother = np.full(len(points), -1)
        before, into = links.solved(mother)
        if self.divisions:
            mother = _mothers(possible_divisions(points), before, into)
            if mother.max(initial=-1) >= 0:
                before, into = links.solved(mother)
        return _as_tracks(points, before, mother)

    def _reach(self, pairs: Pairs) -> float:
        """Return how far the nuclei of a movie move from one frame to the next at most."""
        next_frame = pairs[pairs.skipped == 0]
        cost = _costs(next_frame, self.max_step)
        step = next_frame.step[_nearest_to_each_other(next_frame, cost) & (cost < 2 * _ALONE)]
        if len(step) < _FEW:
            return self.max_step
        return min(self.max_step, max(self.max_step / 2, _STEPS * float(np.median(step))))


def _costs(pairs: Pairs, reach: float) -> NDArray[np.float64]:
    costs: NDArray[np.float64] = (
        pairs.square / reach**2
        + np.minimum(_AREA * pairs.area, _MOST_AREA)
        + np.minimum(_BRIGHTNESS * pairs.brightness, _MOST_BRIGHTNESS)
        + _FRAME * pairs.skipped
    )
    return costs


def _nearest_to_each_other(pairs: Pairs, cost: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which pairs are the cheapest of both of their objects."""
    cheap = np.argsort(cost, kind="stable")
    times = np.zeros(len(cost), np.intp)
    for objects in (pairs.one, pairs.other):
        times[cheap[np.unique(objects[cheap], return_index=True)[1]]] += 1
    both: NDArray[np.bool_] = times == 2
    return both


class _Links:
    """Links that may be between the objects of a movie, and what each costs."""

    def __init__(
        self,
        points: Points,
        one: NDArray[np.intp],
        other: NDArray[np.intp],
        cost: NDArray[np.float64],
        max_gap: int,
    ) -> None:
        from laptrack import LapTrack

        self._points, count = points, len(points)
        known: dict[int, float] = dict(
            zip((one * count + other).tolist(), cost.tolist(), strict=True)
        )
        self._cost = known

        def of_pair(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
            key: float = one.item() * count + other.item()
            return known.get(int(key), _UNKNOWN)

        # What laptrack takes for coordinates are the objects' numbers: the metric looks them up.
        self._numbers = [
            np.arange(*points.first[at : at + 2], dtype=np.float64)[:, None]
            for at in range(len(points.frames))
        ]
        # laptrack adds to each link of its second step the least of four costs, as the lower right
        # block of its matrix has no zeros: with all four the same, that of a link and of two ends
        # differ as they should, by twice what each end costs.
        options: dict[str, Any] = {
            "metric": of_pair,
            "cutoff": _SURE,
            "gap_closing_metric": of_pair,
            "gap_closing_cutoff": 2 * _ALONE,
            "gap_closing_max_frame_count": max_gap + 1,
            **dict.fromkeys(("track_start_cost", "track_end_cost"), _ALONE),
            **dict.fromkeys(("segment_start_cost", "segment_end_cost"), 2 * _ALONE),
            **dict.fromkeys(("no_splitting_cost", "no_merging_cost"), 2 * _ALONE),
        }
        self._lap = LapTrack(**options)

    def solved(self, mother: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return the object before each, -1 for none, and what the link to it, or none, costs.

        None lead from a mother or to a daughter.
        """
        before, into = np.full(len(self._points), -1), np.full(len(self._points), _ALONE)
        if not self._cost:
            return before, into
        born = np.flatnonzero(mother >= 0)
        known = [(self._node(mother[one]), self._node(one)) for one in born.tolist()]
        for link in self._lap.predict(self._numbers, connected_edges=known or None).edges():
            one, other = (int(self._points.first[frame] + at) for frame, at in link)
            if mother[other] < 0:
                before[other], into[other] = one, self._cost[one * len(self._points) + other]
        return before, into

    def _node(self, number: int) -> tuple[int, int]:
        at = int(self._points.at[number])
        return at, int(number - self._points.first[at])


def _mothers(
    possible: Divisions, before: NDArray[np.intp], into: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Return the mother of each object, -1 for none: divisions that cost less than their links.

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
    mother = np.full(len(before), -1)
    divided, born = np.zeros((2, len(before)), bool)
    for at in np.lexsort((daughters[1], daughters[0], parent, -gain)):
        if gain[at] <= 0:
            break
        of, both = int(parent[at]), [int(one[at]) for one in daughters]
        if not divided[of] and not born[both].any():
            divided[of] = born[both] = True
            mother[both] = of
    return mother


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
