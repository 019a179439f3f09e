"""Movie files: their readers, and whether a file is complete."""

from __future__ import annotations

from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.java.readers import BioFormatsReader, ImageJReader
from idrstream.formats.make import make_reader
from idrstream.formats.reader import BaseReader, MovieInfo, MovieReader, Selection, as_reader
from idrstream.formats.tiff import TiffReader

__all__ = [
    "BaseReader",
    "BioFormatsReader",
    "CellH5Reader",
    "ImageJReader",
    "MovieInfo",
    "MovieReader",
    "Selection",
    "TiffReader",
    "as_reader",
    "make_reader",
]
