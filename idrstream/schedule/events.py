"""The events that a running stream emits to its listeners."""

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
    """The stream started to run a plan."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class BatchStarted:
    """A batch started; a postponed one starts again."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class StageStarted:
    """An image, or the whole batch if `task` is None, entered a stage."""

    stage: str
    batch: Batch
    task: ImageTask | None = None


@dataclass(frozen=True, slots=True)
class StageFinished:
    """An image, or the whole batch if `task` is None, left a stage, successfully or not.

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
        Bytes that the stage wrote, if known: the movie of a download, the table of a compile.
    """

    stage: str
    batch: Batch
    task: ImageTask | None
    seconds: float
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ImageFinished:
    """All wanted frames of an image are in the project of its batch or were skipped."""

    batch: Batch
    task: ImageTask
    nuclei: int
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneBy:
    """The worker that computed a batch elsewhere.

    Attributes
    ----------
    worker, host, job : str
        The worker, its machine, and its job in a queue system if it is in one.
    begun : float
        When it began the batch, in seconds since 1970 by the clock of its machine.
    worked_s : float
        How long it took, others beside it included.
    loading_s : float
        How long the worker had taken to make and load its components, once.
    peak_bytes : int
        Largest memory of the worker up to then.
    """

    worker: str
    host: str = ""
    job: str = ""
    begun: float = 0.0
    worked_s: float = 0.0
    loading_s: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class BatchPublished:
    """The table of a batch is flushed to the disk under its final name; nothing is deleted yet.

    A journal that writes durably before it returns makes the batch count as done: its
    intermediates are deleted only after every listener has returned. `BatchFinished` follows,
    with the same attributes. With `more` the same event of another batch follows at once, and
    nothing is deleted before the last of them: it is enough to wait for the disk then. `by` is
    the worker that computed it, None for this process.
    """

    batch: Batch
    published: Published
    nuclei: int
    skipped: tuple[Skipped, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    more: bool = False
    by: DoneBy | None = None


@dataclass(frozen=True, slots=True)
class BatchFinished:
    """A batch is published or failed, and its intermediates are deleted.

    Attributes
    ----------
    batch : Batch
        The batch.
    published : Published or None
        Its table; None if the batch failed.
    nuclei : int
        Nuclei in its frames.
    skipped : tuple of Skipped
        Skipped images and frames.
    error_kind, error : str
        Class name and message of the error that failed the batch; empty if it was published.
    seconds : Mapping[str, float]
        Wall-clock time per stage.
    by : DoneBy or None
        The worker that computed it; None for this process.
    """

    batch: Batch
    published: Published | None
    nuclei: int
    skipped: tuple[Skipped, ...]
    error_kind: str = ""
    error: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    by: DoneBy | None = None


@dataclass(frozen=True, slots=True)
class LanesMeasured:
    """How busy the lanes have been in the `seconds` so far; emitted every few seconds."""

    lanes: tuple[LaneReport, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class StreamFinished:
    """The stream ended; `stopped_by` is why it did not finish its plan, or empty."""

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
    """Receives the events of a stream: a progress bar, log or journal.

    Events come one at a time, and those of one batch in this order: `BatchStarted`; for each
    image its stages and `ImageFinished`; the stages of the batch; `BatchPublished` unless it
    failed; `BatchFinished`. `LanesMeasured` comes in between. Several batches may be in progress
    at once, and several images of each. A batch that is postponed, because the disk budget is too
    small for all that are in progress, starts a second time, from the beginning.

    All calls come from the thread that runs the stream.
    """

    def __call__(self, event: Event) -> None:
        """Handle one event.

        Raises
        ------
        UserError
            Stops the stream: what had to be recorded durably could not be.
        """
        ...
