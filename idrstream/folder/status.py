"""How far a stream is, from the journal of its output folder."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.folder.journal.file import open_reader
from idrstream.folder.journal.schema import JOURNAL_NAME
from idrstream.folder.live import Live, read_live
from idrstream.folder.locks import Holder, holder
from idrstream.schedule.lanes import LaneReport, bottleneck
from idrstream.text import format_duration

if TYPE_CHECKING:
    import pandas as pd

PAUSED = ("pausing", "paused")
_RECENT = 200  # batches over which stages are looked at


@dataclass(frozen=True, slots=True, repr=False)
class Status:
    """How far a stream is.

    Attributes
    ----------
    folder : str
        Output folder.
    state : str
        ``running`` or ``paused``; ``done`` when nothing is left; ``stopped`` or ``died`` when
        something is.
    stopped_by : str
        What ended the last run before its end.
    holder : Holder or None
        Who runs it now.
    batches, batches_done, batches_failed, batches_running : int
        Batches of the plan.
    images, images_done, images_failed : int
        Images of the plan; done without those that were left out, and these.
    nuclei : int
        Nuclei in the published tables.
    bytes : int
        Size of the published tables.
    elapsed_s : float
        How long the last run took, or takes so far.
    images_per_hour : float or None
        Rate of the last run; None before its first batch.
    left_s : float or None
        Time that the images left need at this rate.
    stages : Mapping[str, float]
        Share of the last batches' time that each stage was busy; more than 1 when a stage
        works for several batches at once.
    lanes : tuple of LaneReport
        How busy each lane is or was, in the last run that had something to do; noted every few
        seconds and at the end.
    bottleneck : str
        The sentence that says which lane limits the stream, and what to change; empty as long
        as that is not known.
    failures : Mapping[str, int]
        What failed and is not mended, by kind of error.
    live : Live or None
        What a running stream says of itself: its phase, lanes, disk.
    """

    folder: str
    state: str
    stopped_by: str = ""
    holder: Holder | None = None
    batches: int = 0
    batches_done: int = 0
    batches_failed: int = 0
    batches_running: int = 0
    images: int = 0
    images_done: int = 0
    images_failed: int = 0
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
        """Return it as text for a person."""
        lines = [f"{self.folder}: {self.state}"]
        if self.holder is not None:
            lines[0] += f" ({self.holder})"
        elif self.stopped_by:
            lines[0] += f" by: {self.stopped_by}"
        running = f", {self.batches_running} running" if self.batches_running else ""
        failed = f", {self.batches_failed} failed" if self.batches_failed else ""
        lines.append(f"batches  {self.batches_done} of {self.batches} done{running}{failed}")
        out = f", {self.images_failed} left out" if self.images_failed else ""
        lines.append(
            f"images   {self.images_done} of {self.images} done{out}; {self.nuclei} nuclei, "
            f"{self.bytes / 1e6:.1f} MB"
        )
        if self.images_per_hour is not None:
            left = "" if self.left_s is None else f", {format_duration(self.left_s)} left"
            lines.append(f"rate     {self.images_per_hour:.0f} images an hour{left}")
        if self.bottleneck:
            lines.append(f"lanes    {self.bottleneck}")
        elif self.stages:
            shares = (f"{name} {share:.0%}" for name, share in self.stages.items())
            lines.append(f"busy     {', '.join(shares)}")
        if self.failures:
            kinds = (f"{kind} {count}" for kind, count in self.failures.items())
            lines.append(f"failures {', '.join(kinds)}")
        return "\n".join(lines)


def read_status(folder: Path) -> Status:
    """Return how far the stream of an output folder is, also while it runs.

    Parameters
    ----------
    folder : Path
        Output folder; may be read-only.

    Raises
    ------
    JournalError
        If it has no journal that can be read.
    """
    with open_reader(folder / JOURNAL_NAME) as connection:
        values = {**_counts(connection), **_last_run(connection)}
    who = holder(folder)
    live = read_live(folder, who)
    state = values.pop("run_state")
    if who is not None:
        state = "paused" if live is not None and live.phase in PAUSED else "running"
    elif values["batches"] and values["batches_done"] == values["batches"]:
        state = "done"
    elif state in ("running", "died"):  # nobody holds the lock: it died without a word
        state = "died"
    else:
        state = "stopped"
    if who is None:
        values["batches_running"] = 0
    left = values["images"] - values["images_done"] - values["images_failed"]
    if live is not None and live.finished and live.working_s > 0:  # also before the first batch
        values["images_per_hour"] = live.finished / live.working_s * 3600
        left = max(0, left - live.under_way)
    rate = values["images_per_hour"]
    return Status(
        folder=str(folder),
        state=state,
        holder=who,
        live=live,
        left_s=left / rate * 3600 if rate and left else None,
        **values,
    )


def read_failures(folder: Path, kind: str | None = None) -> pd.DataFrame:
    """Return what failed and is not mended, as a table.

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
        (what the log says of it stands before this byte).

    Raises
    ------
    JournalError
        If the folder has no journal that can be read.
    """
    import pandas as pd

    with open_reader(folder / JOURNAL_NAME) as connection:
        found = connection.execute(
            "SELECT f.batch, f.plate, f.well, f.frame, f.stage, f.kind, f.message, f.site, "
            "f.attempt, f.time, r.log, f.log_end FROM failures f JOIN runs r ON r.id = f.run "
            "WHERE f.current AND (?1 IS NULL OR f.kind = ?1) ORDER BY f.batch, f.id",
            (kind,),
        ).fetchall()
    names = [
        "Batch", "Plate", "Well", "Frame", "Stage", "Kind", "Reason", "Site", "Attempt", "Time",
        "Log", "Log_End",
    ]  # fmt: skip
    table = pd.DataFrame(found, columns=names)
    table["Time"] = pd.to_datetime(table["Time"], unit="s", utc=True)
    return table.astype({"Frame": "Int64", "Site": "Int64", "Log_End": "Int64"})


def _counts(connection: sqlite3.Connection) -> dict[str, Any]:
    names = ("batches", "images", "failed", "nuclei", "bytes")
    by_state: dict[str, dict[str, int]] = {}
    for state, *numbers in connection.execute(
        "SELECT state, count(*), sum(images), sum(failed_images), total(nuclei), "
        "total(size_bytes) FROM batches GROUP BY state"
    ):
        by_state[state] = dict(zip(names, map(int, numbers), strict=True))
    none = dict.fromkeys(names, 0)
    done, failed = by_state.get("done", none), by_state.get("failed", none)
    return {
        "batches": sum(values["batches"] for values in by_state.values()),
        "batches_done": done["batches"],
        "batches_failed": failed["batches"],
        "batches_running": by_state.get("running", none)["batches"],
        "images": sum(values["images"] for values in by_state.values()),
        "images_done": done["images"] - done["failed"],
        "images_failed": done["failed"] + failed["images"],
        "nuclei": done["nuclei"],
        "bytes": done["bytes"],
        "failures": dict(
            connection.execute(
                "SELECT kind, count(*) FROM failures WHERE current = 1 GROUP BY kind "
                "ORDER BY count(*) DESC, kind"
            )
        ),
    }


def _last_run(connection: sqlite3.Connection) -> dict[str, Any]:
    row = connection.execute(
        "SELECT state, stopped_by, elapsed_s FROM runs ORDER BY id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return {"run_state": "stopped", "images_per_hour": None}
    values = dict(zip(("run_state", "stopped_by", "elapsed_s"), row, strict=True))
    return {**values, **_last_work(connection)}


def _last_work(connection: sqlite3.Connection) -> dict[str, Any]:
    """Return how fast the last run was that had something to do."""
    row = connection.execute(
        "SELECT id, elapsed_s, lanes FROM runs WHERE batches > 0 ORDER BY id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return {"images_per_hour": None}
    run, elapsed_s, noted = row
    images = connection.execute(
        "SELECT total(b.images) FROM attempts a JOIN batches b ON b.number = a.batch "
        "WHERE a.run = ? AND a.outcome IN ('published', 'done')",
        (run,),
    ).fetchone()[0]
    lanes = tuple(LaneReport(**lane) for lane in json.loads(noted or "[]"))
    return {
        "images_per_hour": images / elapsed_s * 3600 if images and elapsed_s > 0 else None,
        "stages": _busy(connection, run),
        "lanes": lanes,
        "bottleneck": bottleneck(lanes),
    }


def _busy(connection: sqlite3.Connection, run: int) -> dict[str, float]:
    """Return the share of time that stages were busy during the last batches."""
    recent = connection.execute(
        "SELECT started, ended, seconds FROM attempts WHERE run = ? AND outcome = 'done' "
        "ORDER BY batch DESC LIMIT ?",
        (run, _RECENT),
    ).fetchall()
    span = max((row[1] for row in recent), default=0) - min((row[0] for row in recent), default=0)
    if span <= 0:
        return {}
    total: dict[str, float] = {}
    for *_, seconds in recent:
        for stage, value in json.loads(seconds).items():
            total[stage] = total.get(stage, 0.0) + value
    return {stage: round(value / span, 3) for stage, value in total.items()}
