"""Movies unlike the others of a screen, from the reader into the project of their batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from objects_at import objects_at

from idrstream import models
from idrstream.errors import MovieError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.preprocess import NoIllumination, Preprocessor
from idrstream.profile import DeepModel, DeepProfilerProject
from idrstream.records import Frame, ImageTask, Movie, Skipped

HEIGHT, WIDTH = 1024, 1344


@pytest.fixture
def process(ch5):
    """Return a function that reads a movie of a shape and gives what comes of its frames."""

    def run(shape, dtype="u1", frames=(1, 3), **reader):
        pixels = np.random.default_rng(0).integers(1, 200, shape).astype(dtype)
        path = ch5(pixels)
        task = ImageTask("P", "A4", 4, frames)
        parts = Preprocessor(CellH5Reader(**reader), NoIllumination())
        return pixels, parts.process(Movie(path, task, "local: x", None))

    return run


def test_fewer_frames_than_the_table_asks_for(process):
    _, (first, third) = process((1, 2, 1, 16, 16))
    assert isinstance(first, Frame)
    assert isinstance(third, Skipped)
    assert (third.kind, third.frame_number) == ("FrameError", 3)
    assert "frame 3 of a movie of 2" in third.reason


def test_uint16_stays_uint16_down_to_the_project(process, tmp_path):
    pixels, (frame,) = process((1, 1, 1, HEIGHT, WIDTH), "u2", frames=(1,))
    assert frame.pixels.dtype == np.uint16
    model = DeepModel.read(models.profiler_config_path(), models.profiler_checkpoint_path())
    project = DeepProfilerProject(tmp_path / "DP", model)
    image = project.add(frame, objects_at([(9, 9)]), pixels=True)
    written = tifffile.imread(project.image_path(image, "DNA"))
    assert written.dtype == np.uint16
    np.testing.assert_array_equal(written, pixels[0, 0, 0])


def test_several_channels_and_planes(process):
    pixels, frames = process((2, 3, 1, 16, 16), channel=1)
    np.testing.assert_array_equal(frames[1].plane(), pixels[1, 2, 0])
    with pytest.raises(MovieError, match="has 2 z-planes: set preprocess"):
        process((1, 3, 2, 16, 16))
    pixels, frames = process((1, 3, 2, 16, 16), z=1)
    np.testing.assert_array_equal(frames[0].plane(), pixels[0, 0, 1])
    with pytest.raises(MovieError, match=r"has one channel, 0; channel 3"):
        process((1, 3, 1, 16, 16), channel=3)


@pytest.mark.parametrize("dtype", ["f4", "i2", "u4", "?"])
def test_pixels_that_are_no_camera_s(process, dtype):
    with pytest.raises(MovieError, match="only uint8 and uint16 movies are read"):
        process((1, 3, 1, 16, 16), dtype)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"II*\x00 a tiff", b""])
def test_other_formats_say_what_to_do(tmp_path, content):
    path: Path = tmp_path / "x.ch5"
    path.write_bytes(content)
    with pytest.raises(MovieError, match=r"cannot be opened as HDF5.*bioformats"):
        CellH5Reader().info(path)
