"""The default tracker: links of least cost between frames, over gaps, and to daughters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.track.assign import pairs_of_least_cost
from idrstream.track.protocol import Detections, Tracks

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 4.0  # median steps that a nucleus moves at most
_FEW = 20  # steps that tell no median
_OVERLAP = 0.5  # share of a distance's cost that a full overlap takes away
_AREA = 0.6  # cost of an area e times as large, where a step as far as any costs 1
_FRAME = 0.05  # cost of another frame in a gap
_ALONE = 0.45  # cost of each end of a link that is not made
_SISTERS = (0.15, 2.2)  # diameters between sisters
_OFF_CENTRE = 0.4  # diameters between their middle and the mother
_UNLIKE = 0.6  # logarithm of the ratio of their areas
_SURE = 0.06  # cost of a division that comes before gaps
_LARGER = 0.35  # logarithm of their mean area over the mother's


@dataclass(frozen=True, slots=True)
class NucleusTracker:
    """Links nuclei by distance, area and overlap; closes gaps and finds divisions.

    Lengths are in diameters of the movie's nuclei, so that they suit any magnification.

    Attributes
    ----------
    max_step : float
        How far a nucleus moves from one frame to the next at most. Where nuclei move little, it
        is less: four times the movie's own median step.
    max_gap : int
        Frames in a row in which a nucleus may not be found.
    divisions : bool
        Whether nuclei may divide.

    Notes
    -----
    Assignment in two steps as by Jaqaman et al. 2008, https://doi.org/10.1038/nmeth.1237: first
    between frames, then between the ends and beginnings of tracks. A track that begins beside
    another is a daughter if both lie on opposite sides of where the other was before, are of
    about one size, and not larger than the mother.
    """

    max_step: float = 1.5
    max_gap: int = 2
    divisions: bool = True

    def describe(self) -> dict[str, object]:
        """Return what changes a result."""
        return {"name": "nuclei", **asdict(self)}

    def track(self, frames: Sequence[Detections]) -> Tracks:
        """Follow the objects of a movie; see `Tracker.track`."""
        points = _Points.of(sorted(frames, key=lambda frame: frame.number))
        links = points.candidates(self.max_step)
        before = _linked(points, links, self.max_step)
        reach = self._reach(points, before)
        before = _linked(points, links, reach)
        mother = np.full(len(points), -1)
        if self.divisions:  # those that are hardly anything else, before a gap takes a daughter
            _find_divisions(points, before, mother, _SURE)
        if self.max_gap:
            _close_gaps(points, before, reach, self.max_gap)
        if self.divisions:
            _find_divisions(points, before, mother, 1.0)
        return _as_tracks(points, before, mother)

    def _reach(self, points: _Points, before: NDArray[np.intp]) -> float:
        """Return how far the nuclei of a movie move from one frame to the next at most."""
        linked = np.flatnonzero(before >= 0)
        if len(linked) < _FEW:
            return self.max_step
        steps = points.distance(before[linked], linked)
        return min(self.max_step, max(self.max_step / 2, _STEPS * float(np.median(steps))))


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Pairs of objects in frames that follow each other.

    Their step, its square, less where they overlap, and how unlike their areas are.
    """

    one: NDArray[np.intp]
    other: NDArray[np.intp]
    step: NDArray[np.float64]
    square: NDArray[np.float64]
    unlike: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Points:
    """All objects of a movie; distances in diameters."""

    frames: Sequence[Detections]
    number: NDArray[np.int32]
    label: NDArray[np.int32]
    place: NDArray[np.float64]
    log_area: NDArray[np.float64]
    at_border: NDArray[np.bool_]
    first: NDArray[np.intp]  # of each frame, and the number of all

    @classmethod
    def of(cls, frames: Sequence[Detections]) -> _Points:
        tables = [frame.table for frame in frames]
        counts = [len(table) for table in tables]

        def column(name: str, kind: Any) -> NDArray[Any]:
            return np.concatenate([np.zeros(0, kind), *(table[name] for table in tables)])

        area = np.maximum(column("area", np.float64), 1.0)
        diameter = 2 * np.sqrt(float(np.median(area)) / np.pi) if len(area) else 1.0
        return cls(
            frames=frames,
            number=np.repeat([frame.number for frame in frames], counts).astype(np.int32),
            label=column("label", np.int32),
            place=np.stack([column("y", np.float64), column("x", np.float64)], 1) / diameter,
            log_area=np.log(area),
            at_border=column("touches_border", np.bool_),
            first=np.concatenate([[0], np.cumsum(counts)]).astype(np.intp),
        )

    def __len__(self) -> int:
        return len(self.number)

    def distance(self, one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the distance of pairs, for one frame's time."""
        apart: NDArray[np.float64] = np.linalg.norm(self.place[one] - self.place[other], axis=1)
        elapsed = np.abs(self.number[other] - self.number[one])
        step: NDArray[np.float64] = apart / np.sqrt(np.maximum(elapsed, 1))
        return step

    def unlike(self, one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return how unlike the areas of pairs are, 0 to 1."""
        ratio = self.log_area[other] - self.log_area[one]
        ratio[self.at_border[one] | self.at_border[other]] = 0  # only a part of it is seen
        unlike: NDArray[np.float64] = np.minimum(ratio**2, 1.0)
        return unlike

    def candidates(self, reach: float) -> _Candidates:
        """Return the pairs in consecutive frames that a link may join."""
        found = [self._between(at, reach) for at in range(len(self.frames) - 1)]
        kinds = (np.intp, np.intp, np.float64, np.float64, np.float64)
        return _Candidates(
            *(
                np.concatenate([np.zeros(0, kind), *(each[n] for each in found)])
                for n, kind in enumerate(kinds)
            )
        )

    def _between(self, at: int, reach: float) -> tuple[NDArray[Any], ...]:
        from scipy.spatial import cKDTree

        a, b, c = self.first[at : at + 3]
        now, following = self.frames[at], self.frames[at + 1]
        far = reach * np.sqrt(following.number - now.number)
        if a == b or b == c:
            return (np.zeros(0, np.intp),) * 5
        tree = cKDTree(self.place[a:b])
        pairs = tree.sparse_distance_matrix(cKDTree(self.place[b:c]), far, output_type="coo_matrix")
        order = np.lexsort((pairs.col, pairs.row))
        one, other = a + pairs.row[order].astype(np.intp), b + pairs.col[order].astype(np.intp)
        step = self.distance(one, other)
        overlap = _overlaps(now, following, one - a, other - b)
        return one, other, step, step**2 * (1 - _OVERLAP * overlap), self.unlike(one, other)


def _overlaps(
    now: Detections, following: Detections, one: NDArray[np.intp], other: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the overlap of pairs as a share of the smaller; 0 where there are no labels."""
    none = np.zeros(len(one))
    if now.labels is None or following.labels is None or not len(one):
        return none
    if now.labels.shape != following.labels.shape:
        return none
    before, after = now.labels.array().ravel(), following.labels.array().ravel()
    both = np.flatnonzero(before)
    both = both[after[both] > 0]
    base = int(after[both].max(initial=0)) + 1
    keys, counts = np.unique(before[both].astype(np.int64) * base + after[both], return_counts=True)
    wanted = now.table["label"][one].astype(np.int64) * base + following.table["label"][other]
    if not len(keys):
        return none
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    shared = np.where(keys[at] == wanted, counts[at], 0)
    smaller = np.minimum(now.table["area"][one], following.table["area"][other])
    shares: NDArray[np.float64] = np.minimum(shared / np.maximum(smaller, 1), 1.0)
    return shares


def _linked(points: _Points, links: _Candidates, reach: float) -> NDArray[np.intp]:
    """Return for each object the one before it in its track, -1 for none."""
    before = np.full(len(points), -1)
    near = links.step <= reach
    one, other = links.one[near], links.other[near]
    cost = links.square[near] / reach**2 + _AREA * links.unlike[near]
    bounds = np.searchsorted(one, points.first)
    for start, stop in pairwise(bounds):
        here = slice(start, stop)
        taken = pairs_of_least_cost(one[here], other[here], cost[here], _ALONE)
        before[other[here][taken]] = one[here][taken]
    return before


def _close_gaps(points: _Points, before: NDArray[np.intp], reach: float, max_gap: int) -> None:
    """Link ends of tracks with beginnings some frames later, in place."""
    from scipy.spatial import cKDTree

    has_next = np.zeros(len(points), bool)
    has_next[before[before >= 0]] = True
    ends, starts = np.flatnonzero(~has_next), np.flatnonzero(before < 0)
    if not len(ends) or not len(starts):
        return
    at = np.searchsorted(points.first, np.arange(len(points)), side="right")  # frame of each
    far = reach * np.sqrt(max_gap + 1)
    # Frames far apart in the first coordinate: objects more than a gap apart are no neighbours.
    deep = far / (max_gap + 1.5)
    spread = np.column_stack([at * deep, points.place])
    near = cKDTree(spread[ends]).sparse_distance_matrix(
        cKDTree(spread[starts]), far * np.sqrt(2), output_type="coo_matrix"
    )
    one, other = ends[near.row], starts[near.col]
    elapsed = at[other] - at[one]
    step = points.distance(one, other)
    chosen = (elapsed > 1) & (elapsed <= max_gap + 1) & (step <= reach)
    one, other, step, elapsed = one[chosen], other[chosen], step[chosen], elapsed[chosen]
    order = np.lexsort((other, one))
    one, other, step, elapsed = one[order], other[order], step[order], elapsed[order]
    cost = (step / reach) ** 2 + _AREA * points.unlike(one, other) + _FRAME * (elapsed - 2)
    taken = pairs_of_least_cost(one, other, cost, _ALONE)
    before[other[taken]] = one[taken]


def _find_divisions(
    points: _Points, before: NDArray[np.intp], mother: NDArray[np.intp], most: float
) -> None:
    """Find mothers of tracks that begin beside another, at a cost up to `most`, in place."""
    starts = np.flatnonzero((before < 0) & (points.number > points.number[:1].sum()))
    found = _possible_divisions(points, before, starts)
    daughter, sister, parent, cost = (of[found[-1] <= most] for of in found)
    # A mother divides once, a daughter is born once.
    taken = pairs_of_least_cost(daughter, parent, cost, 0.5)
    for d, s, p in zip(daughter[taken], sister[taken], parent[taken], strict=True):
        if mother[s] < 0 and mother[d] < 0:
            mother[d] = mother[s] = p
            before[d] = before[s] = p


def _possible_divisions(
    points: _Points, before: NDArray[np.intp], starts: NDArray[np.intp]
) -> tuple[NDArray[Any], ...]:
    """Return daughters that begin, their sisters, their mothers, and costs from 0 to 1."""
    from scipy.spatial import cKDTree

    frames = np.searchsorted(points.first, starts, side="right") - 1
    found: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for at in np.unique(frames):
        here, low, high = starts[frames == at], points.first[at], points.first[at + 1]
        near = cKDTree(points.place[here]).sparse_distance_matrix(
            cKDTree(points.place[low:high]), _SISTERS[1], output_type="coo_matrix"
        )
        found.append((here[near.row], low + near.col))
    none = np.zeros(0, np.intp)
    daughter = np.concatenate([none, *(one for one, _ in found)])
    sister = np.concatenate([none, *(other for _, other in found)])
    # The mother is what the sister was before, or before that: a daughter may be found late.
    late = before[sister]
    earlier = np.where(late >= 0, before[late], -1)
    # Sisters that are both too far from her begin together, where her track ends.
    lost = [_ends_between(points, before, daughter, sister, back) for back in (1, 2)]
    born = np.concatenate([sister, late, sister, sister])  # the sister's first object
    daughter, sister = (np.tile(a, 4) for a in (daughter, sister))
    parent = np.concatenate([late, earlier, *lost])
    keep = (parent >= 0) & (daughter != sister)
    daughter, sister, born, parent = (a[keep] for a in (daughter, sister, born, parent))
    middle = (points.place[daughter] + points.place[sister]) / 2
    off = np.linalg.norm(middle - points.place[parent], axis=1) / _OFF_CENTRE
    apart = np.linalg.norm(points.place[daughter] - points.place[sister], axis=1)
    area = points.log_area
    unlike = np.abs(area[daughter] - area[sister]) / _UNLIKE
    larger = np.maximum(0, (area[daughter] + area[sister]) / 2 - area[parent]) / _LARGER
    cost = (off**2 + unlike**2 + larger**2) / 3 + 0.1 * (born != sister)
    good = (np.maximum(np.maximum(off, unlike), larger) <= 1) & (apart >= _SISTERS[0])
    order = np.lexsort((parent[good], daughter[good]))
    daughter, born, parent, cost = (a[good][order] for a in (daughter, born, parent, cost))
    # By different sisters the same pair may come twice: the better one counts.
    best = np.lexsort((cost, parent, daughter))
    pairs = np.column_stack([daughter, parent])[best]
    unique = np.ones(len(best), bool)
    unique[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    best = best[unique]
    return daughter[best], born[best], parent[best], cost[best]


def _ends_between(
    points: _Points,
    before: NDArray[np.intp],
    daughter: NDArray[np.intp],
    sister: NDArray[np.intp],
    back: int,
) -> NDArray[np.intp]:
    """Return the end of a track between pairs that begin together, so many frames before."""
    from scipy.spatial import cKDTree

    found = np.full(len(daughter), -1)
    has_next = np.zeros(len(points), bool)
    has_next[before[before >= 0]] = True
    ends, both = (
        np.flatnonzero(~has_next),
        np.flatnonzero((before[sister] < 0) & (daughter < sister)),
    )
    if not len(ends) or not len(both):
        return found
    at = np.searchsorted(points.first, np.arange(len(points)), side="right")  # frame of each
    apart = 1e3  # frames lie in layers
    tree = cKDTree(np.column_stack([at[ends] * apart, points.place[ends]]))
    middle = (points.place[daughter[both]] + points.place[sister[both]]) / 2
    layer = (at[daughter[both]] - back) * apart
    far, nearest = tree.query(np.column_stack([layer, middle]), distance_upper_bound=_OFF_CENTRE)
    there = np.isfinite(far)
    found[both[there]] = ends[nearest[there]]
    return found


def _as_tracks(points: _Points, before: NDArray[np.intp], mother: NDArray[np.intp]) -> Tracks:
    """Return numbered tracks: a daughter begins one, also where a link led to it."""
    count = len(points)
    track, parent, generation = (np.zeros(count, np.int32) for _ in range(3))
    divided = set(mother[mother >= 0].tolist())
    last = 0
    for at in range(count):  # by frame: what was before is numbered already
        previous, of = int(before[at]), int(mother[at])
        if of < 0 and previous >= 0 and previous not in divided:
            track[at], parent[at], generation[at] = (
                track[previous], parent[previous], generation[previous],
            )  # fmt: skip
            continue
        last += 1
        track[at] = last
        if of >= 0:
            parent[at], generation[at] = track[of], generation[of] + 1
    return Tracks(points.number, points.label, track, parent, generation)
