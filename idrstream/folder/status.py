"""The status of a stream, read from its output folder.

::

    running ──► pausing ──► paused ──► stopped ──► running (resume)
       │ ▲──────────┴──────────┘          ▲
       ├──► done                          │
       ├──► stopped ──────────────────────┘
       └──► died ──► running (resume)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.folder.journal.reader import JournalReader, open_journal
from idrstream.folder.journal.records import BatchTotals, Failure, RunRecord
from idrstream.folder.live import Live, LivePhase, read_live
from idrstream.folder.locks import Holder, holder
from idrstream.folder.recorded import extracts_planes
from idrstream.folder.states import BatchState, RunState
from idrstream.folder.status_text import status_lines
from idrstream.schedule.lanes import LaneReport, bottleneck

if TYPE_CHECKING:
    import pandas as pd

_RECENT = 200  # batches over which the load of stages is averaged


class StreamState(StrEnum):
    """State of the stream of an output folder."""

    RUNNING = "running"
    PAUSING = "pausing"  # what is in progress is finished; tables may still appear
    PAUSED = "paused"  # nothing runs
    DONE = "done"  # nothing is left
    STOPPED = "stopped"  # ended with batches left
    DIED = "died"  # the process ended without recording why

    @property
    def has_ended(self) -> bool:
        """Whether no process runs the stream."""
        return self in (StreamState.DONE, StreamState.STOPPED, StreamState.DIED)


_PAUSES = {LivePhase.PAUSING: StreamState.PAUSING, LivePhase.PAUSED: StreamState.PAUSED}


@dataclass(frozen=True, slots=True, repr=False)
class Status:
    """Status of a stream.

    Attributes
    ----------
    folder : str
        Output folder.
    state : StreamState
        ``running``, ``pausing`` or ``paused``; ``done`` when nothing is left; ``stopped`` or
        ``died`` when something is.
    stopped_by : str
        What stopped the last run early.
    holder : Holder or None
        Process that runs it now.
    batches, batches_done, batches_failed, batches_running : int
        Batches of the plan.
    images, images_done, images_failed : int
        Images of the plan; done and left out in batches that are done or failed.
    objects : str
        What is counted in the tables: ``nuclei``, or ``planes`` where they were extracted.
    nuclei : int
        How many of them are in the published tables.
    bytes : int
        Size of the published tables.
    elapsed_s : float
        Duration of the last run so far.
    images_per_hour : float or None
        Rate of the last run; None before its first batch.
    left_s : float or None
        Time that the remaining images need at this rate.
    stages : Mapping[str, float]
        Share of the last batches' time that each stage was busy; more than 1 for a stage that
        works on several batches at once.
    lanes : tuple of LaneReport
        Load of each lane in the last run that had something to do, updated every few seconds.
    bottleneck : str
        Which lane limits the stream, and what to change; empty until that is known.
    failures : Mapping[str, int]
        Unresolved failures by kind of error.
    live : Live or None
        Phase, lanes and disk use of a running stream.
    """

    folder: str
    state: StreamState
    stopped_by: str = ""
    holder: Holder | None = None
    batches: int = 0
    batches_done: int = 0
    batches_failed: int = 0
    batches_running: int = 0
    images: int = 0
    images_done: int = 0
    images_failed: int = 0
    objects: str = "nuclei"
    nuclei: int = 0
    bytes: int = 0
    elapsed_s: float = 0.0
    images_per_hour: float | None = None
    left_s: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    lanes: tuple[LaneReport, ...] = ()
    bottleneck: str = ""
    failures: Mapping[str, int] = field(default_factory=dict)
    live: Live | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def __repr__(self) -> str:
        """Return the status as text."""
        return "\n".join(status_lines(self, width=200))


def read_status(folder: Path) -> Status:
    """Return the status of the stream of an output folder, also while it runs.

    Parameters
    ----------
    folder : Path
        Output folder; may be read-only.

    Raises
    ------
    JournalError
        If it has no journal that can be read.
    """
    with open_journal(folder) as journal:
        extracts = extracts_planes(journal)
        values = {**_counts(journal), **_last_run(journal, planes=extracts)}
    who = holder(folder)
    live = read_live(folder, who)
    run_state = values.pop("run_state")
    if who is not None:
        state = _PAUSES.get(live.phase, StreamState.RUNNING) if live else StreamState.RUNNING
    elif values["batches"] and values["batches_done"] == values["batches"]:
        state = StreamState.DONE
    elif run_state in (RunState.RUNNING, RunState.DIED):  # running, but no process has the lock
        state = StreamState.DIED
    else:
        state = StreamState.STOPPED
    if who is None:
        values["batches_running"] = 0
    left = values["images"] - values["images_done"] - values["images_failed"]
    if live is not None and live.finished and live.working_s > 0:  # also before the first batch
        values["images_per_hour"] = live.finished / live.working_s * 3600
        left = max(0, left - live.under_way)
    rate = values["images_per_hour"]
    return Status(
        folder=str(folder),
        objects="planes" if extracts else "nuclei",
        state=state,
        holder=who,
        live=live,
        left_s=left / rate * 3600 if rate and left else None,
        **values,
    )


def read_failures(folder: Path, kind: str | None = None) -> pd.DataFrame:
    """Return unresolved failures as a table.

    Parameters
    ----------
    folder : Path
        Output folder.
    kind : str, optional
        Only failures of this class of error, for example ``TransientDownloadError``.

    Returns
    -------
    pandas.DataFrame
        Columns ``Batch, Plate, Well, Frame, Stage, Kind, Reason`` as `RunResult.failures` has
        them, and ``Site``, ``Attempt``, ``Time`` (UTC), ``Log`` (the log file) and ``Log_End``
        (its messages in the log are before this byte).

    Raises
    ------
    JournalError
        If the folder has no journal that can be read.
    """
    import pandas as pd

    with open_journal(folder) as journal:
        found = journal.failures(kind)
    names = [field.title() for field in Failure._fields]
    table = pd.DataFrame(found, columns=names)
    table["Time"] = pd.to_datetime(table["Time"], unit="s", utc=True)
    return table.astype({"Frame": "Int64", "Site": "Int64", "Log_End": "Int64"})


def latest_failures(folder: Path, count: int = 5) -> list[Failure]:
    """Return the latest unresolved failures, newest first.

    Raises
    ------
    JournalError
        If the folder has no journal that can be read.
    """
    with open_journal(folder) as journal:
        return journal.failures(newest=count)


def _counts(journal: JournalReader) -> dict[str, Any]:
    totals = journal.batch_totals()
    done, failed, running = (
        totals.get(state, BatchTotals())
        for state in (BatchState.DONE, BatchState.FAILED, BatchState.RUNNING)
    )
    return {
        "batches": sum(sums.batches for sums in totals.values()),
        "batches_done": done.batches,
        "batches_failed": failed.batches,
        "batches_running": running.batches,
        "images": sum(sums.images for sums in totals.values()),
        "images_done": done.images - done.failed_images,
        "images_failed": done.failed_images + failed.images,
        "nuclei": done.nuclei,
        "bytes": done.bytes,
        "failures": journal.failure_counts(),
    }


def _last_run(journal: JournalReader, *, planes: bool) -> dict[str, Any]:
    """Return how the last run ended, and the rate and lanes of the last one with work to do."""
    last, work = journal.last_run(), journal.last_run(with_work=True)
    values: dict[str, Any] = {"run_state": RunState.STOPPED, "images_per_hour": None}
    if last is not None:
        values |= {
            "run_state": last.state, "stopped_by": last.stopped_by, "elapsed_s": last.elapsed_s,
        }  # fmt: skip
    if work is not None:
        images = journal.published_images(work.number)
        lanes = _lanes(work)
        values |= {
            "stages": journal.stage_shares(work.number, batches=_RECENT),
            "lanes": lanes,
            "bottleneck": bottleneck(lanes, planes=planes),
        }
        if images and work.elapsed_s > 0:
            values["images_per_hour"] = images / work.elapsed_s * 3600
    return values


def _lanes(run: RunRecord) -> tuple[LaneReport, ...]:
    """Return the load of a run's lanes; none if the journal has something else there."""
    try:
        return tuple(
            LaneReport(
                str(lane["name"]), int(lane["workers"]), int(lane["jobs"]), float(lane["busy_s"]),
                float(lane["share"]),
            )
            for lane in run.lanes
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()
