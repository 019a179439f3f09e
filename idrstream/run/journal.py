"""The journal of an output folder: every run, batch, image and failure, in one SQLite file.

The journal listens to the runner. What it notes is on the disk when it returns, so that the
runner's transitions and the journal's are the same, and a stream that dies at any of them goes
on from there. There is one writer, held by the folder's lock; anyone may read meanwhile. The
format is described in ``docs/journal.md``.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idrstream.records import Batch, ImageTask, Skipped
from idrstream.redact import redact, redacted
from idrstream.run.events import (
    BatchFinished,
    BatchPublished,
    BatchStarted,
    Event,
    ImageFinished,
    StageFinished,
    StreamFinished,
    StreamStarted,
)
from idrstream.run.identity import image_digest
from idrstream.run.journal_file import open_writer, sqlite_errors, transaction
from idrstream.run.journal_reads import JournalReads
from idrstream.run.journal_schema import JOURNAL_NAME
from idrstream.run.plans import Decision, Wanted


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


_IMAGE = (
    "UPDATE images SET state = ?, attempts = attempts + 1, nuclei = ?, bytes = ?, seconds = ? "
    "WHERE batch = ? AND position = ?"
)


@dataclass(slots=True)
class _Running:
    """A batch that is under way, as far as it is not in the file yet."""

    attempt: int
    was_done: bool
    positions: dict[tuple[str, int, int, tuple[int, ...]], int]
    seconds: dict[int, dict[str, float]] = field(default_factory=dict)
    bytes: dict[int, int] = field(default_factory=dict)
    noted: set[tuple[int, int | None]] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    # What images came to, as long as the table that is in place is of another attempt.
    held: list[tuple[Any, ...]] = field(default_factory=list)


class Journal(JournalReads):
    """Writes the journal of an output folder; a `Listener`.

    Parameters
    ----------
    folder : Path
        The output folder; the caller holds its lock.
    durable : bool
        Wait until what matters is on the disk. Off only where speed is measured.

    Raises
    ------
    StorageError
        If it cannot be written.
    JournalError
        If the file is damaged or of a newer version.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        super().__init__(open_writer(folder / JOURNAL_NAME, durable=durable), folder / JOURNAL_NAME)
        self._durable = durable
        self._run = 0
        self._plan = 0
        self._started = time.monotonic()
        self._log: Path | None = None
        self._running: dict[int, _Running] = {}
        self._bury()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._connection.close()

    def touched(self, number: int, mtime_ns: int) -> None:
        """Note that a file was copied or touched and still has its bytes."""
        with sqlite_errors(self.path):
            self._connection.execute(
                "UPDATE batches SET mtime_ns = ? WHERE number = ?", (mtime_ns, number)
            )

    def lost(self, numbers: Iterable[int]) -> None:
        """Note that the files of batches are gone or changed: they are not done any more."""
        with sqlite_errors(self.path), transaction(self._connection):
            self._connection.executemany(
                "UPDATE batches SET state = 'planned' WHERE number = ?", [(n,) for n in numbers]
            )

    def begin(
        self,
        info: RunInfo,
        wanted: Wanted,
        decision: Decision,
        *,
        table_file: str = "",
        table_sha256: str = "",
    ) -> int:
        """Note that a run begins, and what the folder's plan is from now on.

        Parameters
        ----------
        info : RunInfo
            The run.
        wanted, decision : Wanted, Decision
            What is wanted and what was decided; not a refusal.
        table_file, table_sha256 : str
            Copy of the table in the output folder, and its digest.

        Returns
        -------
        int
            Number of the run.
        """
        images = sum(len(decision.batches[number]) for number in decision.run)
        with sqlite_errors(self.path), transaction(self._connection):
            self._run = self._insert(
                "runs",
                started=time.time(),
                pid=info.pid,
                host=info.host,
                log=info.log,
                settings=None if info.settings is None else _json(info.settings),
                options=_json(info.options),
                parts=_json(info.parts),
                versions=_json(info.versions),
                batches=len(decision.run),
                images=images,
            )
            if decision.how == "same":
                row = self._connection.execute("SELECT max(id) FROM plans").fetchone()
                self._plan = int(row[0])
            else:
                self._accept(wanted, decision, table_file, table_sha256)
        self._started = time.monotonic()
        self._log = Path(info.log) if info.log else None
        return self._run

    def __call__(self, event: Event) -> None:
        """Note an event; what it says is on the disk when this returns."""
        with sqlite_errors(self.path):
            if isinstance(event, StageFinished):
                self._stage(event)
            elif isinstance(event, ImageFinished):
                self._image(event)
            elif isinstance(event, BatchStarted):
                self._batch_started(event.batch)
            elif isinstance(event, BatchPublished):
                self._published(event)
            elif isinstance(event, BatchFinished):
                self._batch_finished(event)
            elif isinstance(event, StreamStarted):
                self._started = time.monotonic()
            elif isinstance(event, StreamFinished):
                self._run_finished(event)

    def _bury(self) -> None:
        """Note what a stream that died left as running."""
        with sqlite_errors(self.path), transaction(self._connection):
            for statement in (
                "UPDATE runs SET state = 'died' WHERE state = 'running'",
                # Published and journalled: done, though the run died before it had tidied up.
                "UPDATE attempts SET outcome = 'done' WHERE outcome = 'published'",
                "UPDATE attempts SET outcome = 'interrupted' WHERE outcome = 'running'",
                "UPDATE batches SET state = 'planned' WHERE state = 'running'",
            ):
                self._connection.execute(statement)

    def _accept(
        self, wanted: Wanted, decision: Decision, table_file: str, table_sha256: str
    ) -> None:
        self._plan = self._insert(
            "plans",
            run=self._run,
            created=time.time(),
            how=decision.how,
            batch_size=wanted.batch_size,
            in_order=int(decision.in_order),
            images=len(wanted.tasks),
            images_sha256=wanted.images_sha256,
            identity=_json(wanted.identity),
            table_file=table_file,
            table_sha256=table_sha256,
        )
        gone = [(number,) for number in decision.dropped]
        for statement in (
            "DELETE FROM images WHERE batch = ?",
            "DELETE FROM batches WHERE number = ?",
            "UPDATE failures SET current = 0 WHERE batch = ?",
        ):
            self._connection.executemany(statement, gone)
        self._connection.executemany(
            "INSERT INTO batches (number, plan, images, attempts) VALUES (?1, ?2, ?3, "
            "(SELECT coalesce(max(attempt), 0) FROM attempts WHERE batch = ?1))",
            ((number, self._plan, len(decision.batches[number])) for number in decision.added),
        )
        digests = dict(zip(map(id, wanted.tasks), map(image_digest, wanted.lines), strict=True))
        self._connection.executemany(
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

    def _batch_started(self, batch: Batch) -> None:
        positions = {_place(task): position for position, task in enumerate(batch.tasks)}
        with transaction(self._connection):
            self._execute("UPDATE batches SET attempts = attempts + 1 WHERE number = ?", batch)
            self._execute(
                "UPDATE batches SET state = 'running' WHERE number = ? AND state != 'done'", batch
            )
            attempt, state = self._connection.execute(
                "SELECT attempts, state FROM batches WHERE number = ?", (batch.number,)
            ).fetchone()
            self._insert(
                "attempts",
                batch=batch.number,
                attempt=attempt,
                plan=self._plan,
                run=self._run,
                started=time.time(),
            )
            self._tick()
        self._running[batch.number] = _Running(attempt, state == "done", positions)

    def _stage(self, event: StageFinished) -> None:
        running = self._running.get(event.batch.number)
        if running is None or event.task is None:
            return
        position = running.positions.get(_place(event.task))
        if position is None:  # a movie fetched only for its plate's illumination
            return
        seconds = running.seconds.setdefault(position, {})
        seconds[event.stage] = seconds.get(event.stage, 0.0) + event.seconds
        if event.stage == "download" and event.bytes is not None:
            running.bytes[position] = event.bytes

    def _image(self, event: ImageFinished) -> None:
        running = self._running[event.batch.number]
        position = running.positions[_place(event.task)]
        state = "done"
        if event.skipped:
            whole = any(item.frame_number is None for item in event.skipped)
            some = len({item.frame_number for item in event.skipped}) < len(event.task.frames)
            state = "partial" if some and not whole else "failed"
            running.failed.add(position)
        came_to = (
            state, event.nuclei, running.bytes.get(position),
            _seconds(running.seconds.pop(position, {})), event.batch.number, position,
        )  # fmt: skip
        # An image that is lost in a power cut is done again with its batch: no need to wait.
        self._connection.execute(f"PRAGMA synchronous={'NORMAL' if self._durable else 'OFF'}")
        try:
            with transaction(self._connection):
                if running.was_done:
                    running.held.append(came_to)
                else:
                    self._connection.execute(_IMAGE, came_to)
                self._note_skipped(event.batch, running, event.skipped)
        finally:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'OFF'}")

    def _published(self, event: BatchPublished) -> None:
        running, published = self._running[event.batch.number], event.published
        stat = published.path.stat()
        with transaction(self._connection):
            self._connection.executemany(_IMAGE, running.held)
            self._execute("UPDATE failures SET current = 0 WHERE batch = ?", event.batch)
            self._connection.execute(
                "UPDATE failures SET current = 1 WHERE batch = ? AND attempt = ?",
                (event.batch.number, running.attempt),
            )
            self._note_skipped(event.batch, running, event.skipped)
            self._connection.execute(
                "UPDATE batches SET state = 'done', failed_images = ?, nuclei = ?, file = ?, "
                "rows = ?, columns = ?, columns_sha256 = ?, size_bytes = ?, mtime_ns = ?, "
                "sha256 = ? WHERE number = ?",
                (
                    len(running.failed), event.nuclei, published.path.name, published.rows,
                    published.columns, published.columns_sha256, stat.st_size, stat.st_mtime_ns,
                    published.sha256, event.batch.number,
                ),
            )  # fmt: skip
            self._attempt(event.batch, running, "published", event.nuclei, event.seconds)
            self._connection.execute(
                "UPDATE attempts SET sha256 = ? WHERE batch = ? AND attempt = ?",
                (published.sha256, event.batch.number, running.attempt),
            )
            self._tick()

    def _batch_finished(self, event: BatchFinished) -> None:
        running = self._running.pop(event.batch.number)
        with transaction(self._connection):
            if event.published is not None:
                self._attempt(event.batch, running, "done", event.nuclei, event.seconds)
            else:
                self._failed(event, running)
            self._tick()

    def _failed(self, event: BatchFinished, running: _Running) -> None:
        self._note_skipped(event.batch, running, event.skipped)
        # A table that is in place keeps its own failures; else the last attempt's are told.
        self._connection.execute(
            "UPDATE failures SET current = 0 WHERE batch = ?1 AND attempt < ?2"
            if not running.was_done
            else "UPDATE failures SET current = 0 WHERE batch = ?1 AND attempt = ?2",
            (event.batch.number, running.attempt),
        )
        self._note(event.batch, running, "batch", event.error_kind, event.error)
        self._connection.execute(
            "UPDATE batches SET state = 'failed', failed_images = ? "
            "WHERE number = ? AND state != 'done'",
            (len(running.failed), event.batch.number),
        )
        self._attempt(event.batch, running, "failed", event.nuclei, event.seconds)
        self._connection.execute(
            "UPDATE attempts SET error_kind = ?, error = ? WHERE batch = ? AND attempt = ?",
            (event.error_kind, redact(event.error), event.batch.number, running.attempt),
        )

    def _run_finished(self, event: StreamFinished) -> None:
        state = "stopped" if event.stopped_by else "finished"
        with transaction(self._connection):
            for number in self._running:  # stopped on the way: planned again, with no failure
                self._connection.execute(
                    "UPDATE batches SET state = 'planned' WHERE number = ? AND state = 'running'",
                    (number,),
                )
            self._connection.execute(
                "UPDATE attempts SET outcome = 'interrupted', ended = ? "
                "WHERE run = ? AND outcome = 'running'",
                (time.time(), self._run),
            )
            self._connection.execute(
                "UPDATE runs SET ended = ?, state = ?, stopped_by = ? WHERE id = ?",
                (time.time(), state, redact(event.stopped_by), self._run),
            )
            self._tick()
        self._running.clear()

    def _attempt(
        self,
        batch: Batch,
        running: _Running,
        outcome: str,
        nuclei: int,
        seconds: Mapping[str, float],
    ) -> None:
        self._connection.execute(
            "UPDATE attempts SET outcome = ?, ended = ?, nuclei = ?, seconds = ? "
            "WHERE batch = ? AND attempt = ?",
            (outcome, time.time(), nuclei, _seconds(seconds), batch.number, running.attempt),
        )

    def _note_skipped(self, batch: Batch, running: _Running, skipped: Sequence[Skipped]) -> None:
        for item in skipped:
            position = running.positions.get(_place(item.task), -1)
            if (position, item.frame_number) not in running.noted:
                running.noted.add((position, item.frame_number))
                running.failed.add(position)
                self._note(batch, running, item.stage, item.kind, item.reason, item)

    def _note(
        self,
        batch: Batch,
        running: _Running,
        stage: str,
        kind: str,
        message: str,
        item: Skipped | None = None,
    ) -> None:
        image = {}
        if item is not None:
            image = {
                "position": running.positions.get(_place(item.task)),
                "plate": item.task.plate,
                "well": item.task.well,
                "site": item.task.site,
                "frame": item.frame_number,
            }
        self._insert(
            "failures",
            run=self._run,
            batch=batch.number,
            attempt=running.attempt,
            stage=stage,
            kind=kind,
            message=redact(message),
            time=time.time(),
            log_end=self._log_end(),
            **image,
        )

    def _log_end(self) -> int | None:
        """Return the length of the log: what it says of a failure stands before that byte."""
        if self._log is None:
            return None
        try:
            return self._log.stat().st_size
        except OSError:
            return None

    def _tick(self) -> None:
        self._connection.execute(
            "UPDATE runs SET elapsed_s = ? WHERE id = ?",
            (round(time.monotonic() - self._started, 3), self._run),
        )

    def _execute(self, statement: str, batch: Batch) -> sqlite3.Cursor:
        return self._connection.execute(statement, (batch.number,))

    def _insert(self, table: str, **values: Any) -> int:
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        cursor = self._connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608, names are ours
            tuple(values.values()),
        )
        return int(cursor.lastrowid or 0)


def _place(task: ImageTask) -> tuple[str, int, int, tuple[int, ...]]:
    return task.plate, task.well_number, task.site, task.frames


def _seconds(seconds: Mapping[str, float]) -> str:
    return json.dumps({stage: round(value, 3) for stage, value in seconds.items()})


def _json(value: Any) -> str:
    return json.dumps(redacted(value), ensure_ascii=False, sort_keys=True)
