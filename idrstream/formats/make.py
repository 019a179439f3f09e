"""Readers from names and paths."""

from __future__ import annotations

import os
from pathlib import Path

from idrstream.config import is_coordinate
from idrstream.errors import ConfigError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.java.readers import BioFormatsReader, ImageJReader
from idrstream.formats.reader import MovieReader

READER_NAMES = ("cellh5", "imagej", "bioformats")
FIJI_VARIABLE = "IDRSTREAM_FIJI"
JAR_VARIABLE = "IDRSTREAM_BIOFORMATS_JAR"


def make_reader(
    reader: str | Path | MovieReader | None = None,
    location: str | Path | None = None,
    *,
    channel: int = 0,
    z: int | None = None,
    series: int | None = None,
) -> MovieReader:
    """Return the reader for a name, a path or an object.

    Parameters
    ----------
    reader : str, Path, MovieReader or None
        ``cellh5``, ``imagej`` or ``bioformats``; a Fiji.app folder or Maven coordinate
        (ImageJ); a ``.jar`` (Bio-Formats); an object with the methods of `MovieReader`; None
        for the built-in CellH5 reader.
    location : str or Path, optional
        Fiji.app folder, Maven coordinate or jar for a reader given by name; by default what
        the environment variables ``IDRSTREAM_FIJI`` and ``IDRSTREAM_BIOFORMATS_JAR`` name.
    channel : int
        Channel to read, counted from 0.
    z : int, optional
        Plane to read, counted from 0, of movies with several.
    series : int, optional
        Bio-Formats: image of a file to read, counted from 0; by default that of the site.

    Returns
    -------
    MovieReader
        Nothing is started or opened yet.

    Raises
    ------
    ConfigError
        If there is no such reader, its location is missing, or it cannot choose a series.
    """
    if isinstance(reader, MovieReader):
        return reader
    built_in = reader is None or reader in ("cellh5", "h5py")
    name, location = ("cellh5", None) if built_in else _name_and_location(str(reader), location)
    if series is not None and name != "bioformats":
        msg = f'preprocess.series: the {name} reader cannot choose an image; use "bioformats"'
        raise ConfigError(msg)
    if location is None:
        return CellH5Reader(channel=channel, z=z)
    if name == "bioformats":
        return BioFormatsReader(location, channel=channel, z=z, series=series)
    return ImageJReader(location, channel=channel, z=z)


def _name_and_location(text: str, location: str | Path | None) -> tuple[str, str | Path]:
    if text.lower().endswith(".jar"):
        return "bioformats", text
    variable = {"imagej": FIJI_VARIABLE, "bioformats": JAR_VARIABLE}.get(text)
    if variable is not None:
        location = location or os.environ.get(variable)
        if location:
            return text, location
        what = "a Fiji.app folder or Maven coordinate" if text == "imagej" else "a Bio-Formats jar"
        msg = f"the {text} reader needs {what}: give its location or set {variable}"
        raise ConfigError(msg)
    if is_coordinate(text) or "/" in text or Path(text).expanduser().is_dir():
        return "imagej", text
    msg = f"{text!r} is no reader: use one of {', '.join(READER_NAMES)}, a Fiji.app or a jar"
    raise ConfigError(msg)
