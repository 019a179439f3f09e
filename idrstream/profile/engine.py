"""What computes the features of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from idrstream.describe import adapt

if TYPE_CHECKING:
    from idrstream.profile.deepprofiler.project import DeepProfilerProject


@runtime_checkable
class Engine(Protocol):
    """Computes the features of all nuclei in a project; a subclass only needs `profile`.

    After `profile` returned, every frame with nuclei has a features file at
    ``project.features_path(image)``: an npz with ``features`` (n, d) float32, ``locations`` and
    ``metadata``, as DeepProfiler writes it. An engine may keep a model or a process from one
    batch to the next.
    """

    def profile(self, project: DeepProfilerProject) -> None:
        """Compute the features of the batch in `project`.

        Raises
        ------
        idrstream.errors.ProfileError
            When that failed, or features are missing or wrong.
        """
        ...

    def load(self, project: DeepProfilerProject) -> None:  # noqa: ARG002
        """Load the model, so that what is missing shows before the first download."""
        return

    def versions(self) -> dict[str, str]:
        """Return the versions of packages that it has in a Python of its own; none by default."""
        return {}

    def gpus(self) -> list[str]:
        """Return the GPUs that are used, such as ``cuda:0``; none by default."""
        return []

    def interrupt(self) -> None:
        """End a running `profile` soon; it raises `ProfileError`. Called from another thread."""
        return

    def close(self) -> None:
        """Free what the engine holds; it may be called twice."""
        return


def as_engine(given: object) -> Engine:
    """Return an object with ``profile(project)`` as an engine; see `adapt`."""
    return adapt(given, Engine, ("profile", "load", "versions", "gpus", "interrupt", "close"))  # type: ignore[type-abstract]
