"""What a run of the stream did, kept small: a screen has a hundred thousand batches."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, overload

from idrstream.records import Published, Skipped
from idrstream.schedule.disk.budget import DiskUse
from idrstream.schedule.events import BatchFinished
from idrstream.schedule.lanes import LaneReport, bottleneck
from idrstream.text import as_python

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.screen import Plan

_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Kind:
    """What most batches of a stream have in common."""

    stages: tuple[str, ...]
    folder: Path | None
    suffix: str
    columns: int
    columns_sha256: str


class BatchLog(Sequence[BatchFinished]):
    """The finished batches of a run, in the order of their numbers.

    A finished batch takes about a hundred bytes; its `BatchFinished` is made when it is asked
    for, with the images that the plan names.

    Parameters
    ----------
    plan : Plan
        Whose batches they are.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._numbers = array("q")
        self._nuclei = array("q")
        self._rows = array("q")
        self._digests = bytearray()
        self._kind_of = array("H")
        self._kinds: dict[_Kind, int] = {}
        self._first_second = array("q")
        self._seconds = array("d")
        self._skipped: dict[int, tuple[Skipped, ...]] = {}
        self._errors: dict[int, tuple[str, str]] = {}
        self._whole: dict[int, Published] = {}  # those that are unlike the others
        self._sorted: list[int] | None = None

    @classmethod
    def of(cls, plan: Plan, batches: Iterable[BatchFinished]) -> BatchLog:
        """Return a log of batches."""
        made = cls(plan)
        for batch in batches:
            made.add(batch)
        return made

    def add(self, event: BatchFinished) -> None:
        """Note a batch."""
        place, number, published = len(self._numbers), event.batch.number, event.published
        kind = _kind(event)
        digest = bytes(_DIGEST_BYTES)
        if published is not None:
            try:
                digest = bytes.fromhex(published.sha256)
            except ValueError:
                digest = b""
            if len(digest) != _DIGEST_BYTES or _path(kind, number) != published.path:
                self._whole[place], digest = published, bytes(_DIGEST_BYTES)
        self._numbers.append(number)
        self._nuclei.append(event.nuclei)
        self._rows.append(-1 if published is None else published.rows)
        self._digests += digest
        self._kind_of.append(self._kinds.setdefault(kind, len(self._kinds)))
        self._first_second.append(len(self._seconds))
        self._seconds.extend(event.seconds.values())
        if event.skipped:
            self._skipped[place] = event.skipped
        if published is None:
            self._errors[place] = (event.error_kind, event.error)
        self._sorted = None

    def __len__(self) -> int:
        """Return how many batches are finished."""
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> BatchFinished: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[BatchFinished]: ...
    def __getitem__(self, index: int | slice) -> BatchFinished | Sequence[BatchFinished]:
        """Return one batch, or several, by place in the order of the numbers."""
        if isinstance(index, slice):
            return tuple(self._made(place) for place in self._order()[index])
        return self._made(self._order()[index])

    def __iter__(self) -> Iterator[BatchFinished]:
        """Iterate over the batches in the order of their numbers."""
        return map(self._made, self._order())

    def __eq__(self, other: object) -> bool:
        """Tell whether another sequence has equal batches."""
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # it grows

    def _order(self) -> list[int]:
        if self._sorted is None:
            self._sorted = sorted(range(len(self._numbers)), key=self._numbers.__getitem__)
        return self._sorted

    def _made(self, place: int) -> BatchFinished:
        number = self._numbers[place]
        kind = list(self._kinds)[self._kind_of[place]]
        first = self._first_second[place]
        seconds = self._seconds[first : first + len(kind.stages)]
        error_kind, error = self._errors.get(place, ("", ""))
        return BatchFinished(
            batch=self._plan.batch(number),
            published=self._published(place, number, kind),
            nuclei=self._nuclei[place],
            skipped=self._skipped.get(place, ()),
            error_kind=error_kind,
            error=error,
            seconds=dict(zip(kind.stages, seconds, strict=True)),
        )

    def _published(self, place: int, number: int, kind: _Kind) -> Published | None:
        if place in self._whole or self._rows[place] < 0:
            return self._whole.get(place)
        digest = self._digests[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES]
        return Published(
            path=_path(kind, number),
            rows=self._rows[place],
            sha256=digest.hex(),
            columns=kind.columns,
            columns_sha256=kind.columns_sha256,
        )


def _kind(event: BatchFinished) -> _Kind:
    stages, published = tuple(event.seconds), event.published
    if published is None:
        return _Kind(stages, None, "", 0, "")
    start = f"batch_{event.batch.number}"
    suffix = published.path.name.removeprefix(start)
    return _Kind(stages, published.path.parent, suffix, published.columns, published.columns_sha256)


def _path(kind: _Kind, number: int) -> Path:
    return (kind.folder or Path()) / f"batch_{number}{kind.suffix}"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run of the stream did.

    Attributes
    ----------
    batches : sequence of BatchFinished
        One per batch that was run, in order.
    plan : Plan
        What was to be done.
    seconds : float
        Wall-clock time of the run.
    lanes : tuple of LaneReport
        How busy each lane was.
    disk : DiskUse or None
        What the stream held under ``tmp_dir``.
    """

    batches: Sequence[BatchFinished]
    plan: Plan
    seconds: float
    lanes: tuple[LaneReport, ...] = field(default=(), compare=False)
    disk: DiskUse | None = field(default=None, compare=False)

    @property
    def bottleneck(self) -> str:
        """The sentence that says which lane limited the stream, and what to change."""
        return bottleneck(self.lanes)

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
    def failed_batches(self) -> tuple[int, ...]:
        """Numbers of the batches that were not published."""
        return tuple(item.batch.number for item in self.batches if item.published is None)

    @property
    def rerun_batches(self) -> tuple[int, ...]:
        """Numbers of the batches in which anything failed or that were not reached."""
        failed = (
            item.batch.number for item in self.batches if item.published is None or item.skipped
        )
        return tuple(sorted({*failed, *self.remaining_batches}))

    @property
    def rerun_call(self) -> str:
        """The Python call that runs what failed or was not reached; empty when nothing is left."""
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
            Columns ``Batch, Plate, Well, Frame, Stage, Kind, Reason``; one row per image or
            frame left out and per batch that failed (Plate, Well and Frame empty).
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
