"""Which engine the settings mean."""

from __future__ import annotations

from idrstream.config import ProfileSettings, checked
from idrstream.profile.deepprofiler.engine import DeepProfilerEngine
from idrstream.profile.engine import Engine, as_engine
from idrstream.profile.torch.engine import TorchEngine


def make_engine(settings: object = None) -> Engine:
    """Return the engine that settings mean.

    Parameters
    ----------
    settings : ProfileSettings, Engine, str or object, optional
        ``[profile]`` of the settings; an object with
        ``profile(project)``; or the name of an engine with default settings, ``"torch"``
        (PyTorch, in this process) or ``"deepprofiler"`` (in a process of its own).

    Raises
    ------
    idrstream.errors.ConfigError
        When there is no such engine, or the object is none.
    """
    if isinstance(settings, str):
        settings = checked(ProfileSettings, {"engine": settings}, "engine")
    if settings is None or isinstance(settings, ProfileSettings):
        settings = settings or ProfileSettings()
        return TorchEngine(settings) if settings.engine == "torch" else DeepProfilerEngine(settings)
    return as_engine(settings)
