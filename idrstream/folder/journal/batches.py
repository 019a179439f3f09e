"""Records batches: their attempts, images, failures and published tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idrstream.folder.journal.runs import RunRecorder
from idrstream.folder.journal.writer import JournalWriter, seconds_as_json
from idrstream.folder.states import AttemptState, BatchState, ImageState
from idrstream.records import Batch, ImageTask, KeptFolder, Published, Skipped
from idrstream.redact import redact
from idrstream.schedule.events import (
    BatchFinished,
    BatchPublished,
    ImageFinished,
    StageFinished,
)
from idrstream.screen.frames import frames_range

_IMAGE = (
    "UPDATE images SET state = ?, attempts = attempts + 1, nuclei = ?, bytes = ?, seconds = ?, "
    "frames = coalesce(?, frames) WHERE batch = ? AND position = ?"
)


@dataclass(slots=True)
class _Running:
    """A running batch: what is not in the file yet."""

    attempt: int
    was_done: bool
    positions: dict[tuple[str, int, int, str], int]
    seconds: dict[int, dict[str, float]] = field(default_factory=dict)
    bytes: dict[int, int] = field(default_factory=dict)
    recorded: set[tuple[int, int | None]] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    # Results of images, held back while the published table is of an earlier attempt.
    held: list[tuple[Any, ...]] = field(default_factory=list)


class BatchRecorder:
    """Records the batches of a run.

    Only a published batch is flushed to the disk before the runner continues, since its inputs
    are deleted then. Everything else that a power cut takes away is done again.
    """

    def __init__(self, writer: JournalWriter, run: RunRecorder, folder: Path) -> None:
        self._writer = writer
        self._folder = folder
        self._run = run
        self._running: dict[int, _Running] = {}

    def started(self, batch: Batch) -> None:
        """Record a new attempt."""
        positions = {_image_key(task): position for position, task in enumerate(batch.tasks)}
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
        self._running[batch.number] = _Running(attempt, state == BatchState.DONE, positions)

    def stage(self, event: StageFinished) -> None:
        """Remember the time of an image in a stage until it is finished."""
        running = self._running.get(event.batch.number)
        if running is None or event.task is None:
            return
        position = running.positions.get(_image_key(event.task))
        if position is None:  # a movie downloaded only for its plate's illumination
            return
        seconds = running.seconds.setdefault(position, {})
        seconds[event.stage] = seconds.get(event.stage, 0.0) + event.seconds
        if event.stage == "download" and event.bytes is not None:
            running.bytes[position] = event.bytes

    def image(self, event: ImageFinished) -> None:
        """Record the result of an image."""
        running = self._running[event.batch.number]
        position = running.positions[_image_key(event.task)]
        state = ImageState.DONE
        if event.skipped:
            whole = any(item.frame_number is None for item in event.skipped)
            some = len({item.frame_number for item in event.skipped}) < len(event.task.frames)
            state = ImageState.PARTIAL if some and not whole else ImageState.FAILED
            running.failed.add(position)
        result = (
            state, event.nuclei, running.bytes.get(position),
            seconds_as_json(running.seconds.pop(position, {})), _counted(event.task),
            event.batch.number, position,
        )  # fmt: skip
        with self._writer.transaction(flushed=False):
            if running.was_done:
                running.held.append(result)
            else:
                self._writer.execute(_IMAGE, *result)
            self._record_skipped(event.batch, running, event.skipped)

    def published(self, event: BatchPublished) -> None:
        """Record that a batch is done; durable when this returns, unless more follow at once."""
        running, published = self._running[event.batch.number], event.published
        stat = published.path.stat()
        with self._writer.transaction(flushed=not event.more):
            for result in running.held:
                self._writer.execute(_IMAGE, *result)
            if running.attempt > 1:
                self._make_current(event.batch, running)
            self._record_skipped(event.batch, running, event.skipped)
            self._writer.execute(
                "UPDATE batches SET state = 'done', failed_images = ?, nuclei = ?, file = ?, "
                "rows = ?, columns = ?, columns_sha256 = ?, size_bytes = ?, mtime_ns = ?, "
                "sha256 = ?, masks_bytes = ?, masks_sha256 = ?, tracks_bytes = ?, "
                "tracks_sha256 = ? WHERE number = ?",
                len(running.failed), event.nuclei, self._name_of(published), published.rows,
                published.columns, published.columns_sha256, stat.st_size, stat.st_mtime_ns,
                published.sha256, *_kept(published.masks), *_kept(published.tracks),
                event.batch.number,
            )  # fmt: skip
            self._attempt(
                event.batch,
                running,
                AttemptState.PUBLISHED,
                event.nuclei,
                event.seconds,
                published.sha256,
            )  # fmt: skip
            self._done_by(running, event)
            self._run.tick()

    def finished(self, event: BatchFinished) -> None:
        """Record the end of a batch, successful or not."""
        running = self._running.pop(event.batch.number)
        with self._writer.transaction(flushed=False):
            if event.published is None:
                self._failed(event, running)
                self._run.tick()
            else:
                digest = event.published.sha256
                self._attempt(
                    event.batch, running, AttemptState.DONE, event.nuclei, event.seconds, digest
                )
            self._done_by(running, event)

    def interrupted(self) -> None:
        """Mark batches that the end of the stream interrupts as planned."""
        for number in self._running:
            self._writer.execute(
                "UPDATE batches SET state = 'planned' WHERE number = ? AND state = 'running'",
                number,
            )

    def forget(self) -> None:
        """Forget the running batches."""
        self._running.clear()

    def _name_of(self, published: Published) -> str:
        """Return the name of a table in the output folder, which may be moved as a whole."""
        return published.path.absolute().relative_to(self._folder.absolute()).as_posix()

    def _make_current(self, batch: Batch, running: _Running) -> None:
        """Mark only the failures of this attempt as current."""
        self._writer.execute(
            "UPDATE failures SET current = (attempt = ?) WHERE batch = ?",
            running.attempt,
            batch.number,
        )

    def _failed(self, event: BatchFinished, running: _Running) -> None:
        self._record_skipped(event.batch, running, event.skipped)
        # A published table keeps its own failures; otherwise the last attempt's are current.
        self._writer.execute(
            "UPDATE failures SET current = 0 WHERE batch = ?1 AND attempt < ?2"
            if not running.was_done
            else "UPDATE failures SET current = 0 WHERE batch = ?1 AND attempt = ?2",
            event.batch.number,
            running.attempt,
        )
        self._record(event.batch, running, "batch", event.error_kind, event.error)
        self._writer.execute(
            "UPDATE batches SET state = 'failed', failed_images = ? "
            "WHERE number = ? AND state != 'done'",
            len(running.failed),
            event.batch.number,
        )
        self._attempt(event.batch, running, AttemptState.FAILED, event.nuclei, event.seconds)
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
        outcome: AttemptState,
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

    def _done_by(self, running: _Running, event: BatchPublished | BatchFinished) -> None:
        """Record which worker computed a batch, if it was one elsewhere."""
        if (by := event.by) is not None:
            self._writer.execute(
                "UPDATE attempts SET worker = ?, host = ?, job = ?, begun = ?, worked_s = ?, "
                "loading_s = ?, peak_bytes = ? WHERE batch = ? AND attempt = ?",
                by.worker, by.host, by.job, by.begun, by.worked_s, by.loading_s, by.peak_bytes,
                event.batch.number, running.attempt,
            )  # fmt: skip

    def _record_skipped(self, batch: Batch, running: _Running, skipped: Sequence[Skipped]) -> None:
        for item in skipped:
            position = running.positions.get(_image_key(item.task), -1)
            if (position, item.frame_number) not in running.recorded:
                running.recorded.add((position, item.frame_number))
                running.failed.add(position)
                self._record(batch, running, item.stage, item.kind, item.reason, item)

    def _record(
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
                "position": running.positions.get(_image_key(item.task)),
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


def _kept(folder: KeptFolder | None) -> tuple[int, str]:
    return (0, "") if folder is None else (folder.size_bytes, folder.sha256)


def _counted(task: ImageTask) -> str | None:
    """Return the frames that a movie turned out to have, where the table did not name them."""
    return frames_range(task.frames) if task.every and task.frames else None


def _image_key(task: ImageTask) -> tuple[str, int, int, str]:
    return task.plate, task.well_number, task.site, task.frames_text
