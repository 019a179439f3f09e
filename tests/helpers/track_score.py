"""How well objects were followed, against known truth: links, divisions, complete tracks.

Only objects that were found count: the truth links what is left of a track over gaps of at most
two frames; after longer ones, as outside the field, it is another track. Objects found that are
none make every link to them a false one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class TrackScore:
    """F1 of links, of divisions (to the frame, and within one), and of complete tracks."""

    links: float
    divisions: float
    divisions_within_1: float
    complete: float
    n_links: int
    n_divisions: int
    n_tracks: int


GAP = 2


def score_tracks(frame, truth_track, truth_parent, track, parent):
    """Score tracks of objects; arrays of shape ``(n,)``, a true track of 0 for no nucleus."""
    frame = np.asarray(frame)
    truth_track, truth_parent = cut_at_gaps(
        frame, np.asarray(truth_track), np.asarray(truth_parent)
    )
    true_nodes = _nodes(frame, truth_track, skip=0)
    parents = dict(zip(truth_track.tolist(), truth_parent.tolist(), strict=True))
    found_nodes = _nodes(frame, track)
    found_parents = dict(zip(track.tolist(), parent.tolist(), strict=True))
    true_links, found_links = _links(true_nodes, parents), _links(found_nodes, found_parents)
    true_births, found_births = _births(true_nodes, parents), _births(found_nodes, found_parents)
    exact = len(true_births.items() & found_births.items())
    near = _near(frame, truth_track, true_births, found_births)
    true_sets = {tuple(nodes) for nodes in true_nodes.values()}
    found_sets = {tuple(nodes) for nodes in found_nodes.values()}
    return TrackScore(
        links=_f1(len(true_links & found_links), len(true_links), len(found_links)),
        divisions=_f1(exact, len(true_births), len(found_births)),
        divisions_within_1=_f1(near, len(true_births), len(found_births)),
        complete=_f1(len(true_sets & found_sets), len(true_sets), len(found_sets)),
        n_links=len(true_links), n_divisions=len(true_births), n_tracks=len(true_sets),
    )  # fmt: skip


def without(truth, share, seed=0):
    """Return which entries of a truth are left when a share of all objects is not found."""
    return np.random.default_rng(seed).random(len(truth.frame)) >= share


def cut_at_gaps(frame, track, parent):
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
    for at in np.flatnonzero(born):  # a mother ends with the last of her parts
        end, when = ends.get(int(born[at]), (0, 0))
        first = frame[track == track[at]].min()
        born[at] = end if first - when <= GAP + 1 else 0
    return cut, born


def _nodes(frame, track, skip=None):
    order = np.lexsort((frame, track))
    nodes = {}
    for at in order.tolist():
        if track[at] != skip:
            nodes.setdefault(int(track[at]), []).append(at)
    return nodes


def _links(nodes, parents):
    links = {pair for of in nodes.values() for pair in pairwise(of)}
    for one, of in nodes.items():
        if parents.get(one) in nodes:
            links.add((nodes[parents[one]][-1], of[0]))
    return links


def links_of(frame, track, parent, skip=None):
    """Return the links along tracks and from mothers to daughters: pairs of positions."""
    nodes = _nodes(frame, track, skip)
    parents = dict(zip(track.tolist(), parent.tolist(), strict=True))
    return {(int(one), int(other)) for one, other in _links(nodes, parents)}


def _births(nodes, parents):
    """Return the daughters' first objects by the last object of their mother."""
    daughters = {}
    for one, of in nodes.items():
        if parents.get(one) in nodes:
            daughters.setdefault(nodes[parents[one]][-1], set()).add(of[0])
    return {mother: frozenset(of) for mother, of in daughters.items() if len(of) == 2}


def _near(frame, truth_track, true_births, found_births):
    """Return how many found divisions have the true daughters, at most a frame off."""
    born = {
        frozenset(int(truth_track[one]) for one in daughters): frame[mother]
        for mother, daughters in true_births.items()
    }
    hits = 0
    for mother, daughters in found_births.items():
        when = born.pop(frozenset(int(truth_track[one]) for one in daughters), None)
        hits += when is not None and abs(int(when) - int(frame[mother])) <= 1
    return hits


def _f1(hits, n_true, n_found):
    return 2 * hits / (n_true + n_found) if n_true + n_found else 1.0
