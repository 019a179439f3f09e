"""How well nuclei were followed, against known truth: links, divisions, complete tracks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Nodes = Mapping[int, list[int]]
    """Positions of the objects of each track, by frame."""

GAP = 2
"""Frames in a row over which the truth links what was not found in them."""


@dataclass(frozen=True, slots=True)
class TrackScore:
    """Tracks found against the true ones.

    Attributes
    ----------
    links : float
        F1 of the links along tracks and from mothers to daughters.
    divisions, divisions_within_1 : float
        F1 of divisions, mother and both daughters: to the frame, and within one.
    complete : float
        F1 of tracks that have all objects of a true one and no other.
    n_links, n_divisions, n_tracks : int
        True ones.
    """

    links: float
    divisions: float
    divisions_within_1: float
    complete: float
    n_links: int
    n_divisions: int
    n_tracks: int


def score_tracks(
    frame: NDArray[Any],
    true_track: NDArray[Any],
    true_parent: NDArray[Any],
    track: NDArray[Any],
    parent: NDArray[Any],
) -> TrackScore:
    """Compare the tracks of objects with the true ones.

    Only objects that were found count: the truth links what is left of a track over gaps of at most
    two frames; after longer ones, as outside the field, it is another track. Objects that are no
    nuclei make every link to them a false one.

    Parameters
    ----------
    frame : NDArray
        Shape ``(n,)``, integers: the frame of each object.
    true_track, true_parent : NDArray
        Shape ``(n,)``, integers: its true track, 0 for no nucleus, and that which it was born from,
        0 for none.
    track, parent : NDArray
        Shape ``(n,)``, integers: the same as they were found, as `idrstream.track.Tracks` has them.

    Returns
    -------
    TrackScore
        An F1 is 1 where there is nothing to find and nothing was found.
    """
    true_track, true_parent = cut_at_gaps(frame, true_track, true_parent)
    true_nodes, nodes = _nodes(frame, true_track, skip=0), _nodes(frame, track)
    true_parents, parents = _parents(true_track, true_parent), _parents(track, parent)
    true_links, links = _links(true_nodes, true_parents), _links(nodes, parents)
    true_births, births = _births(true_nodes, true_parents), _births(nodes, parents)
    true_sets = {tuple(of) for of in true_nodes.values()}
    sets = {tuple(of) for of in nodes.values()}
    exact = len(true_births.items() & births.items())
    near = _near(frame, true_track, true_births, births)
    return TrackScore(
        links=_f1(len(true_links & links), len(true_links), len(links)),
        divisions=_f1(exact, len(true_births), len(births)),
        divisions_within_1=_f1(near, len(true_births), len(births)),
        complete=_f1(len(true_sets & sets), len(true_sets), len(sets)),
        n_links=len(true_links),
        n_divisions=len(true_births),
        n_tracks=len(true_sets),
    )


def cut_at_gaps(
    frame: NDArray[Any], track: NDArray[Any], parent: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return tracks and parents where what comes after a long gap is a track of its own."""
    cut, born = track.copy(), parent.copy()
    last, ends = int(track.max(initial=0)), {}
    for one, nodes in _nodes(frame, track, skip=0).items():
        now = one
        for before, at in pairwise(nodes):
            if frame[at] - frame[before] > GAP + 1:
                last += 1
                now = last
            cut[at] = now
            if now != one:
                born[at] = 0
        ends[one] = (now, frame[nodes[-1]])
    for at in np.flatnonzero(born).tolist():  # a mother ends with the last of her parts
        end, when = ends.get(int(born[at]), (0, 0))
        first = frame[track == track[at]].min()
        born[at] = end if first - when <= GAP + 1 else 0
    return cut, born


def links_of(
    frame: NDArray[Any], track: NDArray[Any], parent: NDArray[Any], skip: int | None = None
) -> set[tuple[int, int]]:
    """Return pairs of positions: the links along tracks and from mothers to daughters."""
    return _links(_nodes(frame, track, skip), _parents(track, parent))


def _parents(track: NDArray[Any], parent: NDArray[Any]) -> dict[int, int]:
    return dict(zip(track.tolist(), parent.tolist(), strict=True))


def _nodes(frame: NDArray[Any], track: NDArray[Any], skip: int | None = None) -> Nodes:
    nodes: dict[int, list[int]] = {}
    for at in np.lexsort((frame, track)).tolist():
        if track[at] != skip:
            nodes.setdefault(int(track[at]), []).append(at)
    return nodes


def _links(nodes: Nodes, parents: Mapping[int, int]) -> set[tuple[int, int]]:
    links = {pair for of in nodes.values() for pair in pairwise(of)}
    return links | {
        (nodes[parents[one]][-1], of[0]) for one, of in nodes.items() if parents.get(one) in nodes
    }


def _births(nodes: Nodes, parents: Mapping[int, int]) -> dict[int, frozenset[int]]:
    """Return the daughters' first objects by the last object of their mother."""
    daughters: dict[int, set[int]] = {}
    for one, of in nodes.items():
        if parents.get(one) in nodes:
            daughters.setdefault(nodes[parents[one]][-1], set()).add(of[0])
    return {mother: frozenset(of) for mother, of in daughters.items() if len(of) == 2}


def _near(
    frame: NDArray[Any],
    true_track: NDArray[Any],
    true_births: Mapping[int, frozenset[int]],
    births: Mapping[int, frozenset[int]],
) -> int:
    """Return how many found divisions have the true daughters, at most a frame off."""

    def sisters(of: frozenset[int]) -> frozenset[int]:
        return frozenset(int(true_track[one]) for one in of)

    born = {sisters(of): int(frame[mother]) for mother, of in true_births.items()}
    hits = 0
    for mother, of in births.items():
        when = born.pop(sisters(of), None)
        hits += when is not None and abs(when - int(frame[mother])) <= 1
    return hits


def _f1(hits: int, n_true: int, n_found: int) -> float:
    return 2 * hits / (n_true + n_found) if n_true + n_found else 1.0
