"""Movies to corrected frames."""

from __future__ import annotations

from idrstream.preprocess.base import BasePreprocessor, as_preprocessor
from idrstream.preprocess.channels import ChannelPreprocessor
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
from idrstream.preprocess.selectors import check_selectors

__all__ = [
    "BasePreprocessor",
    "ChannelPreprocessor",
    "FrameContext",
    "Illumination",
    "IlluminationModel",
    "NoIllumination",
    "PerPlate",
    "Preprocessor",
    "WholeMovie",
    "as_preprocessor",
    "check_selectors",
    "make_illumination",
    "make_preprocessor",
]
