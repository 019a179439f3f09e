"""What computes the features of objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from idrstream.describe import adapt

if TYPE_CHECKING:
    from idrstream.records import Features, Frame, Objects

_METHODS = (
    "profile",
    "check_channels",
    "load",
    "versions",
    "gpus",
    "disk_bytes",
    "in_folder",
    "interrupt",
    "close",
)


@runtime_checkable
class FeatureEngine(Protocol):
    """Computes the features of objects in frames; a subclass only needs `profile`.

    An engine may keep a model or a process from one call to the next. The values of an object
    depend on its frame and its objects only, not on what else is in the call;
    `idrstream.testing.FeatureEngineConformance` tests what is promised here.
    """

    def profile(self, frames: Sequence[Frame], objects: Sequence[Objects]) -> Sequence[Features]:
        """Return the features of the objects of each frame.

        Parameters
        ----------
        frames : sequence of Frame
            Frames of any sizes; their pixels are not changed.
        objects : sequence of Objects
            For each frame its objects; may be none. An engine that looks at one kind takes them
            as they are; one that looks at cells and cytoplasm, too, takes `Objects.kinds`.

        Returns
        -------
        sequence of Features
            One per frame, in order, with a row per object, all with the same columns, also
            those of frames without objects. A feature that is not defined for an object is NaN;
            none is infinite. A column of another kind of object begins with its name, such as
            ``Cells_``.

        Raises
        ------
        idrstream.errors.ProfileError
            If that failed.
        """
        ...

    def check_channels(self, names: Sequence[str]) -> None:  # noqa: ARG002
        """Raise `ConfigError` if frames of these channels cannot be profiled; by default not."""
        return

    def load(self) -> None:
        """Load the model, so that what is missing shows before the first download."""
        return

    def versions(self) -> dict[str, str]:
        """Return the versions of packages that it has in a Python of its own; none by default."""
        return {}

    def gpus(self) -> list[str]:
        """Return the GPUs that are used, such as ``cuda:0``; none by default."""
        return []

    def disk_bytes(self, frame: Frame, objects: Objects) -> int:  # noqa: ARG002
        """Return how much disk space a frame takes at most while `profile` runs."""
        return 0

    def in_folder(self, folder: Path) -> FeatureEngine:  # noqa: ARG002
        """Return an engine that writes its files to another folder; by default it writes none."""
        return self

    def interrupt(self) -> None:
        """End a running `profile` soon; it raises `ProfileError`. Called from another thread."""
        return

    def close(self) -> None:
        """Release what the engine holds; it may be called twice."""
        return


def as_engine(given: object) -> FeatureEngine:
    """Return an object with ``profile(frames, objects)`` as an engine; see `adapt`."""
    return adapt(given, FeatureEngine, _METHODS)  # type: ignore[type-abstract]
