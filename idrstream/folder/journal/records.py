"""What the journal returns, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from idrstream.folder.states import RunState


class PlanRecord(NamedTuple):
    """A plan that the folder follows or followed."""

    batch_size: int
    in_order: bool
    images: int
    images_sha256: str
    identity: Mapping[str, Any]
    table_file: str
    table_sha256: str


class RunRecord(NamedTuple):
    """A run of the stream; `batches` is how many it had to do."""

    number: int
    started: float
    elapsed_s: float
    state: RunState
    stopped_by: str
    host: str
    log: str
    batches: int
    parts: Mapping[str, Any]
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    settings: Mapping[str, Any] | None
    lanes: list[Mapping[str, Any]]
    seal: str


class BatchTotals(NamedTuple):
    """Sums over the batches in one state."""

    batches: int = 0
    images: int = 0
    failed_images: int = 0
    nuclei: int = 0
    bytes: int = 0


class PublishedTable(NamedTuple):
    """The table of a batch that is done."""

    file: str
    size_bytes: int
    mtime_ns: int
    sha256: str
    rows: int
    columns: int
    columns_sha256: str
    masks_bytes: int = 0
    masks_sha256: str = ""
    tracks_bytes: int = 0
    tracks_sha256: str = ""


class PublishedAttempt(NamedTuple):
    """An attempt that ended with a table."""

    run: int
    ended: float
    images: int
    nuclei: int


class WorkerAttempt(NamedTuple):
    """An attempt that a worker elsewhere made; see `idrstream.schedule.events.DoneBy`."""

    run: int
    worker: str
    host: str
    job: str
    batch: int
    images: int
    outcome: str
    begun: float
    worked_s: float
    loading_s: float
    peak_bytes: int


class Failure(NamedTuple):
    """An image or frame that was left out, or a batch that failed (then `stage` is ``batch``)."""

    batch: int
    plate: str
    well: str
    frame: int | None
    stage: str
    kind: str
    reason: str
    site: int | None
    attempt: int
    time: float
    log: str
    log_end: int | None

    @property
    def where(self) -> str:
        """Plate, well and frame; empty for a whole batch."""
        frame = "" if self.frame is None else f"frame {self.frame}"
        return " ".join(filter(None, (self.plate, self.well, frame)))

    @property
    def reason_line(self) -> str:
        """The reason on one line."""
        return " ".join(self.reason.split())
