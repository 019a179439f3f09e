"""Movie files: their readers, and whether a file is complete."""

from __future__ import annotations

from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.java.readers import BioFormatsReader, ImageJReader
from idrstream.formats.make import make_reader
from idrstream.formats.reader import BaseReader, MovieInfo, MovieReader

__all__ = [
    "BaseReader",
    "BioFormatsReader",
    "CellH5Reader",
    "ImageJReader",
    "MovieInfo",
    "MovieReader",
    "make_reader",
]
