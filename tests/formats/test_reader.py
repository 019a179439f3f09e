from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from idrstream.errors import ConfigError
from idrstream.formats import MovieInfo
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.java.readers import BioFormatsReader, ImageJReader, is_coordinate
from idrstream.formats.make import AutoReader, make_reader
from idrstream.formats.tiff import TiffReader


@pytest.mark.parametrize(
    ("given", "kind", "location"),
    [
        (None, AutoReader, None),
        ("auto", AutoReader, None),
        ("tiff", TiffReader, None),
        ("cellh5", CellH5Reader, None),
        ("h5py", CellH5Reader, None),
        ("/opt/x/bioformats_package.jar", BioFormatsReader, "/opt/x/bioformats_package.jar"),
        (Path("/opt/Fiji.app"), ImageJReader, "/opt/Fiji.app"),
        ("sc.fiji:fiji:2.14.0", ImageJReader, "sc.fiji:fiji:2.14.0"),
        ("net.imagej:imagej+net.imagej:imagej-legacy", ImageJReader, None),
    ],
)
def test_make_reader(given, kind, location):
    reader = make_reader(given, channel=1, z=2)
    assert type(reader) is kind
    assert (reader.channel, reader.z) == (1, 2)
    if location is not None:
        assert reader.location == location


def test_a_series_is_for_files_with_several_images(tmp_path, ch5, noise):
    for name in ("/opt/b.jar", "tiff", None):
        reader = make_reader(name, series=2)
        assert reader.selection.series == 2
        assert reader.describe()["series"] == 2
    with pytest.raises(ConfigError, match="the reader cellh5 cannot choose series = 2"):
        reader.read(ch5(noise(1, 1, 1, 8, 8)), [1])
    for name in ("cellh5", "sc.fiji:fiji"):
        with pytest.raises(ConfigError, match=r'series: the .* reader cannot .* "bioformats"'):
            make_reader(name, series=0)


def test_a_plane_or_a_projection():
    for name in (None, "tiff", "cellh5", "/opt/b.jar"):
        assert make_reader(name, projection="max").describe()["projection"] == "max"
        with pytest.raises(ConfigError, match="z = 1 and preprocess"):
            make_reader(name, projection="max", z=1)


def test_a_reader_of_ones_own_selects_what_it_says():
    class Mine:
        name = "mine"
        closed = False

        def info(self, path):
            return MovieInfo(1, (2, 2), "uint8", (True,))

        def read(self, path, numbers):
            return {number: np.ones((2, 2), np.uint8) for number in numbers}

        def interrupt(self): ...

        def close(self):
            self.closed = True

    mine = Mine()
    reader = make_reader(mine)
    assert (reader.name, reader.selects_sites) == ("mine", False)
    assert reader.at(site=3).read(Path("x"), [2])[2].shape == (2, 2)
    with pytest.raises(ConfigError, match="the reader mine cannot choose channel = 1"):
        reader.at(channel=1)
    reader.close()
    assert mine.closed


def test_objects_and_folders(tmp_path, monkeypatch):
    mine = CellH5Reader()
    assert make_reader(mine) is mine
    (tmp_path / "Fiji").mkdir()
    monkeypatch.chdir(tmp_path)
    assert make_reader("Fiji").location == "Fiji"


def test_locations_and_variables(monkeypatch):
    assert make_reader("imagej", "/opt/Fiji.app").location == "/opt/Fiji.app"
    monkeypatch.setenv("IDRSTREAM_BIOFORMATS_JAR", "/opt/b.jar")
    assert make_reader("bioformats").location == "/opt/b.jar"
    monkeypatch.delenv("IDRSTREAM_BIOFORMATS_JAR")
    monkeypatch.delenv("IDRSTREAM_FIJI", raising=False)
    with pytest.raises(ConfigError, match=r"needs a Bio-Formats jar: .* IDRSTREAM_BIOFORMATS_JAR"):
        make_reader("bioformats")
    with pytest.raises(ConfigError, match=r"needs a Fiji\.app folder .* IDRSTREAM_FIJI"):
        make_reader("imagej")
    with pytest.raises(ConfigError, match="'flif' is no reader: use one of auto, cellh5, tiff"):
        make_reader("flif")


def test_coordinates():
    assert is_coordinate("sc.fiji:fiji")
    assert is_coordinate("net.imagej:imagej:2.3.0+net.imagej:imagej-legacy")
    assert not is_coordinate("/opt/Fiji.app")
    assert not is_coordinate("Fiji.app")
