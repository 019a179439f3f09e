"""Every reader passes the conformance suite: each selector is obeyed, or refused."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tifffile
from movie_files import write_ch5

from idrstream.formats import BioFormatsReader, CellH5Reader, ImageJReader, TiffReader, make_reader
from idrstream.testing.readers import ReaderTests


@pytest.fixture
def write_cellh5(tmp_path):
    def write(name, movie):
        return write_ch5(tmp_path / f"{name}.ch5", movie)

    return write


@pytest.fixture
def write_tiff(tmp_path):
    def write(name, *movies):
        path = tmp_path / f"{name}.ome.tif"
        with tifffile.TiffWriter(path, ome=True) as file:
            for movie in movies:
                file.write(movie, metadata={"axes": "CTZYX"}, photometric="minisblack")
        return path

    return write


class TestCellH5(ReaderTests):
    @pytest.fixture
    def make(self):
        return CellH5Reader

    @pytest.fixture
    def write(self, write_cellh5):
        return write_cellh5


class TestTiff(ReaderTests):
    several_sites = True

    @pytest.fixture
    def make(self):
        return TiffReader

    @pytest.fixture
    def write(self, write_tiff):
        return write_tiff


class TestAutoOnTiff(TestTiff):
    @pytest.fixture
    def make(self):
        return make_reader


class TestAutoOnCellH5(TestTiff):
    """Only TIFF has several sites in a file."""

    @pytest.fixture
    def make(self):
        return make_reader

    @pytest.fixture
    def write(self, write_cellh5, write_tiff):
        return lambda name, *movies: (write_tiff if movies[1:] else write_cellh5)(name, *movies)


class Closing:
    """Makes readers and closes them."""

    @pytest.fixture
    def make(self, reader, location):
        made = []

        def make(**options):
            made.append(reader(location, **options))
            return made[-1]

        yield make
        for one in made:
            one.close()


@pytest.mark.java
class TestBioFormats(Closing, ReaderTests):
    several_sites = True

    @pytest.fixture
    def reader(self):
        return BioFormatsReader

    @pytest.fixture
    def location(self, bioformats_jar):
        return bioformats_jar

    @pytest.fixture
    def write(self, write_tiff):
        return write_tiff

    def test_a_series_of_every_file(self, reader, location, write):
        movies = [np.full((1, 2, 1, 8, 9), value, np.uint8) for value in (1, 2)]
        path = write("movie", *movies)
        with reader(location, series=1) as chosen:
            assert not chosen.selects_sites
            assert chosen.describe()["series"] == 1
            for site in (1, 2, 9):
                assert (chosen.at(site=site).read(path, [1])[1] == 2).all()


@pytest.mark.java
class TestBioFormatsOnCellH5(TestBioFormats):
    """CellH5 has its labels as further images: they are no sites."""

    several_sites = True

    @pytest.fixture
    def write(self, write_cellh5, write_tiff):
        return lambda name, *movies: (write_tiff if movies[1:] else write_cellh5)(name, *movies)


@pytest.mark.java
class TestImageJ(Closing, ReaderTests):
    @pytest.fixture
    def reader(self):
        return ImageJReader

    @pytest.fixture
    def location(self):
        return os.environ.get("IDRSTREAM_FIJI") or pytest.skip("IDRSTREAM_FIJI names no Fiji.app")

    @pytest.fixture
    def write(self, write_tiff):
        return write_tiff
