"""Movie to corrected frames: readers and illumination."""

from __future__ import annotations

from idrstream.preprocess.bioformats import BioFormatsReader
from idrstream.preprocess.cellh5 import CellH5Reader
from idrstream.preprocess.imagej import ImageJReader
from idrstream.preprocess.reader import MovieInfo, MovieReader, make_reader

__all__ = [
    "BioFormatsReader",
    "CellH5Reader",
    "ImageJReader",
    "MovieInfo",
    "MovieReader",
    "make_reader",
]
