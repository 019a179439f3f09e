"""Which engine the settings mean."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from idrstream.config import ProfileSettings, checked
from idrstream.errors import ConfigError
from idrstream.plugins import load_plugin
from idrstream.profile.classical.engine import ClassicalEngine
from idrstream.profile.deepprofiler.engine import DeepProfilerEngine
from idrstream.profile.model import DeepModel
from idrstream.profile.protocol import FeatureEngine, as_engine
from idrstream.profile.several import OfOneKind, SeveralEngines
from idrstream.profile.torch.engine import TorchEngine
from idrstream.profile.torch.model_folder import ModelFolder

ENGINES = ("torch", "deepprofiler", "classical", "model")
"""Names of the engines that come with idrstream."""


def make_engine(settings: object, model: DeepModel, folder: Path) -> FeatureEngine:
    """Return the engine that settings mean.

    Parameters
    ----------
    settings : ProfileSettings, FeatureEngine, str or object
        ``[profile]`` of the settings; an object with ``profile(frames, objects)``; or the name of
        an engine with default settings: ``"torch"`` (PyTorch, in this process), ``"deepprofiler"``
        (in a process of its own), or one that an installed package brings.
    model : DeepModel
        Configuration and checkpoint.
    folder : Path
        Where DeepProfiler has its project, if it is used.

    Raises
    ------
    idrstream.errors.ConfigError
        When there is no such engine, or the object is none.
    """
    if isinstance(settings, str):
        settings = checked(ProfileSettings, {"engine": settings}, "engine")
    if not isinstance(settings, ProfileSettings):
        return as_engine(settings)
    if settings.engines:
        engines = {
            name: make_engine(_only(settings, name), model, folder) for name in settings.engines
        }
        return SeveralEngines(engines)
    engine: FeatureEngine
    if settings.engine == "classical":
        return ClassicalEngine(settings)
    if settings.engine == "torch":
        engine = TorchEngine(model, settings)
    elif settings.engine == "deepprofiler":
        engine = DeepProfilerEngine(model, folder, settings)
    elif settings.engine == "model":
        engine = _model_engine(settings)
    else:
        return as_engine(load_plugin("engine", settings.engine, ENGINES))
    return engine if settings.deep_objects == "nuclei" else OfOneKind(engine, "Cells")


def _only(settings: ProfileSettings, engine: str) -> ProfileSettings:
    """Return settings of one of several engines."""
    values = {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)}
    return checked(ProfileSettings, values | {"engine": engine, "engines": ()}, "engines")


def _model_engine(settings: ProfileSettings) -> TorchEngine:
    if settings.model_folder is None:
        raise ConfigError(
            'engine is "model": set model_folder to a folder with model.pt2 or model.pt and '
            "model.toml"
        )
    folder = ModelFolder.read(settings.model_folder)
    crops_at_once = settings.crops_at_once or folder.spec.crops_at_once
    return TorchEngine(folder, dataclasses.replace(settings, crops_at_once=crops_at_once))
