"""The base class of preprocessors, and the adapter for a user's own objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.describe import describe_part, take_over
from idrstream.errors import ConfigError

if TYPE_CHECKING:
    from idrstream.records import Frame, Movie, Skipped


class BasePreprocessor:
    """Turn movies into corrected frames; everything but `process` has a default."""

    def process(self, movie: Movie) -> Sequence[Frame | Skipped]:
        """Return one result per wanted frame, in the order requested."""
        raise NotImplementedError

    def needs_plate_model(self, plate: str) -> bool:  # noqa: ARG002
        """Return whether `fit_plate` must be called before movies of a plate are processed."""
        return False

    def fit_plate(self, plate: str, movies: Iterable[Movie]) -> None:  # noqa: ARG002
        """Fit the illumination model of a plate; `movies` yields one movie at a time."""
        msg = "the illumination of this preprocessor is not corrected by plate"
        raise ConfigError(msg)

    def for_dry_run(self, folder: Path) -> BasePreprocessor:  # noqa: ARG002
        """Return a preprocessor that writes nothing outside `folder`."""
        return self

    def interrupt(self) -> None:
        """Stop at once what is running; called from another thread. Usable again afterwards."""

    def close(self) -> None:
        """Release all resources; usable again afterwards."""


def as_preprocessor(part: object) -> BasePreprocessor:
    """Return an object with ``process(movie)`` as a preprocessor.

    Parameters
    ----------
    part : object
        A `BasePreprocessor`, or any object with ``process(movie)``; methods that it lacks are
        those of `BasePreprocessor`.

    Raises
    ------
    ConfigError
        If it has no method ``process``.
    """
    if isinstance(part, BasePreprocessor):
        return part
    if not callable(getattr(part, "process", None)):
        msg = f"{type(part).__name__} is not a preprocessor: it has no method process(movie)"
        raise ConfigError(msg)
    return _Adapted(part)


class _Adapted(BasePreprocessor):
    """A preprocessor made of an object that has only some of the methods."""

    _METHODS = (
        "process", "needs_plate_model", "fit_plate", "for_dry_run", "interrupt", "close",
        "frames_needed", "reader",
    )  # fmt: skip

    def __init__(self, part: object) -> None:
        self._part = part
        take_over(self, part, self._METHODS)

    def describe(self) -> Mapping[str, Any]:
        """Return what changes a result."""
        return describe_part(self._part)
