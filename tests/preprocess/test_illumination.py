"""BaSiC at every context, and what its models do to frames."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from idrstream.errors import ConfigError, FrameError, MovieError
from idrstream.formats.reader import MovieInfo
from idrstream.preprocess.basic import may_be_offset
from idrstream.preprocess.illumination import (
    MOST_FRAMES,
    FrameContext,
    IlluminationModel,
    NoIllumination,
    PerPlate,
    WholeMovie,
    context_frames,
    fit_basic,
)
from idrstream.records import ImageTask
from idrstream.simulate import simulate_movie, tiny_spec
from idrstream.workers.threads import threads_limited, torch_threads

TASK = ImageTask("P1", "A4", 4, (2,))


@pytest.fixture(scope="module")
def movie():
    return simulate_movie(tiny_spec(frames=6, nuclei_per_frame=10, seed=4))


@pytest.fixture(scope="module")
def fitted(movie):
    return fit_basic(movie.frames, context="movie", source="a movie")


def _correlation(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def _info(n_frames, *invalid):
    valid = tuple(number not in invalid for number in range(1, n_frames + 1))
    return MovieInfo(n_frames=n_frames, shape=(192, 256), dtype="uint8", valid=valid)


def _model(shape=(4, 5), *, flat=1.0, dark=0.0, **fields):
    return IlluminationModel(
        np.full(shape, flat, np.float32),
        np.full(shape, dark, np.float32),
        n_frames=3,
        context="frames",
        **fields,
    )


# --- threads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("darkfield", [False, True])
def test_a_model_does_not_depend_on_the_number_of_threads(darkfield):
    frames = simulate_movie(tiny_spec(frames=3, nuclei_per_frame=10, seed=4)).frames
    models = []
    for threads in (1, 2, 4):
        with threads_limited(threads):
            models.append(fit_basic(frames, darkfield=darkfield))
            assert torch_threads() == threads
    for model in models[1:]:
        assert model.flatfield.tobytes() == models[0].flatfield.tobytes()
        assert model.darkfield.tobytes() == models[0].darkfield.tobytes()


# --- context ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "n_frames", "expected"),
    [
        ((1,), 93, (1, 2, 3)),
        ((50,), 93, (50, 51, 52)),
        ((91,), 93, (91, 92, 93)),
        ((92,), 93, (90, 91, 92)),
        ((93,), 93, (91, 92, 93)),
        ((1, 50), 5, (1, 2, 3, 4, 5)),
        ((1,), 1, (1,)),
        ((1,), 2, (1, 2)),
        ((2,), 2, (1, 2)),
        ((2,), 3, (1, 2, 3)),
        ((3,), 3, (1, 2, 3)),
        ((94,), 93, ()),
        ((0,), 93, ()),
    ],
)
def test_context_of_the_first_idr_stream(wanted, n_frames, expected):
    assert context_frames(wanted, n_frames, [True] * n_frames) == expected


def test_frames_that_are_not_valid_are_no_context():
    assert context_frames((3,), 5, [True, True, True, False, True]) == (3, 5)
    assert context_frames((1, 2), 3, [False, True, True]) == (2, 3)
    assert context_frames((1,), 3, [False, False, False]) == ()


def test_of_long_movies_frames_are_taken_evenly_over_their_length():
    long = [True] * 93
    for context in (context_frames((1, 50), 93, long), WholeMovie().context((1,), _info(93))):
        assert len(context) == MOST_FRAMES == 32
        assert (context[0], context[-1]) == (1, 93)
        assert {later - now for now, later in pairwise(context)} <= {2, 3}
    assert context_frames((1, 9), 40, [n >= 8 for n in range(40)]) == tuple(range(9, 41))


@given(st.data())
def test_context_is_ascending_valid_and_holds_the_wanted_frame(data):
    n_frames = data.draw(st.integers(1, 30))
    valid = data.draw(st.lists(st.booleans(), min_size=n_frames, max_size=n_frames))
    wanted = tuple(data.draw(st.sets(st.integers(1, n_frames), min_size=1, max_size=3)))
    context = context_frames(wanted, n_frames, valid)
    assert list(context) == sorted(set(context))
    assert all(valid[number - 1] for number in context)
    assert {number for number in wanted if valid[number - 1]} <= set(context)
    if len(wanted) == 1:
        assert len(context) <= 3


# --- fit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_frames", [1, 3, 6])
def test_the_flatfield_agrees_with_the_truth(movie, n_frames):
    model = fit_basic(movie.frames[:n_frames])
    assert _correlation(model.flatfield, movie.flatfield) > 0.99
    assert np.abs(model.flatfield / movie.flatfield - 1).mean() < 0.02
    assert model.n_frames == n_frames
    assert model.flatfield.mean() == pytest.approx(1, abs=1e-4)
    assert model.flatfield.dtype == model.darkfield.dtype == np.float32
    assert not model.darkfield.any()
    assert model.scale == 1.0


def test_correction_makes_the_background_even_and_keeps_its_level(movie, fitted):
    away = ndimage.distance_transform_edt(movie.masks[0] == 0) > 14
    before = movie.frames[0].astype(float)
    after = fitted.correct(movie.frames[0]).astype(float)

    def spread(frame):
        corners = [frame[s][away[s]].mean() for s in _corners()]
        return (max(corners) - min(corners)) / np.mean(corners)

    assert spread(before) > 0.1
    assert spread(after) < 0.03
    assert after[away].mean() == pytest.approx(before[away].mean(), rel=0.02)


def _corners():
    return [
        np.s_[y, x] for y in (slice(0, 48), slice(-48, None)) for x in (slice(48), slice(-48, None))
    ]


def test_the_same_frames_give_the_same_model_in_any_order(movie, fitted):
    np.testing.assert_array_equal(fit_basic(movie.frames).flatfield, fitted.flatfield)
    np.testing.assert_allclose(fit_basic(movie.frames[::-1]).flatfield, fitted.flatfield, rtol=1e-4)


def test_the_darkfield_is_estimated_on_request(movie):
    model = fit_basic(movie.frames, darkfield=True)
    assert model.darkfield.shape == movie.flatfield.shape
    assert model.darkfield.any()


def test_uint16_frames(movie):
    model = fit_basic(movie.frames.astype(np.uint16) * 200)
    assert _correlation(model.flatfield, movie.flatfield) > 0.99


def test_fitting_is_quiet(movie, capfd, caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG, "basicpy"):
        warnings.simplefilter("error")
        fit_basic(movie.frames[:2], darkfield=True)
    said = capfd.readouterr()
    assert said.out == said.err == ""
    assert [r for r in caplog.records if r.name.startswith("basicpy")] == []


def test_frames_without_contrast_are_left_out(movie):
    black = np.zeros((2, *movie.frames.shape[1:]), np.uint8)
    model = fit_basic(np.concatenate([black, movie.frames[:2]]))
    np.testing.assert_array_equal(model.flatfield, fit_basic(movie.frames[:2]).flatfield)
    assert model.n_frames == 2


@pytest.mark.parametrize("level", [0, 7])
def test_only_frames_without_contrast_is_an_error(level):
    with pytest.raises(MovieError, match=r"of plate P1.*same grey level everywhere"):
        fit_basic(np.full((3, 20, 20), level, np.uint8), source="plate P1")


@pytest.mark.parametrize("shape", [(0, 20, 20), (20, 20)])
def test_no_frames_is_an_error(shape):
    with pytest.raises(MovieError, match="has no frames"):
        fit_basic(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0])
def test_an_unusable_flatfield_is_an_error(movie, monkeypatch, value):
    import idrstream.preprocess.basic as room

    bad = np.ones((4, 4), np.float32)
    bad[0, 0] = value
    monkeypatch.setattr(room, "_run", lambda *_, **__: (bad, np.zeros_like(bad)))
    with pytest.raises(MovieError, match="no usable illumination of well A4"):
        fit_basic(movie.frames, source="well A4")


def test_a_failure_of_basicpy_is_told(movie, monkeypatch):
    import basicpy

    def fail(self, images):
        raise RuntimeError("Estimated flatfield is zero.")

    monkeypatch.setattr(basicpy.BaSiC, "fit", fail)
    with pytest.raises(MovieError, match=r"BaSiC failed on well A4 \(6 frames\): Estimated"):
        fit_basic(movie.frames, source="well A4")


def test_a_fit_that_did_not_converge_is_logged(movie, monkeypatch, caplog):
    import basicpy

    real = basicpy.BaSiC.fit

    def stop_early(self, images):
        real(self, images)
        self._converge_flag = False

    monkeypatch.setattr(basicpy.BaSiC, "fit", stop_early)
    fit_basic(movie.frames[:2], source="well A4")
    assert "before it converged on well A4" in caplog.text


@pytest.mark.parametrize(
    ("name", "dark", "least"),
    [
        ("wsi_brain", False, 0.99),
        ("wsi_brain", True, 0.98),
        pytest.param("timelapse_nanog", False, 0.99, marks=pytest.mark.slow),
        pytest.param("timelapse_nanog", True, 0.98, marks=pytest.mark.slow),
    ],
)
def test_the_flatfield_agrees_with_the_reference_implementation(shared_data, name, dark, least):
    from skimage.transform import resize

    folder = shared_data / "illumination"
    with np.load(folder / f"{name}.npz") as file:
        model = fit_basic(file["images"], darkfield=dark)
    with np.load(folder / "reference_results_plain.npz") as file:
        reference = file[f"{name}__flatfield" + ("" if dark else "-flatonly")]
    ours = resize(model.flatfield, reference.shape, order=1)
    assert _correlation(ours, reference) > least


@pytest.mark.parametrize(
    ("background", "offset", "darkfield", "warns"),
    [(2.0, 98, False, True), (2.0, 98, True, False), (24.0, 0, False, False)],
)
def test_a_camera_offset_over_a_dark_medium_is_noticed(background, offset, darkfield, warns):
    spec = tiny_spec(frames=6, nuclei_per_frame=10, seed=4, background=background)
    stack = simulate_movie(spec).frames.astype(np.uint16) + offset
    assert may_be_offset(fit_basic(stack, darkfield=darkfield), stack) == warns


@pytest.mark.parametrize("offset", [0, 1])
def test_an_aperture_is_told_with_advice_that_helps(movie, offset):
    rows, columns = np.indices(movie.frames.shape[1:])
    y, x = (2 * one / one.max() - 1 for one in (rows, columns))
    behind = x**2 + y**2 > 1
    frames = np.where(behind, 0, movie.frames.astype(np.uint16) * 20 + offset).astype(np.uint16)
    with pytest.raises(MovieError, match=r"2\d% of the field of well A4 get no light .*crop"):
        fit_basic(frames, source="well A4")


# --- model -----------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    dark=st.floats(0, 10),
)
def test_correction_is_the_formula_rounded_and_cut(seed, dtype, dark):
    rng = np.random.default_rng(seed)
    highest = np.iinfo(dtype).max
    pixels = rng.integers(0, highest, (6, 7), dtype=dtype, endpoint=True)
    flat = rng.uniform(0.3, 1.7, (6, 7)).astype(np.float32)
    model = IlluminationModel(flat, np.full((6, 7), dark, np.float32), 1, "frames")
    kept = pixels.copy()
    result = model.correct(pixels)
    expected = np.clip((pixels - np.float64(dark)) / flat, 0, highest)
    assert result.dtype == dtype
    assert np.abs(result - expected).max() <= 0.51
    np.testing.assert_array_equal(pixels, kept)


def test_an_even_flatfield_changes_nothing():
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5) * 13
    np.testing.assert_array_equal(_model().correct(pixels), pixels)


def test_intensities_keep_their_meaning_whatever_else_is_in_the_frame():
    model = _model(flat=1.0)
    dim, bright = np.full((4, 5), 40, np.uint8), np.full((4, 5), 40, np.uint8)
    bright[0, 0] = 250
    assert model.correct(dim)[2, 2] == model.correct(bright)[2, 2] == 40


def test_pixels_that_were_cut_are_logged(caplog):
    with caplog.at_level(logging.DEBUG, "idrstream.preprocess"):
        result = _model(flat=0.5).correct(np.full((4, 5), 200, np.uint8))
    assert (result == 255).all()
    assert "20 pixels became brighter than 255" in caplog.text


def test_a_frame_of_another_size_or_type_is_an_error():
    with pytest.raises(FrameError, match=r"frame of 5 x 4 pixels.*plate P1.*for 4 x 5"):
        _model(source="plate P1").correct(np.zeros((5, 4), np.uint8))
    with pytest.raises(FrameError, match="float64"):
        _model().correct(np.zeros((4, 5)))


@pytest.mark.parametrize(
    "change",
    [
        {"darkfield": np.zeros((2, 2), np.float32)},
        {"darkfield": np.full((4, 5), np.nan, np.float32)},
        {"flatfield": np.zeros((4, 5), np.float32)},
        {"flatfield": np.full((4, 5), np.inf, np.float32)},
        {"flatfield": np.ones(5, np.float32), "darkfield": np.ones(5, np.float32)},
    ],
)
def test_fields_are_checked(change):
    with pytest.raises(ConfigError, match="well A4"):
        dataclasses.replace(_model(source="well A4"), **change)


def test_a_model_comes_back_from_its_file(tmp_path, fitted):
    path = tmp_path / "new folder" / "P1.npz"
    fitted.save(path)
    again = IlluminationModel.load(path)
    for field in dataclasses.fields(fitted):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(fitted, field.name))
    first = path.read_bytes()
    fitted.save(path)
    assert path.read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == ["P1.npz"], "nothing is left beside it"


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "P1.npz"
    _model().save(path)
    old = path.read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="No space"):
        _model(flat=2.0).save(path)
    assert path.read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_model_is_told(tmp_path):
    path = tmp_path / "P1.npz"
    with pytest.raises(ConfigError, match=r"P1\.npz"):
        IlluminationModel.load(path)
    path.write_bytes(b"<html>")
    with pytest.raises(ConfigError, match="delete it"):
        IlluminationModel.load(path)
    _model().save(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match="delete it"):
        IlluminationModel.load(path)
    np.savez(path, format=np.array("idrstream-illumination-99"))
    with pytest.raises(ConfigError, match="illumination-99"):
        IlluminationModel.load(path)


# --- strategies ------------------------------------------------------------------------------


def test_off_reads_and_does_nothing(movie):
    off = NoIllumination()
    assert off.context((2,), _info(6)) == ()
    assert off.model_for(TASK, movie.frames[:0]) is None


def test_frames_fits_on_what_it_asked_for(movie):
    frames = FrameContext()
    assert frames.context((2,), _info(6, 3)) == (2, 4)
    assert frames.context((2, 5), _info(6, 3)) == (1, 2, 4, 5, 6)
    model = frames.model_for(TASK, movie.frames[1:4])
    assert (model.n_frames, model.context) == (3, "frames")
    assert model.source == "plate P1 well A4 site 1"
    with pytest.raises(MovieError, match="plate P1 well A4"):
        frames.model_for(TASK, movie.frames[:0])


def test_movie_takes_every_valid_frame(movie):
    whole = WholeMovie()
    assert whole.context((2,), _info(4, 1)) == (2, 3, 4)
    model = whole.model_for(TASK, movie.frames)
    assert (model.n_frames, model.context) == (6, "movie")


def test_plate_fits_once_and_later_runs_take_the_file(tmp_path, movie, monkeypatch):
    plates = PerPlate(tmp_path / "illumination")
    assert plates.missing("P1")
    assert plates.context((2,), _info(6)) == ()
    with pytest.raises(ConfigError, match="plate P1 has no illumination model"):
        plates.model_for(TASK, movie.frames[:0])
    model = plates.fit("P1", movie.frames, wells=("A4", "A15"))
    assert (model.context, model.source) == ("plate", "plate P1 wells A4, A15")
    assert not plates.missing("P1")
    assert plates.missing("P2")
    assert plates.model_for(TASK, movie.frames[:0]) is model

    import idrstream.preprocess.illumination as room

    monkeypatch.setattr(room, "fit_basic", None)  # a later run must not fit
    later = PerPlate(tmp_path / "illumination")
    assert not later.missing("P1")
    again = later.model_for(TASK, movie.frames[:0])
    np.testing.assert_array_equal(again.flatfield, model.flatfield)


def test_plate_says_when_its_file_is_damaged(tmp_path):
    plates = PerPlate(tmp_path)
    plates.path("P1").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"P1\.npz"):
        plates.missing("P1")


@pytest.mark.parametrize("name", ["../P1", "a/b", "", ".hidden", "a\\b"])
def test_plate_names_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(ConfigError, match="file name"):
        PerPlate(tmp_path).path(name)
