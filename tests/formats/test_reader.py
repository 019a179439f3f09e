from __future__ import annotations

from pathlib import Path

import pytest

from idrstream.errors import ConfigError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.java.readers import BioFormatsReader, ImageJReader, is_coordinate
from idrstream.formats.make import make_reader


@pytest.mark.parametrize(
    ("given", "kind", "location"),
    [
        (None, CellH5Reader, None),
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


def test_a_series_is_for_bioformats_only():
    assert make_reader("/opt/b.jar", series=2).series == 2
    for name in (None, "cellh5", "sc.fiji:fiji"):
        with pytest.raises(ConfigError, match=r'series: the .* reader cannot .* "bioformats"'):
            make_reader(name, series=0)


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
    with pytest.raises(ConfigError, match="'tiff' is no reader: use one of cellh5, imagej"):
        make_reader("tiff")


def test_coordinates():
    assert is_coordinate("sc.fiji:fiji")
    assert is_coordinate("net.imagej:imagej:2.3.0+net.imagej:imagej-legacy")
    assert not is_coordinate("/opt/Fiji.app")
    assert not is_coordinate("Fiji.app")
