"""Nuclei are followed as the simulator moved them, whatever frames are missing."""

from dataclasses import replace

import numpy as np
import pytest

from idrstream import ScreenSpec
from idrstream.records import OBJECT_FIELDS, Frame, ImageTask
from idrstream.segment import objects_in
from idrstream.simulate import score_tracks, simulate_movie
from idrstream.track import Detections, NucleusTracker, PackedLabels, Tracker

SIZE = {"frames": 25, "height": 320, "width": 420}


TASK = ImageTask("P", "A15", 15, ())


def detections(movie, share=0.0, *, brightness=True):
    """Return the true objects of a movie, less a share of them, with the truth of each."""
    kept = np.random.default_rng(0).random(len(movie.truth.frame)) >= share
    found, truth = [], []
    for number, masks in enumerate(movie.masks):
        here = (movie.truth.frame == number) & kept
        labels = np.where(np.isin(masks, movie.truth.label[here]), masks, 0).astype(np.int32)
        objects = objects_in(labels)
        frame = Frame(movie.frames[number][None], number + 1, TASK)
        one = Detections.of(frame, objects)
        found.append(one if brightness else replace(one, intensity=None))
        truth.append(np.flatnonzero(here)[np.argsort(movie.truth.label[here])])
    return found, np.concatenate(truth)


def score(movie, share=0.0, tracker=None, *, brightness=True):
    frames, at = detections(movie, share, brightness=brightness)
    tracks = (tracker or NucleusTracker()).track(frames)
    truth = movie.truth
    return score_tracks(
        tracks.frame, truth.track[at], truth.parent[at], tracks.track, tracks.parent
    )


@pytest.fixture(scope="module")
def calm():
    return simulate_movie(ScreenSpec(**SIZE, nuclei_per_frame=30, seed=3), well="A15")


@pytest.fixture(scope="module")
def wild():
    spec = ScreenSpec(**SIZE, nuclei_per_frame=30, seed=3, motion=3, uneven_times=0.4)
    return simulate_movie(spec, well="A15")


def test_calm_movies_are_followed_without_an_error(calm):
    found = score(calm)
    assert found.n_divisions > 10
    assert found.links >= 0.999
    assert found.divisions >= 0.95


def test_fast_movies_with_a_tenth_missing_are_mostly_followed(wild):
    found = score(wild, share=0.1)
    assert found.links >= 0.985
    assert found.divisions >= 0.85
    assert score(wild, 0.1, brightness=False).links >= 0.97
    # Closing gaps and telling sisters are what it takes.
    assert score(wild, 0.1, NucleusTracker(max_gap=0)).links < found.links - 0.03
    assert score(wild, 0.1, NucleusTracker(divisions=False)).divisions == 0


def test_the_order_of_frames_and_of_objects_makes_no_difference(wild):
    frames, _ = detections(wild, share=0.1)
    tracks = NucleusTracker().track(frames)
    shuffled = NucleusTracker().track(frames[::-1])
    np.testing.assert_array_equal(tracks.track, shuffled.track)
    mirrored = [
        replace(frame, table=frame.table[::-1], intensity=frame.intensity[::-1]) for frame in frames
    ]
    other = NucleusTracker().track(mirrored)
    same = np.lexsort((other.label, other.frame))
    back = np.lexsort((tracks.label, tracks.frame))
    pairs = set(zip(tracks.track[back].tolist(), other.track[same].tolist(), strict=True))
    assert len(pairs) == len(np.unique(tracks.track)) == len(np.unique(other.track))


def test_a_lineage_is_numbered_from_its_first_mother(calm):
    frames, _ = detections(calm)
    tracks = NucleusTracker().track(frames)
    parents = tracks.parents()
    for track, parent in parents.items():
        mine = tracks.track == track
        if parent:
            before = tracks.track == parent
            assert tracks.frame[before].max() < tracks.frame[mine].min()
            assert tracks.generation[mine][0] == tracks.generation[before][0] + 1
            assert sum(other == parent for other in parents.values()) == 2
        else:
            assert tracks.generation[mine].max() == 0


