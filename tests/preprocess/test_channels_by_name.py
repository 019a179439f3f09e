"""Channels by name, in one file or in files of their own."""

from __future__ import annotations

import numpy as np
import pytest

from idrstream import make_downloader
from idrstream.config.sections import PreprocessSettings
from idrstream.download import limit_to_needed
from idrstream.errors import DownloadError, MovieError, TableError
from idrstream.preprocess import check_selectors, make_preprocessor
from idrstream.records import ImageTask, Movie


@pytest.fixture
def archive(ch5, noise):
    """A movie of three channels, also in three files; the pixels, shape (c, t, z, y, x)."""
    pixels = noise(3, 2, 1, 12, 16)
    ch5(pixels, "mirror/all.ch5")
    for number, name in enumerate("abc"):
        # The same file name in a folder for each channel, as idr0016 has it.
        ch5(pixels[number : number + 1], f"mirror/{name}/x.ch5")
    return pixels


FILES = {"Path ERSyto": "a/x.ch5", "Path Hoechst": "b/x.ch5", "Path Mito": "c/x.ch5"}


ALL = {"Path": "all.ch5"}


def task(**metadata) -> ImageTask:
    return ImageTask("P", "A1", 1, (2, 1), 1, metadata)


def preprocessor(tmp_path, *channels):
    settings = PreprocessSettings(image_channels=channels, perform_illumination_correction=False)
    return make_preprocessor(settings, tmp_path / "models")


def streamed(tmp_path, one, *channels):
    """Return the frames of an image, downloaded from the mirror and read."""
    parts = preprocessor(tmp_path, *channels)
    check_selectors(parts, [one])
    source = make_downloader(method="local", root=tmp_path / "mirror")
    limit_to_needed(source, parts)
    movie = source.download(one, tmp_path / "new")
    return movie, parts.process(movie)


@pytest.mark.parametrize(
    ("metadata", "channels", "numbers"),
    [
        (FILES, ("DNA=Hoechst", "ER=ERSyto"), (1, 0)),
        (FILES, ("DNA=hoechst",), (1,)),
        (FILES, ("Mito", "ERSyto"), (2, 0)),  # the name comes before the position
        (FILES, ("DNA=2", "ER=0"), (2, 0)),
        (ALL, ("DNA=1", "ER=0"), (1, 0)),
        (ALL | {"Channel Names": "ERSyto;Hoechst;Mito"}, ("DNA=hoechst", "ER=0"), (1, 0)),
        (ALL | {"Channel Names": "Mito; Hoechst"}, ("X=Mito", "DNA=Hoechst"), (0, 1)),
    ],
)  # fmt: skip
def test_the_pixels_are_those_of_the_named_channels(tmp_path, archive, metadata, channels, numbers):
    _, frames = streamed(tmp_path, task(**metadata), *channels)
    assert [frame.number for frame in frames] == [2, 1]
    for frame in frames:
        assert frame.channels == tuple(text.partition("=")[0] for text in channels)
        assert np.array_equal(frame.pixels, archive[list(numbers), frame.number - 1, 0])


def test_only_the_channels_that_are_read_are_downloaded(tmp_path, archive):
    movie, _ = streamed(tmp_path, task(**FILES), "DNA=Hoechst")
    assert list(movie.channels) == ["Hoechst"]
    assert [path.name for path in (tmp_path / "new").rglob("*.ch5")] == ["00001_01_x.ch5"]
    source = make_downloader(method="local", root=tmp_path / "mirror")
    every = source.download(task(**FILES), tmp_path / "every")
    assert list(every.channels) == ["ERSyto", "Hoechst", "Mito"]
    assert len({file.path for file in every.files}) == 3
    sizes = [(tmp_path / "mirror" / name / "x.ch5").stat().st_size for name in "abc"]
    assert source.size(task(**FILES)) == sum(sizes)
    assert source.address(task(**FILES)) == "a/x.ch5 b/x.ch5 c/x.ch5"


def test_two_rows_may_name_their_channels_in_another_order(tmp_path, archive):
    parts = preprocessor(tmp_path, "DNA=Hoechst")
    for names, number in (("Hoechst;Mito", 0), ("Mito;X;Hoechst", 2), ("Hoechst", 0)):
        one = task(Path="all.ch5", **{"Channel Names": names})
        (frame, _) = parts.process(Movie(tmp_path / "mirror" / "all.ch5", one, "test"))
        assert np.array_equal(frame.pixels[0], archive[number, 1, 0])
    parts.close()


def test_wrong_names_are_answered_with_those_that_exist(tmp_path, archive):
    named = task(Path="all.ch5", **{"Channel Names": "A;B"})
    for one, channels, message in (
        (task(**FILES), ("DNA=DAPI",), r"A1 \(row 1\): .*'DAPI'; there are ERSyto, Hoechst, Mito"),
        (task(**FILES), ("DNA=3",), "no channel '3'; there are ERSyto, Hoechst, Mito"),
        (task(**FILES), (), "ERSyto, Hoechst, Mito are in files .* such as DNA=ERSyto"),
        (named, ("DNA=DAPI",), "no channel 'DAPI'; there are A, B"),
        (task(Path="all.ch5"), ("DNA=DAPI",), "give the number of 'DAPI'.* column Channel Names"),
    ):
        with pytest.raises(TableError, match=message):
            check_selectors(preprocessor(tmp_path, *channels), [task(**FILES), one][-1:])
    source = make_downloader(method="local", root=tmp_path / "mirror")
    source.limit_to(None, channels=[("DNA", "DAPI")])
    with pytest.raises(DownloadError, match="channel DAPI has no file; there are ERSyto, Hoechst"):
        source.download(task(**FILES), tmp_path / "new")
    with pytest.raises(MovieError, match="no channel 'DAPI'; there are A, B"):
        preprocessor(tmp_path, "DNA=DAPI").process(
            Movie(tmp_path / "mirror" / "all.ch5", named, "test")
        )


def test_images_with_the_same_files_are_refused(tmp_path):
    parts = preprocessor(tmp_path, "DNA=Hoechst")
    twice = [task(**FILES), ImageTask("P", "A2", 2, (1,), 1, FILES, 1)]
    with pytest.raises(TableError, match="would get the same pixels"):
        check_selectors(parts, twice)


def test_a_missing_file_of_a_channel_fails_the_image(tmp_path, archive):
    (tmp_path / "mirror" / "c" / "x.ch5").unlink()
    with pytest.raises(DownloadError, match=r"c/x\.ch5"):
        streamed(tmp_path, task(**FILES), "DNA=Hoechst", "Mito")


def test_models_of_plates_are_fitted_for_each_channel(tmp_path, archive):
    settings = PreprocessSettings(
        image_channels=("DNA=Hoechst", "ER=ERSyto"), illumination_context="plate"
    )
    parts = make_preprocessor(settings, tmp_path / "models")
    source = make_downloader(method="local", root=tmp_path / "mirror")
    movie = source.download(task(**FILES), tmp_path / "new")
    parts.fit_plate("P", [movie])
    assert not parts.needs_plate_model("P")
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["DNA", "ER"]
    assert len(parts.process(movie)[0].pixels) == 2
