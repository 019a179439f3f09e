"""What a run of the stream did, kept small: a screen has a hundred thousand batches."""

from __future__ import annotations

from array import array
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, overload

from idrstream.records import Published, Skipped
from idrstream.schedule.disk.budget import DiskUse
from idrstream.schedule.events import BatchFinished
from idrstream.schedule.lanes import LaneReport, bottleneck
from idrstream.text import as_python

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.screen import Plan

_RECORD = Struct("<Iqq")  # kind, nuclei, rows; followed by the seconds and the table's digest


class _Kind(NamedTuple):
    """What most batches of a stream have in common."""

    stages: tuple[str, ...]
    path: tuple[str, str, str] = ("", "", "")
    columns: int = 0
    columns_sha256: str = ""


class BatchLog(Sequence[BatchFinished]):
    """The finished batches of a run, in the order of their numbers.

    A finished batch takes less than two hundred bytes; its `BatchFinished` is made when it is
    asked for, with the images that the plan names.

    Parameters
    ----------
    plan : Plan
        The plan of the batches.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._numbers = array("q")  # ascending
        self._records: list[bytes] = []
        self._kinds: dict[_Kind, int] = {}
        self._skipped: dict[int, tuple[Skipped, ...]] = {}
        self._errors: dict[int, tuple[str, str]] = {}

    def add(self, event: BatchFinished) -> None:
        """Add a batch."""
        number, published = event.batch.number, event.published
        kind, rows, digest = _Kind(tuple(event.seconds)), 0, ""
        if published is None:
            self._errors[number] = (event.error_kind, event.error)
        else:
            before, name, after = str(published.path).rpartition(f"batch_{number}")
            path = (before, name and "batch_{}", after)
            kind = _Kind(kind.stages, path, published.columns, published.columns_sha256)
            rows, digest = published.rows, published.sha256
        if event.skipped:
            self._skipped[number] = event.skipped
        head = _RECORD.pack(self._kinds.setdefault(kind, len(self._kinds)), event.nuclei, rows)
        position = bisect(self._numbers, number)
        self._numbers.insert(position, number)
        seconds = array("d", event.seconds.values()).tobytes()
        self._records.insert(position, head + seconds + digest.encode())

    def __len__(self) -> int:
        """Return how many batches are finished."""
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> BatchFinished: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[BatchFinished]: ...
    def __getitem__(self, index: int | slice) -> BatchFinished | Sequence[BatchFinished]:
        """Return one batch or several, by position in the order of the numbers."""
        positions = range(len(self))[index]
        if isinstance(positions, range):
            return tuple(map(self._event, positions))
        return self._event(positions)

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has equal batches."""
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # it grows

    def _event(self, position: int) -> BatchFinished:
        number, record = self._numbers[position], self._records[position]
        kind_number, nuclei, rows = _RECORD.unpack_from(record)
        kind = list(self._kinds)[kind_number]
        end = _RECORD.size + 8 * len(kind.stages)
        seconds = memoryview(record)[_RECORD.size : end].cast("d")
        published = None
        if number not in self._errors:
            before, name, after = kind.path
            path = Path(before + name.format(number) + after)
            digest = record[end:].decode()
            published = Published(path, rows, digest, kind.columns, kind.columns_sha256)
        error_kind, error = self._errors.get(number, ("", ""))
        return BatchFinished(
            batch=self._plan.batch(number),
            published=published,
            nuclei=nuclei,
            skipped=self._skipped.get(number, ()),
            error_kind=error_kind,
            error=error,
            seconds=dict(zip(kind.stages, seconds, strict=True)),
        )


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run of the stream did.

    Attributes
    ----------
    batches : sequence of BatchFinished
        The batches that were run, in order.
    plan : Plan
        The plan.
    seconds : float
        Wall-clock time of the run.
    lanes : tuple of LaneReport
        How busy each lane was.
    disk : DiskUse or None
        What the stream held under ``tmp_dir``.
    rows_repeated : int
        Rows of the table that were left out because they repeat others.
    rows_unusable : int
        Rows of the table that were left out because they cannot be used.
    """

    batches: Sequence[BatchFinished]
    plan: Plan
    seconds: float
    lanes: tuple[LaneReport, ...] = field(default=(), compare=False)
    disk: DiskUse | None = field(default=None, compare=False)
    rows_repeated: int = 0
    rows_unusable: int = 0

    @property
    def rows_left_out(self) -> int:
        """Number of rows of the table that were left out, for whatever reason."""
        return self.rows_repeated + self.rows_unusable

    @property
    def bottleneck(self) -> str:
        """Which lane limited the stream, and what to change; empty if nothing was processed."""
        return bottleneck(self.lanes) if self.nuclei else ""

    @property
    def remaining_batches(self) -> tuple[int, ...]:
        """Numbers of the planned batches that were not reached."""
        reached = {item.batch.number for item in self.batches}
        return tuple(number for number in self.plan.numbers if number not in reached)

    @property
    def nuclei(self) -> int:
        """Number of nuclei in the published tables."""
        return sum(batch.nuclei for batch in self.batches if batch.published)

    @property
    def lost_images(self) -> int:
        """Number of images that no published table has anything of, though they were tried."""
        return sum(
            len(batch.batch.tasks)
            if batch.published is None
            else len({item.task.row for item in batch.skipped if item.frame_number is None})
            for batch in self.batches
        )

    @property
    def missing_images(self) -> int:
        """Number of images that the source does not have."""
        return sum(item.is_missing for batch in self.batches for item in batch.skipped)

    @property
    def failed_batches(self) -> tuple[int, ...]:
        """Numbers of the batches that were not published."""
        return tuple(item.batch.number for item in self.batches if item.published is None)

    @property
    def rerun_batches(self) -> tuple[int, ...]:
        """Numbers of the batches in which anything failed, or that were not reached."""
        failed = (
            item.batch.number for item in self.batches if item.published is None or item.skipped
        )
        return tuple(sorted({*failed, *self.remaining_batches}))

    @property
    def rerun_call(self) -> str:
        """Python call that runs what failed or was not reached; empty if that is nothing."""
        numbers = self.rerun_batches
        if not numbers:
            return ""
        return (
            f"stream.run_stream(data_to_process, batch_size={self.plan.batch_size}, "
            f"batch_nums={as_python(numbers)})"
        )

    def failures(self) -> pd.DataFrame:
        """Return what failed as a table.

        Returns
        -------
        pandas.DataFrame
            Columns ``Batch, Plate, Well, Frame, Stage, Kind, Reason``; one row per skipped image
            or frame and per failed batch (Plate, Well and Frame empty).
        """
        import pandas as pd

        rows: list[tuple[object, ...]] = []
        for item in self.batches:
            number = item.batch.number
            rows += [
                (number, s.task.plate, s.task.well, s.frame_number, s.stage, s.kind, s.reason)
                for s in item.skipped
            ]
            if item.published is None:
                rows.append((number, "", "", None, "batch", item.error_kind, item.error))
        names = ["Batch", "Plate", "Well", "Frame", "Stage", "Kind", "Reason"]
        return pd.DataFrame(rows, columns=names).astype({"Frame": "Int64"})
