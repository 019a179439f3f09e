"""Movie to corrected frames: readers and illumination."""

from __future__ import annotations

from idrstream.preprocess.bioformats import BioFormatsReader
from idrstream.preprocess.cellh5 import CellH5Reader
from idrstream.preprocess.factory import make_illumination, make_preprocessor
from idrstream.preprocess.illumination import (
    FrameContext,
    Illumination,
    IlluminationModel,
    NoIllumination,
    PerPlate,
    WholeMovie,
)
from idrstream.preprocess.imagej import ImageJReader
from idrstream.preprocess.legacy import BasicpyPreprocessor
from idrstream.preprocess.preprocessor import Preprocessor
from idrstream.preprocess.reader import MovieInfo, MovieReader, make_reader

__all__ = [
    "BasicpyPreprocessor",
    "BioFormatsReader",
    "CellH5Reader",
    "FrameContext",
    "Illumination",
    "IlluminationModel",
    "ImageJReader",
    "MovieInfo",
    "MovieReader",
    "NoIllumination",
    "PerPlate",
    "Preprocessor",
    "WholeMovie",
    "make_illumination",
    "make_preprocessor",
    "make_reader",
]
