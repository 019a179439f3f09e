"""Which engine the settings mean."""

from __future__ import annotations

from idrstream.config import ProfileSettings, checked
from idrstream.errors import ConfigError
from idrstream.profile.deepprofiler.engine import DeepProfilerEngine
from idrstream.profile.engine import Engine
from idrstream.profile.torch.engine import TorchEngine


def make_engine(settings: ProfileSettings | Engine | str | None = None) -> Engine:
    """Return the engine that settings mean.

    Parameters
    ----------
    settings : ProfileSettings, Engine or str, optional
        ``[profile]`` of the settings; a ready engine; or the name of one with default settings,
        ``"torch"`` (PyTorch, in this process) or ``"deepprofiler"`` (in a process of its own).

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
    given: object = settings
    if isinstance(given, Engine):
        return given
    msg = (
        f"{type(given).__name__} is not an engine: it needs profile(project) and the methods of "
        "idrstream.profile.BaseEngine, which has defaults for all others"
    )
    raise ConfigError(msg)
