"""Records runs and the plans that a folder follows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.folder.identity import image_digest
from idrstream.folder.journal.writer import JournalWriter, as_json
from idrstream.folder.states import RunState
from idrstream.redact import redact

if TYPE_CHECKING:
    from idrstream.folder.plans import Decision, RequestedPlan
    from idrstream.schedule.lanes import LaneReport

_TICK_S = 0.5  # between updates of a run's duration


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What is recorded of a run when it starts.

    Attributes
    ----------
    pid, host : int, str
        The process.
    options : Mapping
        Options of `run_stream`.
    parts : Mapping
        Description of all components, also of those that change no result.
    versions : Mapping[str, str]
        Versions of Python and packages.
    settings : Mapping or None
        All settings, without secrets, if the stream was built from settings.
    log : str
        The log file.
    seal : str
        Digest by which this user knows the settings again; see `idrstream.folder.seal`.
    """

    pid: int
    host: str
    options: Mapping[str, Any]
    parts: Mapping[str, Any]
    versions: Mapping[str, str]
    settings: Mapping[str, Any] | None = None
    log: str = ""
    seal: str = ""


class RunRecorder:
    """Records a run: its start, duration, lane load and end.

    Call all methods but `mark_crashed_runs` within a transaction.

    Attributes
    ----------
    number, plan : int
        Numbers of the run and its plan; 0 before the run starts.
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
        self, info: RunInfo, requested: RequestedPlan, decision: Decision, table: tuple[str, str]
    ) -> None:
        """Record a run and its plan; `table` is the name and digest of the table's copy."""
        self.number = self._writer.insert(
            "runs",
            started=time.time(),
            pid=info.pid,
            host=info.host,
            log=info.log,
            seal=info.seal,
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
            self._accept(requested, decision, table)
        self._log = Path(info.log) if info.log else None
        self.restart()

    def restart(self) -> None:
        """Measure the duration of the run from now on."""
        self._started = self._ticked = time.monotonic()

    def tick(self) -> None:
        """Update the duration of the run, at most every half second."""
        now = time.monotonic()
        if now - self._ticked < _TICK_S:
            return
        self._ticked = now
        self._writer.execute(
            "UPDATE runs SET elapsed_s = ? WHERE id = ?", self._elapsed_s(), self.number
        )

    def lanes(self, lanes: Sequence[LaneReport]) -> None:
        """Record the load of the lanes and the duration of the run."""
        self._writer.execute(
            "UPDATE runs SET elapsed_s = ?, lanes = ? WHERE id = ?",
            self._elapsed_s(), as_json([_rounded(lane) for lane in lanes]), self.number,
        )  # fmt: skip

    def finished(self, stopped_by: str) -> None:
        """Record the end of the run and of the attempts that it interrupts."""
        now = time.time()
        self._writer.execute(
            "UPDATE attempts SET outcome = 'interrupted', ended = ? "
            "WHERE run = ? AND outcome = 'running'",
            now, self.number,
        )  # fmt: skip
        self._writer.execute(
            "UPDATE runs SET ended = ?, elapsed_s = ?, state = ?, stopped_by = ? WHERE id = ?",
            now, self._elapsed_s(), RunState.STOPPED if stopped_by else RunState.FINISHED,
            redact(stopped_by),
            self.number,
        )  # fmt: skip

    def log_end(self) -> int | None:
        """Return the length of the log: messages about a failure are before that byte."""
        if self._log is None:
            return None
        try:
            return self._log.stat().st_size
        except OSError:
            return None

    def _elapsed_s(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def _accept(self, requested: RequestedPlan, decision: Decision, table: tuple[str, str]) -> None:
        self.plan = self._writer.insert(
            "plans",
            run=self.number,
            created=time.time(),
            how=decision.plan_change,
            batch_size=requested.batch_size,
            in_order=int(decision.in_order),
            images=len(requested.tasks),
            images_sha256=requested.images_sha256,
            identity=as_json(requested.identity),
            table_file=table[0],
            table_sha256=table[1],
        )
        connection = self._writer.connection
        dropped = [(number,) for number in decision.dropped]
        for statement in (
            "DELETE FROM images WHERE batch = ?",
            "DELETE FROM batches WHERE number = ?",
            "UPDATE failures SET current = 0 WHERE batch = ?",
        ):
            connection.executemany(statement, dropped)
        connection.executemany(
            "INSERT INTO batches (number, plan, images, attempts) VALUES (?1, ?2, ?3, "
            "(SELECT coalesce(max(attempt), 0) FROM attempts WHERE batch = ?1))",
            ((number, self.plan, len(decision.batches[number])) for number in decision.added),
        )
        digest_of = {
            id(task): image_digest(line)
            for task, line in zip(requested.tasks, requested.lines, strict=True)
        }
        connection.executemany(
            "INSERT INTO images (batch, position, plate, well, well_number, site, frames, digest) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    number, position, task.plate, task.well, task.well_number, task.site,
                    task.frames_text, digest_of[id(task)],
                )
                for number in decision.added
                for position, task in enumerate(decision.batches[number])
            ),
        )  # fmt: skip


def _rounded(lane: LaneReport) -> dict[str, Any]:
    return {**asdict(lane), "busy_s": round(lane.busy_s, 3), "share": round(lane.share, 4)}
