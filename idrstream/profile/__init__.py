"""Objects to features: the engines, their model, and DeepProfiler's project folder."""

from __future__ import annotations

from idrstream.profile.checkpoint import Checkpoint
from idrstream.profile.checks import check_features
from idrstream.profile.classical.engine import ClassicalEngine
from idrstream.profile.config import ProfileConfig
from idrstream.profile.deepprofiler.engine import DeepProfilerEngine
from idrstream.profile.deepprofiler.project import DeepProfilerProject, ProjectImage
from idrstream.profile.make import make_engine
from idrstream.profile.model import DeepModel
from idrstream.profile.protocol import FeatureEngine
from idrstream.profile.several import OfOneKind, SeveralEngines
from idrstream.profile.torch.engine import TorchEngine

__all__ = [
    "Checkpoint",
    "ClassicalEngine",
    "DeepModel",
    "DeepProfilerEngine",
    "DeepProfilerProject",
    "FeatureEngine",
    "OfOneKind",
    "ProfileConfig",
    "ProjectImage",
    "SeveralEngines",
    "TorchEngine",
    "check_features",
    "make_engine",
]
