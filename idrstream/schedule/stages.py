"""What the scheduler requires of the stages that a batch passes through.

Abilities that a stage may lack have a default: a class that inherits from the protocol gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from idrstream.records import Frame, ImageTask, Movie, Nuclei, Published

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


class BatchProfiling(Interruptible, Protocol):
    """Profiles the frames of a batch, and compiles and publishes its table.

    One object serves one batch at a time. Frames come in any order and from any thread, but one
    at a time.
    """

    def open(self) -> None:
        """Prepare for a stream; delete what a crashed one left behind."""
        ...

    def add(self, frame: Frame, nuclei: Nuclei) -> None:
        """Add a frame and its nuclei to the batch."""
        ...

    def profile(self, tasks: Sequence[ImageTask]) -> None:
        """Compute the features of all nuclei; `tasks` gives the order of the table's rows."""
        ...

    def publish(self, number: int) -> Published:
        """Compile the table of the batch and move it to its final name."""
        ...

    def clear(self) -> None:
        """Delete everything that belongs to the batch."""
        ...

    def close(self) -> None:
        """Delete what belongs to a stream that ends; may be called in any state."""
        ...

    def expected_bytes(self, task: ImageTask) -> int:
        """Return how much disk space an image will probably need, features included."""
        ...

    def needed_bytes(self, frame: Frame, nuclei: Nuclei) -> int:
        """Return how much disk space a frame needs at most, features included."""
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
        Returns for each frame its nuclei or the error of its segmentation.
    profiling : sequence of BatchProfiling
        One for each batch that may be in progress at once.
    """

    downloader: Downloader
    wait_until_complete: Callable[[Movie], None]
    preprocessor: BasePreprocessor
    segment: Callable[[Sequence[Frame]], Sequence[Nuclei | SegmentationError]]
    profiling: Sequence[BatchProfiling]
