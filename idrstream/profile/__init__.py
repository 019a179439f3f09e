"""Nuclei to features: the DeepProfiler project folder and the engines that work on it."""

from __future__ import annotations

from idrstream.profile.checkpoint import Checkpoint
from idrstream.profile.deepprofiler.config import ProfileConfig
from idrstream.profile.deepprofiler.engine import DeepProfilerEngine
from idrstream.profile.deepprofiler.outputs import check_features
from idrstream.profile.deepprofiler.project import DeepProfilerProject, ProjectImage
from idrstream.profile.engine import Engine
from idrstream.profile.make import make_engine
from idrstream.profile.torch.engine import TorchEngine

__all__ = [
    "Checkpoint",
    "DeepProfilerEngine",
    "DeepProfilerProject",
    "Engine",
    "ProfileConfig",
    "ProjectImage",
    "TorchEngine",
    "check_features",
    "make_engine",
]
