"""What the journal notes of batches: begun, their images, published, finished."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from idrstream.folder.journal.runs import RunNotes
from idrstream.folder.journal.writer import JournalWriter, seconds_as_json
from idrstream.records import Batch, ImageTask, Skipped
from idrstream.redact import redact
from idrstream.schedule.events import (
    BatchFinished,
    BatchPublished,
    ImageFinished,
    StageFinished,
)

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


class BatchNotes:
    """Notes what happens to the batches of a run.

    Only a published batch is flushed to the disk before the runner goes on, for then its inputs
    are deleted. All else that a power cut takes away is done again.

    Parameters
    ----------
    writer : JournalWriter
        The open journal.
    run : RunNotes
        The run they belong to.
    """

    def __init__(self, writer: JournalWriter, run: RunNotes) -> None:
        self._writer = writer
        self._run = run
        self._running: dict[int, _Running] = {}

    def started(self, batch: Batch) -> None:
        """Note a new attempt."""
        positions = {_place(task): position for position, task in enumerate(batch.tasks)}
        with self._writer.transaction(flushed=False):
            self._writer.execute(
                "UPDATE batches SET attempts = attempts + 1, "
                "state = CASE state WHEN 'done' THEN state ELSE 'running' END WHERE number = ?",
                batch.number,
            )
            attempt, state = self._writer.execute(
                "SELECT attempts, state FROM batches WHERE number = ?", batch.number
            ).fetchone()
            self._writer.insert(
                "attempts",
                batch=batch.number,
                attempt=attempt,
                plan=self._run.plan,
                run=self._run.number,
                started=time.time(),
            )
        self._running[batch.number] = _Running(attempt, state == "done", positions)

    def stage(self, event: StageFinished) -> None:
        """Remember how long an image was in a stage, until it is finished."""
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

    def image(self, event: ImageFinished) -> None:
        """Note what an image came to."""
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
            seconds_as_json(running.seconds.pop(position, {})), event.batch.number, position,
        )  # fmt: skip
        with self._writer.transaction(flushed=False):
            if running.was_done:
                running.held.append(came_to)
            else:
                self._writer.execute(_IMAGE, *came_to)
            self._note_skipped(event.batch, running, event.skipped)

    def published(self, event: BatchPublished) -> None:
        """Note that a batch is done: it is, when this returns."""
        running, published = self._running[event.batch.number], event.published
        stat = published.path.stat()
        with self._writer.transaction(flushed=True):
            for came_to in running.held:
                self._writer.execute(_IMAGE, *came_to)
            if running.attempt > 1:
                self._make_current(event.batch, running)
            self._note_skipped(event.batch, running, event.skipped)
            self._writer.execute(
                "UPDATE batches SET state = 'done', failed_images = ?, nuclei = ?, file = ?, "
                "rows = ?, columns = ?, columns_sha256 = ?, size_bytes = ?, mtime_ns = ?, "
                "sha256 = ? WHERE number = ?",
                len(running.failed), event.nuclei, published.path.name, published.rows,
                published.columns, published.columns_sha256, stat.st_size, stat.st_mtime_ns,
                published.sha256, event.batch.number,
            )  # fmt: skip
            self._attempt(
                event.batch, running, "published", event.nuclei, event.seconds, published.sha256
            )
            self._run.tick()

    def finished(self, event: BatchFinished) -> None:
        """Note that a batch is over, well or not."""
        running = self._running.pop(event.batch.number)
        with self._writer.transaction(flushed=False):
            if event.published is None:
                self._failed(event, running)
                self._run.tick()
            else:
                digest = event.published.sha256
                self._attempt(event.batch, running, "done", event.nuclei, event.seconds, digest)

    def interrupted(self) -> None:
        """Note what a stream that ends leaves on the way: planned again, with no failure."""
        for number in self._running:
            self._writer.execute(
                "UPDATE batches SET state = 'planned' WHERE number = ? AND state = 'running'",
                number,
            )

    def forget(self) -> None:
        """Forget what was on the way."""
        self._running.clear()

    def _make_current(self, batch: Batch, running: _Running) -> None:
        """Let only the failures of this attempt be current ones."""
        self._writer.execute(
            "UPDATE failures SET current = (attempt = ?) WHERE batch = ?",
            running.attempt,
            batch.number,
        )

    def _failed(self, event: BatchFinished, running: _Running) -> None:
        self._note_skipped(event.batch, running, event.skipped)
        # A table that is in place keeps its own failures; else the last attempt's are told.
        self._writer.execute(
            "UPDATE failures SET current = 0 WHERE batch = ?1 AND attempt < ?2"
            if not running.was_done
            else "UPDATE failures SET current = 0 WHERE batch = ?1 AND attempt = ?2",
            event.batch.number,
            running.attempt,
        )
        self._note(event.batch, running, "batch", event.error_kind, event.error)
        self._writer.execute(
            "UPDATE batches SET state = 'failed', failed_images = ? "
            "WHERE number = ? AND state != 'done'",
            len(running.failed),
            event.batch.number,
        )
        self._attempt(event.batch, running, "failed", event.nuclei, event.seconds)
        self._writer.execute(
            "UPDATE attempts SET error_kind = ?, error = ? WHERE batch = ? AND attempt = ?",
            event.error_kind,
            redact(event.error),
            event.batch.number,
            running.attempt,
        )

    def _attempt(
        self,
        batch: Batch,
        running: _Running,
        outcome: str,
        nuclei: int,
        seconds: Mapping[str, float],
        sha256: str | None = None,
    ) -> None:
        self._writer.execute(
            "UPDATE attempts SET outcome = ?, ended = ?, nuclei = ?, seconds = ?, sha256 = ? "
            "WHERE batch = ? AND attempt = ?",
            outcome, time.time(), nuclei, seconds_as_json(seconds), sha256, batch.number,
            running.attempt,
        )  # fmt: skip

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
        self._writer.insert(
            "failures",
            run=self._run.number,
            batch=batch.number,
            attempt=running.attempt,
            stage=stage,
            kind=kind,
            message=redact(message),
            time=time.time(),
            log_end=self._run.log_end(),
            **image,
        )


def _place(task: ImageTask) -> tuple[str, int, int, tuple[int, ...]]:
    return task.plate, task.well_number, task.site, task.frames
