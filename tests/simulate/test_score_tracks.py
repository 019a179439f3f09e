"""Tracks are scored as counted by hand."""

import numpy as np
import pytest

from idrstream.simulate import score_tracks

# Track 1 is in frames 1 to 3 and divides; its daughters 2 and 3 are in frames 4 and 5.
FRAME = np.array([1, 2, 3, 4, 4, 5, 5])
TRACK = np.array([1, 1, 1, 2, 3, 2, 3])
PARENT = np.array([0, 0, 0, 1, 1, 1, 1])


def score(track, parent, frame=FRAME, truth=(TRACK, PARENT)):
    return score_tracks(frame, *truth, np.array(track), np.array(parent))


def test_the_truth_has_no_errors():
    found = score(TRACK + 4, np.where(PARENT, PARENT + 4, 0))
    assert (found.n_links, found.n_divisions, found.n_tracks) == (6, 1, 3)
    assert (found.links, found.divisions, found.divisions_within_1, found.complete) == (1, 1, 1, 1)


def test_a_daughter_taken_for_its_mother_costs_a_link_and_the_division():
    found = score([1, 1, 1, 1, 2, 1, 2], [0] * 7)
    assert found.links == pytest.approx(2 * 5 / (6 + 5))
    assert found.divisions == found.divisions_within_1 == 0
    assert found.complete == pytest.approx(2 * 1 / (3 + 2))


def test_a_division_found_a_frame_late_counts_within_one():
    # In frame 4 the daughters are one object, which the truth gives to one of them.
    frame = np.array([1, 2, 3, 4, 5, 5, 6, 6])
    truth = (np.array([1, 1, 1, 2, 2, 3, 2, 3]), np.array([0, 0, 0, 1, 1, 1, 1, 1]))
    found = score([1, 1, 1, 1, 2, 3, 2, 3], [0, 0, 0, 0, 1, 1, 1, 1], frame, truth)
    assert found.divisions == 0
    assert found.divisions_within_1 == 1


def test_gaps_of_two_frames_are_links_and_longer_ones_are_none():
    for first, links in ((4, 1), (5, 0)):
        frame, one = np.array([1, first]), np.array([1, 1])
        found = score([1, 1], [0, 0], frame, (one, one * 0))
        assert (found.n_links, found.n_tracks) == (links, 2 - links)
        assert found.links == links


def test_what_is_no_nucleus_makes_links_false():
    frame, none = np.array([1, 1, 2, 2]), np.array([1, 0, 1, 0])
    found = score([1, 2, 1, 2], [0] * 4, frame, (none, none * 0))
    assert found.links == pytest.approx(2 * 1 / (1 + 2))
    assert found.complete == pytest.approx(2 * 1 / (1 + 2))


def test_nothing_to_find_and_nothing_found():
    empty = np.zeros(0, int)
    assert score(empty, empty, empty, (empty, empty)).links == 1
