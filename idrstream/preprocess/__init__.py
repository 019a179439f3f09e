"""Movies to corrected frames."""

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
from idrstream.preprocess.preprocessor import Preprocessor
from idrstream.preprocess.protocol import BasePreprocessor, Preprocessing, as_preprocessor

__all__ = [
    "BasePreprocessor",
    "FrameContext",
    "Illumination",
    "IlluminationModel",
    "NoIllumination",
    "PerPlate",
    "Preprocessing",
    "Preprocessor",
    "WholeMovie",
    "as_preprocessor",
    "make_illumination",
    "make_preprocessor",
]
