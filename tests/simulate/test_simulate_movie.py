"""One simulated movie: what must be true of any of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from idrstream.errors import ConfigError
from idrstream.simulate import ScreenSpec, plate_flatfield, simulate_movie, tiny_spec
from idrstream.simulate.shapes import PHASES, new_look, render
from idrstream.simulate.spec import WELLS, gene_target


def test_same_seed_same_bytes_other_seed_other_bytes():
    one, two = simulate_movie(tiny_spec()), simulate_movie(tiny_spec())
    other = simulate_movie(tiny_spec(seed=1))
    np.testing.assert_array_equal(one.frames, two.frames)
    np.testing.assert_array_equal(one.masks, two.masks)
    assert (one.frames != other.frames).any()


def test_a_well_does_not_depend_on_the_size_of_the_screen():
    few = simulate_movie(tiny_spec(plates=1, wells_per_plate=1), well="A15")
    many = simulate_movie(tiny_spec(plates=9, wells_per_plate=40), well="A15")
    np.testing.assert_array_equal(few.frames, many.frames)


def test_earlier_frames_do_not_depend_on_the_movies_length():
    short, long = simulate_movie(tiny_spec(frames=2)), simulate_movie(tiny_spec(frames=4))
    np.testing.assert_array_equal(short.frames, long.frames[:2])


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    well=st.sampled_from(["A15", "A4", "P21", "M13"]),
    nuclei=st.integers(0, 36),
    diameter=st.floats(8, 26),
)
def test_masks_and_truth_tell_the_same(seed, well, nuclei, diameter):
    spec = tiny_spec(seed=seed, nuclei_per_frame=nuclei, diameter_px=diameter)
    movie = simulate_movie(spec, well=well)
    truth = movie.truth
    assert len({len(getattr(truth, f.name)) for f in dataclasses.fields(truth)}) == 1
    for number, mask in enumerate(movie.masks):
        here = truth.frame == number
        labels = truth.label[here]
        assert list(labels) == list(range(1, mask.max() + 1))
        for label, (y, x) in zip(labels, truth.positions[here], strict=True):
            pixels = np.argwhere(mask == label)
            np.testing.assert_allclose(pixels.mean(0), (y, x))
            assert ndimage.label(mask == label)[1] == 1, "a nucleus lies in one piece"
        assert len(set(truth.track[here])) == here.sum(), "a track is once in a frame"


def test_divisions_leave_two_daughters_that_know_their_mother():
    movie = simulate_movie(tiny_spec(frames=12, nuclei_per_frame=40, seed=2), well="A15")
    truth = movie.truth
    before = {}
    pairs = 0
    for number in range(12):
        here = truth.frame == number
        for parent in set(truth.parent[here]) - {0}:
            if parent in before.get(number - 1, ()):
                daughters = here & (truth.parent == parent)
                assert daughters.sum() <= 2
                assert set(truth.phase[daughters]) == {"anaphase"}
                pairs += daughters.sum() == 2
        before[number] = set(truth.track[here])
    assert pairs >= 2


def test_nuclei_move_but_not_far():
    movie = simulate_movie(tiny_spec(frames=4, nuclei_per_frame=15, seed=5), well="A15")
    truth, steps = movie.truth, []
    for track in set(truth.track):
        one = truth.track == track
        inner = one & (truth.phase == "interphase")
        steps += list(np.hypot(*np.diff(truth.positions[inner], axis=0).T))
    assert 0.2 < np.median(steps) < 9


def test_positive_controls_look_different():
    spec = tiny_spec(height=512, width=512, nuclei_per_frame=80, frames=1)
    phases = {
        well: simulate_movie(spec, well=well).truth.phase for well in ("A15", "A4", "P21", "M13")
    }
    share = {
        well: {phase: np.mean(seen == phase) for phase in PHASES} for well, seen in phases.items()
    }
    assert share["A4"]["polylobed"] > 0.25 > share["A15"]["polylobed"]
    assert share["P21"]["apoptotic"] > 0.15 > share["A15"]["apoptotic"]
    assert share["M13"]["prometaphase"] > 0.25 > share["A15"]["prometaphase"]
    assert len(phases["P21"]) < 0.8 * len(phases["A15"])


def test_number_of_nuclei_is_about_what_was_asked_for():
    spec = tiny_spec(height=600, width=800, nuclei_per_frame=100, frames=1)
    counts = [simulate_movie(dataclasses.replace(spec, seed=seed)).masks.max() for seed in range(5)]
    assert 85 < np.mean(counts) < 115


def test_nuclei_are_as_wide_as_those_of_hela_cells():
    assert ScreenSpec().pixel_um == pytest.approx(0.65)
    assert ScreenSpec(diameter_px=36).pixel_um == pytest.approx(0.325)


def test_grey_levels_are_those_of_the_study():
    movie = simulate_movie(tiny_spec(vignetting=0.0, nuclei_per_frame=20))
    away = ndimage.distance_transform_edt(movie.masks[0] == 0) > 16
    assert abs(movie.frames[0][away].mean() - (movie.background + movie.offset)) < 1
    assert 0.5 < movie.frames[0][away].std() < 1.6
    levels = [movie.frames[0][movie.masks[0] == k].mean() for k in range(1, movie.masks[0].max())]
    assert 50 < np.median(levels) < 130
    assert movie.frames.max() <= 255


def test_without_noise_and_nuclei_a_frame_is_the_flatfield():
    spec = tiny_spec(noise=0, empty_wells=("A15",), background=100)
    movie = simulate_movie(spec, well="A15")
    assert len(movie.truth.frame) == 0
    assert movie.truth.positions.shape == (0, 2)
    expected = np.rint(movie.flatfield * 100 + movie.offset)
    np.testing.assert_array_equal(movie.frames[0], expected)


def test_flatfield_is_smooth_has_mean_1_and_belongs_to_the_plate():
    spec = ScreenSpec(vignetting=0.4)
    one = plate_flatfield((120, 160), spec, "SIM0001_01")
    other = plate_flatfield((120, 160), spec, "SIM0002_01")
    assert abs(one.mean() - 1) < 1e-3
    assert 0.55 < one.min() / one.max() < 0.65
    assert np.abs(np.diff(one, axis=0)).max() < 0.02
    assert 1e-3 < np.abs(one - other).mean() < 0.1
    np.testing.assert_array_equal(
        simulate_movie(tiny_spec(), well="A4").flatfield,
        simulate_movie(tiny_spec(), well="A15").flatfield,
    )


def test_frames_that_are_not_valid_hold_nothing():
    movie = simulate_movie(tiny_spec(invalid_frames=(2,)))
    np.testing.assert_array_equal(movie.valid, [True, False, True])
    assert not movie.frames[1].any()
    assert not movie.masks[1].any()
    assert 1 not in movie.truth.frame
    whole = simulate_movie(tiny_spec())
    np.testing.assert_array_equal(movie.masks[2], whole.masks[2])


def test_small_wells_have_half_the_size():
    assert simulate_movie(tiny_spec(small_wells=("A15",)), well="A15").frames.shape == (3, 96, 128)


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_is_drawn_in_one_piece_at_its_place(phase):
    rng = np.random.default_rng(3)
    for _ in range(5):
        patch = render(new_look(rng, 24, 75), phase, (40.3, 50.7), 0.6, 1.0)
        cover = np.pad(patch.cover, 1)
        assert cover[0].max() == cover[-1].max() == 0
        assert patch.cover[:, [0, -1]].max() == 0, "the patch is large enough"
        assert ndimage.label(cover > 0.5)[1] == 1
        y, x = ndimage.center_of_mass(patch.cover)
        assert np.hypot(y + patch.top - 40.3, x + patch.left - 50.7) < 8
        assert 15 < patch.signal.max() <= 205


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("plates", 0),
        ("plates", 1.5),
        ("wells_per_plate", 385),
        ("frames", True),
        ("height", 8),
        ("nuclei_per_frame", -1),
        ("nuclei_per_frame", 20000),
        ("diameter_px", 0.0),
        ("diameter_px", float("nan")),
        ("seed", -1),
        ("vignetting", 0.9),
        ("noise", -0.1),
        ("wanted_frames", (4,)),
        ("invalid_frames", (0,)),
        ("empty_wells", ("Q1",)),
        ("small_wells", ("A04",)),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_field(field, value):
    with pytest.raises(ConfigError, match=f"^{field}: "):
        tiny_spec(**{field: value})


def test_a_plate_has_384_different_wells_and_a_fixed_map():
    assert len(set(WELLS)) == len(WELLS) == 384
    assert gene_target("A15") == "negative control"
    assert {gene_target(well) for well in WELLS} == {
        "negative control", "ENSG00000149503", "COPB", "KIF11"
    }  # fmt: skip
