"""What the scheduler requires of the stages that a batch passes through.

Abilities that a stage may lack have a default: a class that inherits from the protocol gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from idrstream.records import Frame, ImageTask, Movie, Objects, Published

if TYPE_CHECKING:
    from idrstream.download import Downloader
    from idrstream.errors import SegmentationError
    from idrstream.preprocess import BasePreprocessor


@runtime_checkable
class Interruptible(Protocol):
    """A component whose work can be interrupted."""

    def interrupt(self) -> None:
        """Stop what is running at once; called from another thread. Usable again afterwards."""
        return


class DiskNeed(NamedTuple):
    """Disk space that a frame takes at most.

    Attributes
    ----------
    kept_bytes : int
        Until its batch is published.
    profiling_bytes : int
        Beside these while it is profiled.
    """

    kept_bytes: int
    profiling_bytes: int


class BatchProfiling(Interruptible, Protocol):
    """Profiles the frames of a batch, and compiles and publishes its table.

    One object serves one batch at a time. Frames come in any order and from any thread, some at a
    time.
    """

    def open(self) -> None:
        """Prepare for a stream; delete what a crashed one left behind."""
        ...

    def profile(
        self, frames: Sequence[Frame], objects: Sequence[Objects]
    ) -> Sequence[Exception | None]:
        """Compute the features of the objects of some frames, and add both to the batch.

        Return for each frame None, or why it is left out of the batch.
        """
        ...

    def publish(self, number: int, tasks: Sequence[ImageTask]) -> Published:
        """Compile the table of the batch and move it to its final name.

        `tasks` gives the order of the rows.
        """
        ...

    def clear(self) -> None:
        """Delete everything that belongs to the batch."""
        ...

    def close(self) -> None:
        """Delete what belongs to a stream that ends; may be called in any state."""
        ...

    def expected_need(self, task: ImageTask) -> DiskNeed:
        """Return how much disk space all frames of an image will probably need."""
        ...

    def disk_need(self, frame: Frame, objects: Objects) -> DiskNeed:
        """Return how much disk space a frame needs at most."""
        ...


class PlateFits(Protocol):
    """What is estimated once for each plate, before its images are processed."""

    def needs_plate_model(self, plate: str) -> bool:
        """Return whether `fit_plate` must be called before images of a plate are processed."""
        ...

    def fit_plate(self, plate: str, movies: Iterable[Movie]) -> None:
        """Make the estimates of a plate; `movies` yields one movie at a time."""
        ...


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages that batches pass through.

    Attributes
    ----------
    downloader : Downloader
        Downloads the movies.
    wait_until_complete : callable
        Returns once a movie is verified to be completely written.
    preprocessor : BasePreprocessor
        Called from as many threads as there are preprocess workers.
    segment : callable
        Returns for each frame its objects or the error of its segmentation.
    profiling : sequence of BatchProfiling
        One for each batch that may be in progress at once.
    estimates : PlateFits, optional
        What is estimated by plate, if it is more than the preprocessor's own.
    """

    downloader: Downloader
    wait_until_complete: Callable[[Movie], None]
    preprocessor: BasePreprocessor
    segment: Callable[[Sequence[Frame]], Sequence[Objects | SegmentationError]]
    profiling: Sequence[BatchProfiling]
    estimates: PlateFits | None = None

    @property
    def plates(self) -> PlateFits:
        """What is estimated by plate."""
        return self.estimates or self.preprocessor
