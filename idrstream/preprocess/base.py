"""The base class of preprocessors, and the adapter for a user's own objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.describe import adapt
from idrstream.errors import ConfigError
from idrstream.formats.reader import MovieReader, as_reader

if TYPE_CHECKING:
    from idrstream.formats.reader import BaseReader, MovieInfo
    from idrstream.records import Frame, ImageTask, Movie, Skipped


class BasePreprocessor:
    """Turn movies into corrected frames; everything but `process` has a default."""

    def __init_subclass__(cls, **options: object) -> None:
        """Have a class that overrides `process` alone called by it."""
        super().__init_subclass__(**options)
        if "process" in vars(cls) and "iterate" not in vars(cls):
            cls.resolve = BasePreprocessor.resolve  # type: ignore[method-assign]
            cls.iterate = BasePreprocessor.iterate  # type: ignore[method-assign]

    def process(self, movie: Movie) -> Sequence[Frame | Skipped]:
        """Return one result per wanted frame, in the order requested."""
        raise NotImplementedError

    def resolve(self, movie: Movie) -> ImageTask:
        """Return the image of a movie with the frames that the movie has."""
        return movie.task

    def iterate(self, movie: Movie, at_once: int) -> Iterator[Sequence[Frame | Skipped]]:  # noqa: ARG002
        """Yield the results of `process` in their order, at most `at_once` frames at a time.

        `movie` has the task that `resolve` returned. Here `process` is called for all frames.
        """
        yield self.process(movie)

    channel_names: Sequence[str] = ()
    """Names of the channels of all frames; empty if they are not known beforehand."""

    reader: BaseReader | None = None
    """What reads the files, with what it selects of them; None if that is not known."""

    keys: Sequence[tuple[str, str]] = ()
    """Several channels by name, each with its number, from 0, or its name in the table."""

    all_channels: bool = False
    """Whether all channels and planes of a file are read, whatever `keys` and `reader` say."""

    chooses_frames: bool = False
    """Whether `frames_needed` says what is read; else whole files are downloaded."""

    def frames_needed(self, task: ImageTask, info: MovieInfo) -> Sequence[int]:  # noqa: ARG002
        """Return the frames that `process` reads of a movie, counted from 1."""
        return range(1, info.n_frames + 1)

    def load(self) -> None:
        """Check that what `process` needs is installed; called before a stream starts."""

    def needs_plate_model(self, plate: str) -> bool:  # noqa: ARG002
        """Return whether `fit_plate` must be called before movies of a plate are processed."""
        return False

    def fit_plate(self, plate: str, movies: Iterable[Movie]) -> None:  # noqa: ARG002
        """Fit the illumination model of a plate; `movies` yields one movie at a time."""
        msg = "the illumination of this preprocessor is not corrected by plate"
        raise ConfigError(msg)

    def uncorrected(self) -> BasePreprocessor:
        """Return a preprocessor of the same frames that corrects nothing; by default this one."""
        return self

    def for_dry_run(self, folder: Path) -> BasePreprocessor:  # noqa: ARG002
        """Return a preprocessor that writes nothing outside `folder`."""
        return self

    def interrupt(self) -> None:
        """Stop at once what is running; called from another thread. Usable again afterwards."""

    def close(self) -> None:
        """Release all resources; usable again afterwards."""


def as_preprocessor(given: object) -> BasePreprocessor:
    """Return an object with ``process(movie)`` as a preprocessor; see `adapt`."""
    methods = (
        "process", "resolve", "iterate", "load", "needs_plate_model", "fit_plate", "uncorrected",
        "for_dry_run", "interrupt", "close", "frames_needed", "channel_names", "keys",
        "all_channels",
    )  # fmt: skip
    reader = getattr(given, "reader", None)
    own = {"reader": as_reader(reader)} if isinstance(reader, MovieReader) else {}
    chooses = hasattr(given, "frames_needed")
    return adapt(given, BasePreprocessor, methods, chooses_frames=chooses, **own)
