"""What an output folder follows, what a start wants, and what becomes of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from idrstream.folder.identity import image_lines, images_sha256
from idrstream.records import ImageTask

How = Literal["first", "same", "grown", "replanned", "forced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """How a start treats what is there already; everything is off by default.

    Attributes
    ----------
    replan : bool
        Cut the images that are not done anew; what is done stays in its files.
    force : bool
        Take the new plan whatever the folder was begun with: what does not belong to it is
        deleted and computed again.
    force_recompute : bool
        Compute the chosen batches again although they are done.
    ignore_invalid_inputs : bool
        Leave rows of the table that cannot be used out and record them, instead of refusing
        the table.
    ignore_failed_outputs : bool
        Leave batches that failed before alone.
    """

    replan: bool = False
    force: bool = False
    force_recompute: bool = False
    ignore_invalid_inputs: bool = False
    ignore_failed_outputs: bool = False


class KnownBatch(NamedTuple):
    """What the journal says of a batch."""

    state: str
    images: int
    failed_images: int = 0


class KnownImage(NamedTuple):
    """What the journal says of an image of a batch."""

    digest: bytes
    plate: str
    well: str
    well_number: int
    site: int
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KnownPlan:
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
    batches : Mapping[int, KnownBatch]
        Its batches by number.
    next_number : int
        First number that no batch ever had.
    """

    batch_size: int
    images_sha256: str
    identity: Mapping[str, Any]
    in_order: bool
    batches: Mapping[int, KnownBatch]
    next_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the caller wants done.

    Attributes
    ----------
    tasks : tuple of ImageTask
        All images of the table.
    lines : tuple of str
        What each of them is, by content.
    identity : Mapping
        Description of the settings.
    images_sha256 : str
        Digest of all lines.
    batch_size : int
        Images per batch.
    start_batch : int
        First batch to run.
    batch_nums : "all" or tuple of int
        Batches to run.
    modes : Modes
        How to treat what is there.
    """

    tasks: tuple[ImageTask, ...]
    lines: tuple[str, ...]
    identity: Mapping[str, Any]
    images_sha256: str
    batch_size: int = 10
    start_batch: int = 0
    batch_nums: Literal["all"] | tuple[int, ...] = "all"
    modes: Modes = field(default_factory=Modes)

    @classmethod
    def of(
        cls,
        tasks: tuple[ImageTask, ...],
        identity: Mapping[str, Any],
        columns: Sequence[str] = (),
        **options: Any,
    ) -> Wanted:
        """Describe what is wanted of a table; `columns` are those that reach the result."""
        lines = tuple(image_lines(tasks, columns))
        return cls(
            tasks=tasks,
            lines=lines,
            identity=identity,
            images_sha256=images_sha256(lines),
            **options,
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done.

    Attributes
    ----------
    refused : str
        Why nothing is done, and what can be; empty when something is.
    how : str
        What becomes of the folder's plan.
    batches : Mapping[int, tuple of ImageTask]
        The plan: every batch by number.
    run : tuple of int
        Batches to run.
    done : tuple of int
        Chosen batches that are left alone because they are done and proven.
    left : tuple of int
        Chosen batches that are left alone because they failed before.
    added, dropped : tuple of int
        Batches that the plan gains, and those that it loses.
    in_order : bool
        Whether batch *n* is the rows ``n * batch_size`` and following.
    """

    refused: str = ""
    how: How = "same"
    batches: Mapping[int, tuple[ImageTask, ...]] = field(default_factory=dict)
    run: tuple[int, ...] = ()
    done: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    in_order: bool = True
