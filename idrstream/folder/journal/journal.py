"""The journal of an output folder: every run, batch, image and failure, in one SQLite file.

The journal listens to the runner. What it notes survives the death of the process when it
returns, so that the runner's transitions and the journal's are the same, and a stream that dies
at any of them goes on from there; that a batch is published is then on the disk, too. There is
one writer, held by the folder's lock; anyone may read meanwhile. The format is described in
``docs/journal.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from idrstream.folder.journal.batches import BatchNotes
from idrstream.folder.journal.file import sqlite_errors
from idrstream.folder.journal.reader import JournalReader
from idrstream.folder.journal.runs import RunInfo, RunNotes
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
        Wait until what matters is on the disk. Off only where speed is measured.

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
        self._run = RunNotes(self._writer)
        self._batches = BatchNotes(self._writer, self._run)
        with sqlite_errors(self.path):
            self._run.mark_crashed_runs()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._connection.close()

    def touched(self, number: int, mtime_ns: int) -> None:
        """Note that a file was copied or touched and still has its bytes."""
        with sqlite_errors(self.path), self._writer.transaction(flushed=False):
            self._writer.execute(
                "UPDATE batches SET mtime_ns = ? WHERE number = ?", mtime_ns, number
            )

    def lost(self, numbers: Iterable[int]) -> None:
        """Note that the files of batches are gone or changed: they are not done any more."""
        with sqlite_errors(self.path), self._writer.transaction(flushed=True):
            self._connection.executemany(
                "UPDATE batches SET state = 'planned' WHERE number = ?", [(n,) for n in numbers]
            )

    def begin(
        self,
        info: RunInfo,
        wanted: RequestedPlan,
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
        wanted, decision : RequestedPlan, Decision
            What is wanted and what was decided; not a refusal.
        table_file, table_sha256 : str
            Copy of the table in the output folder, and its digest.

        Returns
        -------
        int
            Number of the run.
        """
        with sqlite_errors(self.path), self._writer.transaction(flushed=True):
            self._run.begin(info, wanted, decision, (table_file, table_sha256))
        return self._run.number

    def __call__(self, event: Event) -> None:
        """Note an event; what it says survives the death of the process when this returns."""
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
