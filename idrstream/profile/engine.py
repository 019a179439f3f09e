"""What computes the features of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from idrstream.describe import describe_part, take_over
from idrstream.errors import ConfigError

if TYPE_CHECKING:
    from idrstream.profile.deepprofiler.project import DeepProfilerProject


@runtime_checkable
class Engine(Protocol):
    """Computes the features of all nuclei in a project.

    After `profile` returned, every frame with nuclei has a features file at
    ``project.features_path(image)``: an npz with ``features`` (n, d) float32, ``locations`` and
    ``metadata``, as DeepProfiler writes it. An engine may keep a model or a process from one
    batch to the next. `BaseEngine` has defaults for everything but `profile`.
    """

    def profile(self, project: DeepProfilerProject) -> None:
        """Compute the features of the batch in `project`.

        Raises
        ------
        idrstream.errors.ProfileError
            When that failed, or features are missing or wrong.
        """
        ...

    def load(self, project: DeepProfilerProject) -> None:
        """Load the model, so that what is missing shows before the first download."""
        ...

    def gpus(self) -> list[str]:
        """Return the GPUs that the engine uses, such as ``cuda:0``."""
        ...

    def interrupt(self) -> None:
        """End a running `profile` soon; it raises `ProfileError`. Called from another thread."""
        ...

    def close(self) -> None:
        """Free what the engine holds; it may be called twice."""
        ...


class BaseEngine:
    """Defaults for an engine that needs no loading, uses no GPU and cannot be interrupted."""

    def load(self, project: DeepProfilerProject) -> None:
        """Load nothing before the first batch."""

    def gpus(self) -> list[str]:
        """Return no GPU."""
        return []

    def interrupt(self) -> None:
        """Let a running batch finish."""

    def close(self) -> None:
        """Hold nothing."""


@runtime_checkable
class _HasProfile(Protocol):
    def profile(self, project: DeepProfilerProject) -> None: ...


class _Adapted(BaseEngine):
    """An engine made of an object that has ``profile`` but not all methods."""

    def __init__(self, given: _HasProfile) -> None:
        self.given = given
        take_over(self, given, ("load", "gpus", "interrupt", "close"))

    def profile(self, project: DeepProfilerProject) -> None:
        self.given.profile(project)

    def describe(self) -> Mapping[str, Any]:
        return describe_part(self.given)


def as_engine(given: object) -> Engine:
    """Return an object as an engine.

    Parameters
    ----------
    given : object
        An `Engine`, or an object with ``profile(project)``, which gets the defaults of
        `BaseEngine` for the methods that it lacks.

    Raises
    ------
    idrstream.errors.ConfigError
        When it has no ``profile``.
    """
    if isinstance(given, Engine):
        return given
    if isinstance(given, _HasProfile):
        return _Adapted(given)
    msg = f"{type(given).__name__} is not an engine: it has no profile(project)"
    raise ConfigError(msg)
