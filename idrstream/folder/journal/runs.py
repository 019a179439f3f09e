"""What the journal notes of runs and of the plans that a folder follows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.folder.identity import image_digest
from idrstream.folder.journal.writer import JournalWriter, as_json
from idrstream.redact import redact

if TYPE_CHECKING:
    from idrstream.folder.plans import Decision, RequestedPlan
    from idrstream.schedule.lanes import LaneReport

_TICK_S = 0.5  # between two notes of how long a run takes


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What is noted of a run when it begins.

    Attributes
    ----------
    pid, host : int, str
        The process.
    options : Mapping
        What `run_stream` was called with, modes included.
    parts : Mapping
        Description of all parts, also of those that change no result.
    versions : Mapping[str, str]
        Versions of Python and packages.
    settings : Mapping or None
        All settings, when the stream was built from settings; no secrets.
    log : str
        The log file.
    """

    pid: int
    host: str
    options: Mapping[str, Any]
    parts: Mapping[str, Any]
    versions: Mapping[str, str]
    settings: Mapping[str, Any] | None = None
    log: str = ""


class RunNotes:
    """Records a run: its start, duration, lane load and end.

    Call all methods but `mark_crashed_runs` within a transaction.

    Parameters
    ----------
    writer : JournalWriter
        The open journal.

    Attributes
    ----------
    number, plan : int
        Of the run that is noted; 0 before it begins.
    """

    def __init__(self, writer: JournalWriter) -> None:
        self.number = 0
        self.plan = 0
        self._writer = writer
        self._started = self._ticked = time.monotonic()
        self._log: Path | None = None

    def mark_crashed_runs(self) -> None:
        """Mark runs, attempts and batches that a crash left as running."""
        with self._writer.transaction(flushed=False):
            for statement in (
                "UPDATE runs SET state = 'died' WHERE state = 'running'",
                # Published and recorded: done, though the run crashed before cleaning up.
                "UPDATE attempts SET outcome = 'done' WHERE outcome = 'published'",
                "UPDATE attempts SET outcome = 'interrupted' WHERE outcome = 'running'",
                "UPDATE batches SET state = 'planned' WHERE state = 'running'",
            ):
                self._writer.execute(statement)

    def begin(
        self, info: RunInfo, wanted: RequestedPlan, decision: Decision, table: tuple[str, str]
    ) -> None:
        """Note a run and the plan that it follows; `table` is the copy's name and digest."""
        self.number = self._writer.insert(
            "runs",
            started=time.time(),
            pid=info.pid,
            host=info.host,
            log=info.log,
            settings=None if info.settings is None else as_json(info.settings),
            options=as_json(info.options),
            parts=as_json(info.parts),
            versions=as_json(info.versions),
            batches=len(decision.run),
            images=sum(len(decision.batches[number]) for number in decision.run),
        )
        if decision.plan_change == "same":
            row = self._writer.execute("SELECT max(id) FROM plans").fetchone()
            self.plan = int(row[0])
        else:
            self._accept(wanted, decision, table)
        self._log = Path(info.log) if info.log else None
        self.restart()

    def restart(self) -> None:
        """Count the time that the run takes from now on."""
        self._started = self._ticked = time.monotonic()

    def tick(self) -> None:
        """Note how long the run has taken, when that was some time ago."""
        now = time.monotonic()
        if now - self._ticked < _TICK_S:
            return
        self._ticked = now
        self._writer.execute(
            "UPDATE runs SET elapsed_s = ? WHERE id = ?", self._elapsed_s(), self.number
        )

    def lanes(self, lanes: Sequence[LaneReport]) -> None:
        """Note how busy the lanes are, and how long the run has taken."""
        self._writer.execute(
            "UPDATE runs SET elapsed_s = ?, lanes = ? WHERE id = ?",
            self._elapsed_s(), as_json([_rounded(lane) for lane in lanes]), self.number,
        )  # fmt: skip

    def finished(self, stopped_by: str) -> None:
        """Note the end, and what was under way."""
        now = time.time()
        self._writer.execute(
            "UPDATE attempts SET outcome = 'interrupted', ended = ? "
            "WHERE run = ? AND outcome = 'running'",
            now, self.number,
        )  # fmt: skip
        self._writer.execute(
            "UPDATE runs SET ended = ?, elapsed_s = ?, state = ?, stopped_by = ? WHERE id = ?",
            now, self._elapsed_s(), "stopped" if stopped_by else "finished", redact(stopped_by),
            self.number,
        )  # fmt: skip

    def log_end(self) -> int | None:
        """Return the length of the log: what it says of a failure stands before that byte."""
        if self._log is None:
            return None
        try:
            return self._log.stat().st_size
        except OSError:
            return None

    def _elapsed_s(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def _accept(self, wanted: RequestedPlan, decision: Decision, table: tuple[str, str]) -> None:
        self.plan = self._writer.insert(
            "plans",
            run=self.number,
            created=time.time(),
            how=decision.plan_change,
            batch_size=wanted.batch_size,
            in_order=int(decision.in_order),
            images=len(wanted.tasks),
            images_sha256=wanted.images_sha256,
            identity=as_json(wanted.identity),
            table_file=table[0],
            table_sha256=table[1],
        )
        connection = self._writer.connection
        gone = [(number,) for number in decision.dropped]
        for statement in (
            "DELETE FROM images WHERE batch = ?",
            "DELETE FROM batches WHERE number = ?",
            "UPDATE failures SET current = 0 WHERE batch = ?",
        ):
            connection.executemany(statement, gone)
        connection.executemany(
            "INSERT INTO batches (number, plan, images, attempts) VALUES (?1, ?2, ?3, "
            "(SELECT coalesce(max(attempt), 0) FROM attempts WHERE batch = ?1))",
            ((number, self.plan, len(decision.batches[number])) for number in decision.added),
        )
        digests = dict(zip(map(id, wanted.tasks), map(image_digest, wanted.lines), strict=True))
        connection.executemany(
            "INSERT INTO images (batch, position, plate, well, well_number, site, frames, digest) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    number, position, task.plate, task.well, task.well_number, task.site,
                    ",".join(map(str, task.frames)), digests[id(task)],
                )
                for number in decision.added
                for position, task in enumerate(decision.batches[number])
            ),
        )  # fmt: skip


def _rounded(lane: LaneReport) -> dict[str, Any]:
    return {**asdict(lane), "busy_s": round(lane.busy_s, 3), "share": round(lane.share, 4)}
