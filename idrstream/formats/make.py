"""Readers from names and paths, and the one that chooses among the built-in ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from idrstream.config import is_coordinate
from idrstream.errors import ConfigError, FrameError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.complete import HDF5_SUFFIXES
from idrstream.formats.java.readers import BioFormatsReader, ImageJReader
from idrstream.formats.projection import Projection
from idrstream.formats.reader import (
    BaseReader,
    ImageSizes,
    MovieInfo,
    MovieReader,
    Pixels,
    as_reader,
)
from idrstream.formats.tiff import TiffReader, is_companion, is_tiff

READER_NAMES = ("auto", "cellh5", "tiff", "imagej", "bioformats")
FIJI_VARIABLE = "IDRSTREAM_FIJI"
JAR_VARIABLE = "IDRSTREAM_BIOFORMATS_JAR"


class AutoReader(TiffReader):
    """Reads TIFF by `TiffReader` and all other files by `CellH5Reader`; see `BaseReader`."""

    name = "auto"

    def describe(self) -> dict[str, object]:
        """Return what changes a result: the same as of `CellH5Reader`, which others had before."""
        return {**super().describe(), "name": CellH5Reader.name}

    def finds_sites_in(self, path: str) -> bool:
        """Return whether a file may have several sites: a CellH5 movie has one."""
        return super().finds_sites_in(path) and Path(path).suffix.lower() not in HDF5_SUFFIXES

    def info(self, path: Path) -> MovieInfo:
        """Return what the movie has; see `MovieReader.info`."""
        return super().info(path) if _is_ours(path) else self._cellh5().info(path)

    def sizes(self, path: Path) -> ImageSizes:
        """Return how many images, channels and planes a file has; see `BaseReader.sizes`."""
        return super().sizes(path) if _is_ours(path) else self._cellh5().sizes(path)

    def read(self, path: Path, numbers: Sequence[int]) -> dict[int, Pixels | FrameError]:
        """Read frames; see `MovieReader.read`."""
        return super().read(path, numbers) if _is_ours(path) else self._cellh5().read(path, numbers)

    def _cellh5(self) -> CellH5Reader:
        chosen = self.selection
        reader = CellH5Reader(channel=chosen.channel, z=chosen.z, projection=chosen.projection)
        return reader if chosen.series is None else reader.at(series=chosen.series)


def _is_ours(path: Path) -> bool:
    """Return whether `TiffReader` reads a file."""
    return is_companion(path) or is_tiff(path)


def make_reader(
    reader: str | Path | MovieReader | None = None,
    location: str | Path | None = None,
    *,
    channel: int = 0,
    z: int | None = None,
    projection: Projection | None = None,
    series: int | None = None,
) -> BaseReader:
    """Return the reader for a name, a path or an object.

    Parameters
    ----------
    reader : str, Path, MovieReader or None
        ``cellh5``, ``tiff``, ``imagej`` or ``bioformats``; a Fiji.app folder or Maven coordinate
        (ImageJ); a ``.jar`` (Bio-Formats); an object with the methods of `MovieReader`, which has
        chosen already; None or ``auto`` for the built-in readers of TIFF and CellH5.
    location : str or Path, optional
        Fiji.app folder, Maven coordinate or jar for a reader given by name; by default what
        the environment variables ``IDRSTREAM_FIJI`` and ``IDRSTREAM_BIOFORMATS_JAR`` name.
    channel : int
        Channel to read, counted from 0.
    z : int, optional
        Plane to read, counted from 0, of movies with several.
    projection : {"max", "mean", "sharpest"}, optional
        Make one image of all planes instead.
    series : int, optional
        Image of a file to read, counted from 0; by default that of the site.

    Returns
    -------
    BaseReader
        Nothing is started or opened yet.

    Raises
    ------
    ConfigError
        If there is no such reader, its location is missing, or it cannot choose a series.
    """
    if isinstance(reader, MovieReader):
        return as_reader(reader)
    kind = _BUILT_IN.get(str(reader or "auto"))
    if kind is not None:
        made = kind(channel=channel, z=z, projection=projection)
    else:
        name, location = _name_and_location(str(reader), location)
        java = BioFormatsReader if name == "bioformats" else ImageJReader
        made = java(location, channel=channel, z=z, projection=projection)
    if series is not None and "series" not in made.selects:
        msg = (
            f"preprocess.series: the {made.name} reader cannot choose an image of a file; use "
            '"tiff" or "bioformats"'
        )
        raise ConfigError(msg)
    return made if series is None else made.at(series=series)


_BUILT_IN: dict[str, type[BaseReader]] = {
    "auto": AutoReader,
    "cellh5": CellH5Reader,
    "h5py": CellH5Reader,
    "tiff": TiffReader,
}


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
