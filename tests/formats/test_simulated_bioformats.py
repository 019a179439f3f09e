"""An independent reader opens what the simulation writes."""

from __future__ import annotations

import numpy as np
import pytest

from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.java.readers import BioFormatsReader
from idrstream.simulate import simulate_movie, simulate_screen, tiny_spec


@pytest.mark.java
def test_bio_formats_reads_a_simulated_movie(tmp_path, bioformats_jar):
    spec = tiny_spec(wells_per_plate=1)
    screen = simulate_screen(tmp_path / "screen", spec)
    expected = simulate_movie(spec, well="A4").frames
    reader = BioFormatsReader(bioformats_jar)
    try:
        info = reader.info(screen.movies[0])
        pixels = reader.read(screen.movies[0], [1, 3])
    finally:
        reader.close()
    assert (info.n_frames, info.shape) == (3, (192, 256))
    np.testing.assert_array_equal(pixels[1], expected[0])
    np.testing.assert_array_equal(pixels[3], expected[2])


def test_the_built_in_reader_reads_a_simulated_movie(tmp_path):
    spec = tiny_spec(wells_per_plate=1, invalid_frames=(2,))
    screen = simulate_screen(tmp_path / "screen", spec)
    reader = CellH5Reader()
    assert reader.info(screen.movies[0]).valid == (True, False, True)
    pixels = reader.read(screen.movies[0], [3, 2])
    np.testing.assert_array_equal(pixels[3], simulate_movie(spec, well="A4").frames[2])
    assert isinstance(pixels[2], Exception)
