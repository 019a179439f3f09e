"""Movie to corrected frames: readers and illumination."""

from __future__ import annotations

from idrstream.preprocess.factory import make_illumination, make_preprocessor
from idrstream.preprocess.illumination import (
    FrameContext,
    Illumination,
    IlluminationModel,
    NoIllumination,
    PerPlate,
    WholeMovie,
)
from idrstream.preprocess.legacy import BasicpyPreprocessor
from idrstream.preprocess.preprocessor import Preprocessor

__all__ = [
    "BasicpyPreprocessor",
    "FrameContext",
    "Illumination",
    "IlluminationModel",
    "NoIllumination",
    "PerPlate",
    "Preprocessor",
    "WholeMovie",
    "make_illumination",
    "make_preprocessor",
]
