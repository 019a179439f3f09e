"""The recorded plan of an output folder, the requested plan of a call, and the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from idrstream.config import RunOptions
from idrstream.folder.identity import image_lines, images_sha256, result_columns
from idrstream.folder.states import BatchState, ImageState
from idrstream.records import ImageTask, frames_text

PlanChange = Literal["first", "same", "grown", "replanned", "forced"]


class RecordedBatch(NamedTuple):
    """A batch in the journal."""

    state: BatchState
    images: int
    failed_images: int = 0


class RecordedImage(NamedTuple):
    """An image of a batch in the journal."""

    digest: bytes
    plate: str
    well: str
    well_number: int
    site: int
    frames: tuple[int, ...]
    state: ImageState = ImageState.PLANNED
    nuclei: int | None = None
    size_bytes: int | None = None
    every: int = 0

    @property
    def frames_text(self) -> str:
        """Its frames as a table has them, or those that its movie turned out to have."""
        return frames_text(self.frames, self.every)


@dataclass(frozen=True, slots=True)
class RecordedPlan:
    """The plan that an output folder follows.

    Attributes
    ----------
    batch_size : int
        Images per batch.
    images_sha256 : str
        Digest of its images, in the order of its table.
    identity : Mapping
        Description of its settings.
    in_order : bool
        Whether batch *n* is the rows ``n * batch_size`` and following; not after it grew.
    batches : Mapping[int, RecordedBatch]
        Its batches by number.
    next_number : int
        First number that was never used.
    """

    batch_size: int
    images_sha256: str
    identity: Mapping[str, Any]
    in_order: bool
    batches: Mapping[int, RecordedBatch]
    next_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedPlan:
    """The plan that a call requests.

    Attributes
    ----------
    tasks : tuple of ImageTask
        All images of the table.
    lines : tuple of str
        Their identity by content.
    identity : Mapping
        Description of the settings.
    images_sha256 : str
        Digest of all lines.
    options : RunOptions
        Options of the call: batch size, choice of batches, how to treat earlier results.
    """

    tasks: tuple[ImageTask, ...]
    lines: tuple[str, ...]
    identity: Mapping[str, Any]
    images_sha256: str
    options: RunOptions = field(default_factory=RunOptions)

    @property
    def batch_size(self) -> int:
        """Images per batch."""
        return self.options.batch_size

    @classmethod
    def of(
        cls,
        tasks: tuple[ImageTask, ...],
        identity: Mapping[str, Any],
        options: RunOptions,
        columns: Sequence[str] | None = None,
    ) -> RequestedPlan:
        """Return the plan of a call; `columns` of the table are those that reach the result."""
        if columns is None:
            columns = result_columns(options.extra_metadata)
        lines = tuple(image_lines(tasks, columns))
        return cls(
            tasks=tasks,
            lines=lines,
            identity=identity,
            images_sha256=images_sha256(lines),
            options=options,
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What a run does with an output folder.

    Attributes
    ----------
    refused : str
        Why the run is refused, and what can be done; empty otherwise.
    plan_change : str
        What happens to the folder's plan.
    batches : Mapping[int, tuple of ImageTask]
        The plan: every batch by number.
    run : tuple of int
        Batches to run.
    done : tuple of int
        Chosen batches that are skipped because they are done.
    left : tuple of int
        Chosen batches that are skipped because they failed before.
    added, dropped : tuple of int
        Batches that the plan gains, and those that it loses.
    in_order : bool
        Whether batch *n* is the rows ``n * batch_size`` and following.
    """

    refused: str = ""
    plan_change: PlanChange = "same"
    batches: Mapping[int, tuple[ImageTask, ...]] = field(default_factory=dict)
    run: tuple[int, ...] = ()
    done: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    in_order: bool = True
