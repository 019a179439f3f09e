"""Matching what was found with the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idrstream.errors import ConfigError
from idrstream.simulate import score_locations, score_masks, simulate_movie, tiny_spec


@pytest.fixture(scope="module")
def mask():
    image = np.zeros((40, 60), np.uint16)
    image[5:15, 5:15] = 3
    image[20:30, 20:30] = 7
    image[0:8, 40:50] = 9  # on the border
    return image


def test_the_truth_scores_perfectly():
    movie = simulate_movie(tiny_spec())
    score = score_masks(movie.masks[0], movie.masks[0])
    here = movie.truth.positions[movie.truth.frame == 0]
    assert score.n_true == score.n_found == score.n_matched == len(here)
    assert score.recall == score.precision == score.average_precision == 1
    assert score.median_distance_px == 0
    assert score.overlap.min() == 1
    inside = score_locations(here, movie.masks[0])
    assert inside.recall > 0.9  # the centroid of a bent or lobed mask may lie outside it
    assert inside.distance_px.max() == pytest.approx(0)


def test_labels_and_order_do_not_matter(mask):
    other = np.zeros_like(mask)
    other[mask == 3], other[mask == 7] = 20, 1
    score = score_masks(other, mask)
    assert (score.n_true, score.n_matched) == (3, 2)
    assert score.overlap.tolist() == [1.0, 1.0]


def test_a_shifted_mask_matches_only_below_its_overlap(mask):
    found = np.zeros_like(mask)
    found[7:17, 5:15] = 1  # IoU 80 / 120
    assert score_masks(found, mask, threshold=0.66).n_matched == 1
    assert score_masks(found, mask, threshold=0.67).n_matched == 0
    score = score_masks(found, mask)
    assert score.distance_px == pytest.approx([2.0])
    assert score.overlap == pytest.approx([2 / 3])
    assert (score.recall, score.precision) == (pytest.approx(1 / 3), 1.0)
    assert score.average_precision == pytest.approx(1 / 3)


def test_a_mask_split_in_two_is_one_match_and_one_false(mask):
    found = np.where(mask == 3, 1, 0)
    found[5:8, 5:15] = 2
    score = score_masks(found, mask, ignore_border=True)
    assert (score.n_true, score.n_found, score.n_matched) == (2, 2, 1)


def test_the_border_can_be_left_out(mask):
    found = np.where(mask == 9, 1, 0)
    found[0] = 0  # found a little smaller, so that it does not touch the border
    assert score_masks(found, mask, ignore_border=True).n_found == 0
    assert score_masks(found, mask).n_matched == 1
    score = score_locations(np.array([[4.0, 44.0], [9.4, 9.0]]), mask, ignore_border=True)
    assert (score.n_true, score.n_found, score.n_matched) == (2, 1, 1)


def test_two_locations_in_one_nucleus_are_one_match_and_the_nearer_one(mask):
    score = score_locations(np.array([[6.0, 6.0], [9.5, 10.0]]), mask)
    assert (score.n_true, score.n_found, score.n_matched) == (3, 2, 1)
    assert score.distance_px == pytest.approx([0.5])
    assert score.precision == 0.5


def test_a_location_beside_or_outside_matches_nothing(mask):
    found = np.array([[15.4, 9.0], [14.4, 9.0], [-5.0, 3.0], [39.0, 60.0]])
    score = score_locations(found, mask)
    assert (score.n_found, score.n_matched) == (4, 1)


def test_nothing_found_and_nothing_there(mask):
    empty = np.zeros_like(mask)
    for score in (score_locations(np.zeros((0, 2)), mask), score_masks(empty, mask)):
        assert (score.recall, score.precision, score.average_precision) == (0, 1, 0)
        assert np.isnan(score.median_distance_px)
    nothing = score_masks(empty, empty)
    assert nothing.recall == nothing.precision == nothing.average_precision == 1
    assert score_locations(np.array([[3.0, 3.0]]), empty).precision == 0


def test_scores_add_up(mask):
    one = score_masks(mask, mask)
    both = one + score_masks(np.zeros_like(mask), mask)
    assert (both.n_true, both.n_matched, both.recall) == (6, 3, 0.5)
    assert len(both.overlap) == 3


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_matches_are_one_to_one_and_above_the_threshold(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    found, true = (rng.integers(0, 5, (12, 12)) for _ in range(2))
    threshold = data.draw(st.sampled_from([0.05, 0.2, 0.5]))
    score = score_masks(found, true, threshold=threshold)
    assert score.n_matched == len(score.overlap) <= min(score.n_true, score.n_found)
    assert (score.overlap >= threshold).all()


def test_wrong_shapes_are_told(mask):
    with pytest.raises(ConfigError, match="both must be"):
        score_masks(mask, mask[1:])
    with pytest.raises(ConfigError, match="true_mask"):
        score_locations(np.zeros((1, 2)), np.zeros(5))
    with pytest.raises(ConfigError, match="found_yx"):
        score_locations(np.zeros((1, 3)), mask)
