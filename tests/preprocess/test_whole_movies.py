"""Movies of which every frame is wanted: read some at a time, with the same result."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.preprocess import ChannelPreprocessor, Preprocessor, make_illumination
from idrstream.records import ImageTask, Movie, Skipped


class Counting(CellH5Reader):
    """A reader that notes how many frames are asked for at once."""

    def __init__(self, **options):
        super().__init__(**options)
        self.most = 0

    def read(self, path, numbers):
        self.most = max(self.most, len(numbers))
        return super().read(path, numbers)


def whole(path, every=1):
    return Movie(path, ImageTask("P1", "A4", 4, (), every=every), "test")


@pytest.fixture
def path(ch5, noise):
    return ch5(noise(2, 23, 1, 40, 48))


@pytest.mark.parametrize("illumination", ["off", "frames", "movie"])
def test_groups_give_what_all_at_once_gives(path, illumination):
    reader = Counting()
    preprocessor = Preprocessor(reader, make_illumination(illumination))
    movie = whole(path)
    opened = replace(movie, task=preprocessor.resolve(movie))
    assert opened.task.frames == tuple(range(1, 24))
    groups = list(preprocessor.iterate(opened, 4))
    assert [len(group) for group in groups] == [4, 4, 4, 4, 4, 3]
    assert reader.most == 4  # also of those that the correction is fitted on
    together = preprocessor.process(movie)
    for one, other in zip(chain(*groups), together, strict=True):
        assert (one.number, one.task) == (other.number, other.task)
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_every_third_frame_and_no_other_is_needed(path):
    preprocessor = Preprocessor(CellH5Reader(), make_illumination("off"))
    movie = whole(path, every=3)
    wanted = (1, 4, 7, 10, 13, 16, 19, 22)
    assert preprocessor.frames_needed(movie.task, preprocessor.reader.info(path)) == wanted
    assert tuple(frame.number for frame in preprocessor.process(movie)) == wanted


def test_a_channel_whose_movie_is_shorter_is_missing_at_the_end(tmp_path, ch5, noise):
    files = {}
    for name, length in (("DNA", 5), ("ER", 3)):
        folder = tmp_path / name
        folder.mkdir()
        made = ch5(noise(1, length, 1, 24, 24))
        files[name] = Movie(made.rename(folder / "movie.ch5"), ImageTask("P1", "A4", 4, ()), "test")
    one = {n: Preprocessor(CellH5Reader(), make_illumination("off"), channel=n) for n in files}
    task = ImageTask("P1", "A4", 4, (), every=1)
    movie = Movie(files["DNA"].path, task, "test", channels=files)
    preprocessor = ChannelPreprocessor(one, keys={"DNA": "DNA", "ER": "ER"})
    opened = replace(movie, task=preprocessor.resolve(movie))
    results = list(chain(*preprocessor.iterate(opened, 2)))
    assert [isinstance(result, Skipped) for result in results] == [False] * 3 + [True] * 2
    assert results[0].pixels.shape == (2, 24, 24)


def test_a_class_of_ones_own_that_overrides_process_is_called(path):
    class Inverted(Preprocessor):
        def process(self, movie):
            return [replace(one, pixels=255 - one.pixels) for one in super().process(movie)]

    movie = whole(path)
    plain = Preprocessor(CellH5Reader(), make_illumination("off")).process(movie)
    (group,) = Inverted(CellH5Reader(), make_illumination("off")).iterate(movie, 4)
    np.testing.assert_array_equal(group[7].pixels, 255 - plain[7].pixels)
