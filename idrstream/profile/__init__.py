"""Nuclei to features: the DeepProfiler project folder and the engines that work on it."""

from __future__ import annotations

from idrstream.profile.checkpoint import Checkpoint
from idrstream.profile.config import ProfileConfig
from idrstream.profile.engine import CommandEngine, Engine
from idrstream.profile.outputs import check_features
from idrstream.profile.project import DeepProfilerProject, ProjectImage

__all__ = [
    "Checkpoint",
    "CommandEngine",
    "DeepProfilerProject",
    "Engine",
    "ProfileConfig",
    "ProjectImage",
    "check_features",
]
