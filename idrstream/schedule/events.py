"""What a running stream tells its listeners, and what it returns at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from idrstream.records import Batch, ImageTask, Published, Skipped

if TYPE_CHECKING:
    from idrstream.schedule.lanes import LaneReport
    from idrstream.schedule.result import RunResult
    from idrstream.screen import Plan


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """The stream begins; the plan says how much there is to do."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class BatchStarted:
    """A batch begins."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class StageStarted:
    """An image, or the whole batch when `task` is None, enters a stage."""

    stage: str
    batch: Batch
    task: ImageTask | None = None


@dataclass(frozen=True, slots=True)
class StageFinished:
    """An image, or the whole batch when `task` is None, leaves a stage, well or not.

    Attributes
    ----------
    stage : str
        ``download``, ``preprocess``, ``segment``, ``profile``, ``compile``; ``illumination``
        for the fit of a plate's model.
    batch : Batch
        The batch.
    task : ImageTask or None
        The image; None for stages of the whole batch.
    seconds : float
        Wall-clock time in the stage, without waiting for it.
    bytes : int or None
        Bytes that the stage put on the disk, where it knows: the movie of a download, the table
        of a compile.
    """

    stage: str
    batch: Batch
    task: ImageTask | None
    seconds: float
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ImageFinished:
    """All wanted frames of an image are in the DeepProfiler project or were skipped."""

    batch: Batch
    task: ImageTask
    nuclei: int
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class BatchPublished:
    """A batch's table is flushed to the disk under its final name; nothing is deleted yet.

    A journal that writes durably before it returns makes the batch count as done: what it was
    made of is deleted only when every listener has returned. `BatchFinished` follows.

    Attributes
    ----------
    batch : Batch
        The batch.
    published : Published
        Where its table is.
    nuclei : int
        Nuclei found in its frames.
    skipped : tuple of Skipped
        Images and frames left out.
    seconds : Mapping[str, float]
        Wall-clock time per stage.
    """

    batch: Batch
    published: Published
    nuclei: int
    skipped: tuple[Skipped, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchFinished:
    """A batch is published or failed, and its intermediates are gone.

    Attributes
    ----------
    batch : Batch
        The batch.
    published : Published or None
        Where its table is; None when the batch failed.
    nuclei : int
        Nuclei found in its frames.
    skipped : tuple of Skipped
        Images and frames left out.
    error_kind, error : str
        Class name and message of what sank the batch; empty when it was published.
    seconds : Mapping[str, float]
        Wall-clock time per stage.
    """

    batch: Batch
    published: Published | None
    nuclei: int
    skipped: tuple[Skipped, ...]
    error_kind: str = ""
    error: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LanesMeasured:
    """How busy the lanes have been so far; told every few seconds, also when nothing else is.

    Attributes
    ----------
    lanes : tuple of LaneReport
        The lanes.
    seconds : float
        Wall-clock time of the stream so far.
    """

    lanes: tuple[LaneReport, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class StreamFinished:
    """The stream is over.

    Attributes
    ----------
    result : RunResult
        What was done.
    stopped_by : str
        Why it ended before its plan did; empty when the plan was carried out.
    """

    result: RunResult
    stopped_by: str = ""


Event = (
    StreamStarted
    | BatchStarted
    | StageStarted
    | StageFinished
    | ImageFinished
    | BatchPublished
    | BatchFinished
    | LanesMeasured
    | StreamFinished
)
"""Anything that happens in a stream."""


class Listener(Protocol):
    """Anything that wants to hear what the stream does: progress bar, log, record.

    Events come one at a time, and those of one batch in this order: `BatchStarted`; for each
    image its stages and `ImageFinished`; the stages of the batch; `BatchPublished` unless it
    failed; `BatchFinished`. `LanesMeasured` comes in between. Several batches may be under way
    at once, and several images of each. A batch that is set back, because the disk budget is too
    small for all that are under way, is told as started a second time and then from the
    beginning.

    All calls come from the thread that runs the stream.
    """

    def __call__(self, event: Event) -> None:
        """Take note of one event.

        Raises
        ------
        UserError
            Ends the stream: what had to be noted durably could not be.
        """
        ...
