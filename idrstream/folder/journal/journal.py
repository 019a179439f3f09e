"""The journal of an output folder: every run, batch, image and failure, in one SQLite file.

The journal listens to the runner. An event that it has recorded survives a crash of the process,
so a stream that crashes at any transition continues from there; a published batch also survives a
power cut. There is one writer, guarded by the folder's lock, and any number of readers. The format
is described in ``docs/journal.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from idrstream.folder.journal.batches import BatchRecorder
from idrstream.folder.journal.file import sqlite_errors
from idrstream.folder.journal.reader import JournalReader
from idrstream.folder.journal.runs import RunInfo, RunRecorder
from idrstream.folder.journal.schema import JOURNAL_NAME
from idrstream.folder.journal.writer import JournalWriter
from idrstream.folder.plans import Decision, RequestedPlan
from idrstream.schedule.events import (
    BatchFinished,
    BatchPublished,
    BatchStarted,
    Event,
    ImageFinished,
    LanesMeasured,
    StageFinished,
    StreamFinished,
    StreamStarted,
)

__all__ = ["Journal", "RunInfo"]


class Journal(JournalReader):
    """Writes the journal of an output folder; a `Listener`.

    Parameters
    ----------
    folder : Path
        The output folder; the caller holds its lock.
    durable : bool
        Wait for the disk where it matters; off only to measure speed.

    Raises
    ------
    StorageError
        If it cannot be written.
    JournalError
        If the file is damaged or of a newer version.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._writer = JournalWriter(folder / JOURNAL_NAME, durable=durable)
        super().__init__(self._writer.connection, folder / JOURNAL_NAME)
        self._run = RunRecorder(self._writer)
        self._batches = BatchRecorder(self._writer, self._run, folder)
        with sqlite_errors(self.path):
            self._run.mark_crashed_runs()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._connection.close()

    def touched(self, number: int, mtime_ns: int) -> None:
        """Record the new time of an unchanged file that was copied or touched."""
        with sqlite_errors(self.path), self._writer.transaction(flushed=False):
            self._writer.execute(
                "UPDATE batches SET mtime_ns = ? WHERE number = ?", mtime_ns, number
            )

    def doubt(self, numbers: Iterable[int]) -> None:
        """Let the next run read the files of batches whatever their time of change says."""
        with sqlite_errors(self.path), self._writer.transaction(flushed=True):
            self._connection.executemany(
                "UPDATE batches SET mtime_ns = 0 WHERE number = ?",
                [(number,) for number in numbers],
            )

    def lost(self, numbers: Iterable[int]) -> None:
        """Mark batches whose files are missing or changed as planned."""
        with sqlite_errors(self.path), self._writer.transaction(flushed=True):
            self._connection.executemany(
                "UPDATE batches SET state = 'planned' WHERE number = ?",
                [(number,) for number in numbers],
            )

    def begin(
        self,
        info: RunInfo,
        requested: RequestedPlan,
        decision: Decision,
        *,
        table_file: str = "",
        table_sha256: str = "",
    ) -> int:
        """Record the start of a run and its plan; return the number of the run.

        `table_file` and `table_sha256` are the copy of the table in the folder and its digest.
        """
        with sqlite_errors(self.path), self._writer.transaction(flushed=True):
            self._run.begin(info, requested, decision, (table_file, table_sha256))
        return self._run.number

    def __call__(self, event: Event) -> None:
        """Record an event; it survives a crash of the process when this returns."""
        with sqlite_errors(self.path):
            if isinstance(event, StageFinished):
                self._batches.stage(event)
            elif isinstance(event, ImageFinished):
                self._batches.image(event)
            elif isinstance(event, BatchStarted):
                self._batches.started(event.batch)
            elif isinstance(event, BatchPublished):
                self._batches.published(event)
            elif isinstance(event, BatchFinished):
                self._batches.finished(event)
            elif isinstance(event, LanesMeasured):
                with self._writer.transaction(flushed=False):
                    self._run.lanes(event.lanes)
            elif isinstance(event, StreamStarted):
                self._run.restart()
            elif isinstance(event, StreamFinished):
                self._finish(event)

    def _finish(self, event: StreamFinished) -> None:
        with self._writer.transaction(flushed=True):
            self._batches.interrupted()
            if event.result.lanes:
                self._run.lanes(event.result.lanes)
            self._run.finished(event.stopped_by)
        self._batches.forget()