@pytest.mark.parametrize("count", [0, 1])
def test_movies_with_hardly_anything_in_them(count):
    labels = np.zeros((20, 20), np.int32)
    labels[5:9, 5:9] = count
    objects = objects_in(labels)
    assert isinstance(NucleusTracker(), Tracker)
    for frames in (1, 3):
        found = NucleusTracker().track(
            [Detections(n + 1, objects.table, PackedLabels.of(labels)) for n in range(frames)]
        )
        assert found.track.tolist() == [1] * count * frames
    assert len(NucleusTracker().track([])) == 0


def along(number, places, area=200.0):
    """Return nuclei at places (y, x), in diameters."""
    table = np.zeros(len(places), OBJECT_FIELDS)
    table["label"], table["area"] = np.arange(1, len(places) + 1), area
    table["y"], table["x"] = np.transpose(places) * 2 * np.sqrt(area / np.pi)
    return Detections(number, table)


@pytest.mark.parametrize("others", [0, 20])
def test_links_cost_least_together_whatever_else_moves(others):
    # One cheap link leaves two alone; both dear ones cost more than that.
    far = [(20.0 * n + 20, 0.0) for n in range(others)]
    before = along(1, [(0.0, 0.0), (0.0, 2.38), *far])
    after = along(2, [(0.0, 0.96), (0.0, -1.42), *((y, 1.0) for y, _ in far)])
    found = NucleusTracker(divisions=False).track([before, after])
    tracks = found.track[found.frame == 2]
    assert tracks[:2].tolist() == [1, 3 + others]
    assert tracks[2:].tolist() == list(range(3, 3 + others))


def test_the_links_are_those_of_least_cost():
    from scipy.optimize import linear_sum_assignment

    alone, reach = 0.65, 1.5  # of each end of a link that is not made; nuclei are too few to tell
    rng, compared = np.random.default_rng(0), 0
    for _ in range(300):
        n, m = rng.integers(2, 5, 2)
        first, second = rng.random((n, 2)) * 4, rng.random((m, 2)) * 4
        found = NucleusTracker(divisions=False).track([along(1, first), along(2, second)])
        costs = (np.linalg.norm(first[:, None] - second, axis=2) / reach) ** 2
        if (costs < 0.4).any():  # made before all others
            continue
        compared += 1
        whole = np.full((n + m, n + m), 1e6)
        whole[:n, :m] = np.where(costs <= 1, costs, 1e6)  # no step is farther than the reach
        whole[:n, m:][np.arange(n), np.arange(n)] = alone
        whole[n:, :m][np.arange(m), np.arange(m)] = alone
        whole[n:, m:] = 0
        rows, columns = linear_sum_assignment(whole)
        linked = {(i, j) for i, j in zip(rows, columns, strict=True) if i < n and j < m}
        tracks = found.track[found.frame == 2]
        assert {(int(of) - 1, j) for j, of in enumerate(tracks) if of <= n} == linked
    assert compared > 20


def test_the_brighter_one_stays_the_brighter_one():
    # Two nuclei of one size swap places but for a little: only their brightness tells them.
    places = [[(20.0, 20.0), (20.0, 29.0)], [(20.0, 24.0), (20.0, 25.0)]]
    frames = []
    for number, ((y, x), (v, u)) in enumerate(places, start=1):
        table = np.zeros(2, OBJECT_FIELDS)
        table["label"], table["area"] = [1, 2], 80.0
        table["y"], table["x"] = [y, v], [x, u]
        bright = np.array([100.0, 40.0] if number == 1 else [40.0, 100.0])
        frames.append(Detections(number, table, None, bright))
    assert NucleusTracker().track(frames).track.tolist() == [1, 2, 2, 1]
    without_it = [replace(frame, intensity=None) for frame in frames]
    assert NucleusTracker().track(without_it).track.tolist() == [1, 2, 1, 2]


def test_what_only_looks_like_a_division_is_none():
    # A nucleus of common size and brightness comes up beside one that goes on as it was.
    frames = []
    for number in range(1, 6):
        places = [(20.0, 20.0 + number)] + [(20.0, 38.0)] * (number > 2)
        table = np.zeros(len(places), OBJECT_FIELDS)
        table["label"], table["area"] = np.arange(1, len(places) + 1), 200.0
        table["y"], table["x"] = np.transpose(places)
        frames.append(Detections(number, table, None, np.full(len(places), 50.0)))
    found = NucleusTracker().track(frames)
    assert found.parent.max() == 0
    assert found.track.tolist() == [1, 1, 1, 2, 1, 2, 1, 2]
