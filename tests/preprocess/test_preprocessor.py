from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tifffile

from idrstream.config import PreprocessSettings
from idrstream.describe import describe_part
from idrstream.errors import ConfigError, FrameError, MissingToolError, MovieError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.java.readers import ImageJReader
from idrstream.formats.reader import BaseReader, MovieInfo
from idrstream.legacy import BasicpyPreprocessor
from idrstream.preprocess import (
    FrameContext,
    NoIllumination,
    PerPlate,
    Preprocessor,
    WholeMovie,
    as_preprocessor,
    make_illumination,
    make_preprocessor,
)
from idrstream.preprocess import illumination as illumination_module
from idrstream.preprocess.basic import fit_basic
from idrstream.preprocess.plate_model import IlluminationModel
from idrstream.preprocess.preprocessor import spread
from idrstream.records import Frame, ImageTask, Movie, Skipped
from idrstream.simulate import simulate_movie, tiny_spec


def movie_of(path: Path, *frames: int, plate: str = "P1", well: str = "A4") -> Movie:
    return Movie(path, ImageTask(plate, well, 4, frames), "test")


def by_name(illumination: str, models_folder: Path | None = None) -> Preprocessor:
    return Preprocessor(CellH5Reader(), make_illumination(illumination, models_folder))


def half(shape) -> IlluminationModel:
    """A model that doubles the right half of a frame."""
    flat = np.ones(shape, np.float32)
    flat[:, shape[1] // 2 :] = 0.5
    return IlluminationModel(flat, np.zeros(shape, np.float32), 1, "test")


@dataclass
class Recorded:
    """An illumination that records what it was given."""

    wants: tuple[int, ...]
    stacks: list[np.ndarray] = field(default_factory=list)

    def context(self, wanted, info):
        return self.wants

    def model_for(self, task, stack):
        self.stacks.append(np.stack(list(stack)))
        return half(self.stacks[-1].shape[1:])


def test_frames_come_in_the_order_asked_for(ch5, noise):
    movie = noise(1, 5, 1, 8, 8) // 2
    illumination = Recorded((1, 2))
    results = Preprocessor(CellH5Reader(), illumination).process(movie_of(ch5(movie), 4, 2))
    assert [r.number for r in results] == [4, 2]
    for result in results:
        pixels = movie[0, result.number - 1, 0]
        np.testing.assert_array_equal(result.plane()[:, :4], pixels[:, :4])
        np.testing.assert_array_equal(result.plane()[:, 4:], 2 * pixels[:, 4:])
        assert result.pixels.dtype == np.uint8
        assert result.task.frames == (4, 2)
    np.testing.assert_array_equal(illumination.stacks[0], movie[0, :2, 0])


def test_bad_frames_are_skipped_with_a_reason_and_left_out_of_the_fit(ch5, noise):
    movie = noise(1, 4, 1, 8, 8)
    path = ch5(movie, valid=[1, 0, 1, 1], written=[0, 1, 3])
    illumination = Recorded((1, 2, 3, 4))
    results = Preprocessor(CellH5Reader(), illumination).process(movie_of(path, 9, 1, 2, 3))
    assert [type(r) for r in results] == [Skipped, Frame, Skipped, Skipped]
    skipped = [r for r in results if isinstance(r, Skipped)]
    assert [r.frame_number for r in skipped] == [9, 2, 3]
    assert {(r.stage, r.kind, r.task.plate) for r in skipped} == {
        ("preprocess", "FrameError", "P1")
    }
    for result, words in zip(
        skipped, ["frame 9 of a movie of 4", "not valid", "never written"], strict=True
    ):
        assert words in result.reason
    np.testing.assert_array_equal(illumination.stacks[0], movie[0, [0, 3], 0])


def test_nothing_is_fitted_when_no_frame_is_good(ch5, noise):
    illumination = Recorded((1,))
    path = ch5(noise(1, 2, 1, 8, 8))
    results = Preprocessor(CellH5Reader(), illumination).process(movie_of(path, 3))
    assert [r.frame_number for r in results] == [3]
    assert illumination.stacks == []


def test_a_frame_that_the_model_does_not_fit_is_skipped(ch5, noise):
    class Other(Recorded):
        def model_for(self, task, stack):
            return half((3, 3))

    path = ch5(noise(1, 2, 1, 8, 8))
    (result,) = Preprocessor(CellH5Reader(), Other((1,))).process(movie_of(path, 1))
    assert isinstance(result, Skipped)
    assert "cannot be corrected" in result.reason


def test_a_movie_that_cannot_be_read_raises(tmp_path):
    with pytest.raises(MovieError, match=r"nowhere\.ch5"):
        by_name("off").process(movie_of(tmp_path / "nowhere.ch5", 1))


def test_off_gives_the_pixels_as_stored(ch5, noise):
    movie = noise(1, 3, 1, 8, 9, dtype="uint16")
    preprocessor = by_name("off")
    (frame,) = preprocessor.process(movie_of(ch5(movie), 2))
    np.testing.assert_array_equal(frame.plane(), movie[0, 1, 0])
    assert frame.pixels.dtype == np.uint16
    assert not preprocessor.needs_plate_model("P1")
    with pytest.raises(ConfigError, match="not corrected by plate"):
        preprocessor.fit_plate("P1", [])
    preprocessor.close()


def test_real_movies_with_the_first_streams_context(real_movies):
    preprocessor = by_name("frames")
    first, second, backwards = real_movies
    for path, wanted, good in [
        (first, (1,), [1]),
        (first, (1, 15, 30), [1, 15, 30]),
        (first, (31,), []),
        (second, (3,), []),
        (backwards, (8,), []),
    ]:
        results = preprocessor.process(movie_of(path, *wanted))
        assert [r.number for r in results if isinstance(r, Frame)] == good
        assert len(results) == len(wanted)
        raw = CellH5Reader().read(path, wanted)
        for frame in results:
            if isinstance(frame, Frame):
                assert frame.pixels.dtype == np.uint8
                # Corrected, not rescaled: the same grey levels on the whole.
                assert frame.pixels.mean() == pytest.approx(raw[frame.number].mean(), rel=0.1)


@pytest.fixture
def quick_fit(monkeypatch):
    """Replace BaSiC's fit by a model that says what it was fitted on."""
    stacks: list[np.ndarray] = []

    def fit(stack, *, darkfield=False, context, source=""):
        stacks.append(stack)
        if not stack.any():
            raise MovieError("BaSiC found nothing")
        return half(stack.shape[1:])

    monkeypatch.setattr(illumination_module, "fit_basic", fit)
    return stacks


def test_a_model_of_the_plate_is_fitted_once_on_many_wells(ch5, noise, tmp_path, quick_fit):
    wells = {w: noise(1, 6, 1, 8, 8, seed=n) // 2 for n, w in enumerate(("A1", "A2"))}
    paths = {well: ch5(movie, f"{well}.ch5") for well, movie in wells.items()}
    preprocessor = Preprocessor(CellH5Reader(), PerPlate(tmp_path / "models"), frames_per_movie=2)
    assert preprocessor.needs_plate_model("P1")

    def movies():
        for well, path in paths.items():
            yield movie_of(path, 1, well=well)
            path.rename(tmp_path / f"{well} seen")  # gone when the next one is asked for

    preprocessor.fit_plate("P1", movies())
    assert not preprocessor.needs_plate_model("P1")
    assert preprocessor.needs_plate_model("P2")
    (stack,) = quick_fit
    expected = np.concatenate([movie[0, [1, 4], 0] for movie in wells.values()])
    np.testing.assert_array_equal(stack, expected)
    (frame,) = preprocessor.process(movie_of(tmp_path / "A2 seen", 3))
    np.testing.assert_array_equal(frame.plane()[:, 4:], 2 * wells["A2"][0, 2, 0][:, 4:])
    # A later run finds the saved one.
    assert not by_name("plate", tmp_path / "models").needs_plate_model("P1")


def test_movies_that_do_not_fit_in_are_left_out(ch5, noise, tmp_path, quick_fit, caplog):
    good, small = ch5(noise(1, 2, 1, 8, 8)), ch5(noise(1, 2, 1, 4, 4), "small.ch5")
    deep = ch5(noise(1, 2, 1, 8, 8, dtype="uint16"), "deep.ch5")
    invalid = ch5(noise(1, 2, 1, 8, 8), "invalid.ch5", valid=[0, 0])
    preprocessor = by_name("plate", tmp_path / "models")
    movies = [tmp_path / "nowhere.ch5", invalid, good, small, deep, good]
    preprocessor.fit_plate("P1", [movie_of(path, 1, well=path.stem) for path in movies])
    assert quick_fit[0].shape == (4, 8, 8)
    assert "nowhere is left out" in caplog.text
    assert "well small: frames unlike" in caplog.text
    assert "well deep: frames unlike" in caplog.text


@pytest.mark.parametrize("broken", ["nothing to read", "nothing to fit"])
def test_a_plate_without_a_model_is_refused_with_the_reason(
    ch5, tmp_path, quick_fit, noise, broken
):
    path = ch5(noise(1, 2, 1, 8, 8))
    preprocessor = by_name("plate", tmp_path / "models")
    movies, reason = [], "none of its frames could be read"
    if broken == "nothing to fit":
        movies = [movie_of(path, 1)]
        reason = "BaSiC found nothing"
        preprocessor._frames_for_plate = lambda _movie: np.zeros((1, 8, 8), np.uint8)
    with pytest.raises(MovieError, match=f"plate P1 has no illumination model: {reason}"):
        preprocessor.fit_plate("P1", movies)
    assert preprocessor.needs_plate_model("P1")


def test_plate_frames(ch5, noise):
    movie = noise(1, 5, 1, 8, 8)
    path = ch5(movie, valid=[1, 1, 0, 1, 1], written=[0, 2, 3, 4])
    preprocessor = by_name("off")
    np.testing.assert_array_equal(
        preprocessor.plate_frames(movie_of(path), 4), movie[0, [0, 3, 4], 0]
    )
    assert preprocessor.plate_frames(movie_of(path), 0).shape == (0, 8, 8)


def test_spread():
    assert spread(range(1, 11), 1) == [6]
    assert spread(range(1, 11), 2) == [3, 8]
    assert spread([3, 5], 9) == [3, 5]
    assert spread([], 3) == []
    for length in range(1, 40):
        for count in range(1, 45):
            chosen = spread(range(length), count)
            assert chosen == sorted(set(chosen))
            assert len(chosen) == min(length, count)


@pytest.mark.parametrize("illumination", ["frames", "movie", "plate"])
def test_a_missing_basicpy_is_told_before_a_stream_starts(illumination, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "basicpy", None)
    by_name("off").load()
    with pytest.raises(MissingToolError, match=r"needs basicpy.*pip install --no-deps"):
        by_name(illumination, tmp_path).load()
    with pytest.raises(MissingToolError, match="basicpy"):
        fit_basic(np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8))


def test_the_reader_is_asked_for_the_site_of_the_row(tmp_path):
    asked = []

    class BySite(BaseReader):
        selects = BaseReader.selects | {"site"}

        def info(self, path):
            return MovieInfo(2, (4, 5), "uint8", (True, True))

        def read(self, path, numbers):
            asked.append(self.selection.site)
            return {number: np.full((4, 5), 10 * asked[-1], np.uint8) for number in numbers}

    preprocessor = Preprocessor(BySite(), make_illumination("off"))
    for site in (1, 3):
        task = ImageTask("P1", "A4", 4, (2,), site=site)
        movie = Movie(tmp_path / "x", task, "local")
        (frame,) = preprocessor.process(movie)
        assert (frame.pixels == 10 * site).all()
        assert (preprocessor.plate_frames(movie, 1) == 10 * site).all()
    assert asked == [1, 1, 3, 3]


@pytest.mark.parametrize("context", ["movie", "plate"])
def test_an_even_flatfield_is_told_once_for_each_plate(tmp_path, ch5, caplog, context):
    spec = tiny_spec(frames=4, nuclei_per_frame=10, background=2.0)
    dark = simulate_movie(spec).frames.astype(np.uint16) + 98
    path = ch5(dark[np.newaxis, :, np.newaxis])
    settings = PreprocessSettings(illumination_context=context)
    preprocessor = make_preprocessor(settings, tmp_path / "models")
    for plate in ("P1", "P1", "P2"):
        movie = movie_of(path, 2, plate=plate)
        if preprocessor.needs_plate_model(plate):
            preprocessor.fit_plate(plate, [movie])
        preprocessor.process(movie)
    said = [text for text in caplog.messages if "illumination_darkfield = true" in text]
    assert [text.partition(":")[0] for text in said] == ["plate P1", "plate P2"]


def test_the_darkfield_reaches_the_fit(tmp_path):
    for context in ("frames", "movie", "plate"):
        settings = PreprocessSettings(illumination_context=context, illumination_darkfield=True)
        assert make_preprocessor(settings, tmp_path).illumination.darkfield


def test_names(tmp_path):
    kinds = [
        ("off", NoIllumination),
        ("frames", FrameContext),
        ("movie", WholeMovie),
        ("plate", PerPlate),
    ]
    for name, kind in kinds:
        assert type(make_illumination(name, tmp_path)) is kind
    with pytest.raises(ConfigError, match="needs models_folder"):
        make_illumination("plate")
    with pytest.raises(ConfigError, match="one of off, frames, movie, plate, not 'basic'"):
        make_illumination("basic")


SECTIONS = [
    (
        {},
        {"name": "cellh5", "channel": 0, "z": None},
        {"context": "frames", "darkfield": False, "most_frames": 32},
    ),
    (
        {"perform_illumination_correction": False, "channel": 1, "z": 2},
        {"name": "cellh5", "channel": 1, "z": 2},
        {"context": "off"},
    ),
    (
        {"fiji_path": "/opt/Fiji.app", "illumination_context": "movie"},
        {"name": "imagej", "channel": 0, "z": None},
        {"context": "movie", "darkfield": False, "most_frames": 32},
    ),
    (
        {"reader": "bioformats", "bioformats_jar": Path("/opt/b.jar"), "channel": 3},
        {"name": "bioformats", "channel": 3, "z": None},
        {"context": "frames", "darkfield": False, "most_frames": 32},
    ),
]


@pytest.mark.parametrize(("section", "reader", "illumination"), SECTIONS)
def test_the_identity_of_a_section_stays_what_journals_hold(
    tmp_path, section, reader, illumination
):
    made = make_preprocessor(PreprocessSettings(**section), tmp_path)
    assert describe_part(made) == {"reader": reader, "illumination": illumination}


@pytest.mark.parametrize("context", ["frames", "movie"])
def test_the_identity_follows_how_many_frames_a_long_movie_gives(context, monkeypatch):
    made = make_illumination(context)
    info = MovieInfo(n_frames=93, shape=(8, 8), dtype="uint8", valid=(True,) * 93)
    for most in (32, 16):
        monkeypatch.setattr(illumination_module, "MOST_FRAMES", most)
        assert len(made.context((1, 50), info)) == most
        assert describe_part(made)["most_frames"] == most


def test_the_identity_of_models_of_plates(tmp_path):
    made = make_preprocessor(PreprocessSettings(illumination_context="plate"), tmp_path / "models")
    assert describe_part(made) == {
        "reader": {"name": "cellh5", "channel": 0, "z": None},
        "illumination": {"context": "plate", "darkfield": False},
        "frames_per_movie": 4,
    }
    assert made.illumination.folder == tmp_path / "models"


@pytest.mark.parametrize(
    ("reader", "option"), [("imagej", "fiji_path"), ("bioformats", "bioformats_jar")]
)
def test_a_section_without_the_place_of_its_reader_is_refused(tmp_path, reader, option):
    with pytest.raises(ConfigError, match=f"preprocess.{option} is missing"):
        make_preprocessor(PreprocessSettings(reader=reader), tmp_path)


class TestOwnPreprocessors:
    class OnlyProcess:
        """A user's own preprocessor."""

        def __init__(self):
            self.gamma = 2

        def process(self, movie):
            return [movie]

    def test_process_is_enough(self, tmp_path):
        mine = self.OnlyProcess()
        made = as_preprocessor(mine)
        assert made.process("movie") == ["movie"]
        assert not made.needs_plate_model("P1")
        with pytest.raises(ConfigError, match="not corrected by plate"):
            made.fit_plate("P1", [])
        made.interrupt()
        made.close()
        assert made.for_dry_run(tmp_path) is made
        assert describe_part(made) == describe_part(mine)
        assert describe_part(made)["gamma"] == 2
        assert not made.chooses_frames

    def test_more_methods_are_used(self):
        class More(self.OnlyProcess):
            closed = False

            def needs_plate_model(self, plate):
                return plate == "P1"

            def frames_needed(self, task, info):
                return (1,)

            def close(self):
                self.closed = True

        mine = More()
        made = as_preprocessor(mine)
        assert made.needs_plate_model("P1")
        assert made.frames_needed(None, None) == (1,)
        made.close()
        assert mine.closed

    def test_ready_made_ones_stay_as_they_are(self):
        mine = by_name("off")
        assert as_preprocessor(mine) is mine

    def test_other_objects_are_refused(self):
        with pytest.raises(ConfigError, match="no method process"):
            as_preprocessor(object())


def test_a_dry_run_keeps_its_models_elsewhere(tmp_path):
    kept = by_name("plate", tmp_path / "models")
    twin = kept.for_dry_run(tmp_path / "dry")
    assert (twin.illumination.folder, kept.illumination.folder) == (
        tmp_path / "dry", tmp_path / "models",
    )  # fmt: skip
    assert describe_part(twin) == describe_part(kept)
    assert by_name("off").for_dry_run(tmp_path).illumination == NoIllumination()


def test_the_first_streams_preprocessor(ch5, noise, tmp_path):
    movie = noise(1, 4, 1, 8, 8)
    path = ch5(movie, valid=[1, 1, 1, 0])
    preprocessor = BasicpyPreprocessor(None, False)
    paths = preprocessor.save_frames("P1", 4, str(path), tmp_path / "new" / "P1", [3, 1])
    assert [p.name for p in paths] == ["P1_4_3.tif", "P1_4_1.tif"]
    np.testing.assert_array_equal(tifffile.imread(paths[0]), movie[0, 2, 0])
    assert path.exists()
    with pytest.raises(FrameError, match=r"frame 4 .* not valid"):
        preprocessor.save_corrected_frames("P1", 4, path, tmp_path / "other", [2, 4])
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["P1_4_2.tif"]
    assert isinstance(preprocessor.illumination, NoIllumination)
    assert isinstance(BasicpyPreprocessor("/opt/Fiji.app").reader, ImageJReader)
    assert isinstance(BasicpyPreprocessor("/opt/Fiji.app").illumination, FrameContext)
    by_plate = BasicpyPreprocessor(illumination="plate", models_folder=tmp_path)
    assert by_plate.needs_plate_model("P1")
