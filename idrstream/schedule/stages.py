"""The rooms that a batch walks through, as the runner sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from idrstream.records import Frame, ImageTask, Movie, Nuclei, Published

if TYPE_CHECKING:
    from idrstream.download import Downloader
    from idrstream.errors import SegmentationError
    from idrstream.preprocess.base import BasePreprocessor

SegmentMany = Callable[[Sequence[Frame]], "Sequence[Nuclei | SegmentationError]"]


class BatchProfiling(Protocol):
    """The profile, compile and publish rooms, as the runner sees them.

    One object serves one batch at a time. Frames come in any order and from any thread, but one
    at a time.
    """

    def open(self) -> None:
        """Make ready for a stream; what one that died left behind is deleted."""
        ...

    def add(self, frame: Frame, nuclei: Nuclei) -> None:
        """Take a frame and its nuclei into the batch."""
        ...

    def profile(self, tasks: Sequence[ImageTask]) -> None:
        """Compute the features of all nuclei; `tasks` says the order of the table's rows."""
        ...

    def publish(self, number: int) -> Published:
        """Compile the batch's table and put it in place under its final name."""
        ...

    def clear(self) -> None:
        """Delete everything that belongs to the batch."""
        ...

    def close(self) -> None:
        """Delete what belongs to a stream that ends; may be called in any state."""
        ...

    def expected_bytes(self, task: ImageTask) -> int:
        """Return how much of the disk an image will probably need, features included."""
        ...

    def needed_bytes(self, frame: Frame, nuclei: Nuclei) -> int:
        """Return how much of the disk a frame needs at most, features included."""
        ...


@dataclass(frozen=True, slots=True)
class Rooms:
    """The parts that batches walk through.

    A part may offer ``interrupt()``, which ends at once what it is doing, called from another
    thread: a download, a helper process. It must work as before when it is used again.

    Attributes
    ----------
    downloader : Downloader
        May offer ``size(task)``: bytes it will put on the disk, or None when it cannot tell.
    wait_until_complete : callable
        Returns when a movie is proven completely written.
    preprocessor : BasePreprocessor
        Called from as many threads as there are preprocess workers.
    segment : callable
        Frame to nuclei; called from one thread.
    profiling : sequence of BatchProfiling
        One slot for each batch that may be under way at once.
    segment_many : callable, optional
        Several frames at once to the same nuclei, or the error of each.
    """

    downloader: Downloader
    wait_until_complete: Callable[[Movie], None]
    preprocessor: BasePreprocessor
    segment: Callable[[Frame], Nuclei]
    profiling: Sequence[BatchProfiling]
    segment_many: SegmentMany | None = None
