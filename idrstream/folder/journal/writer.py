"""The one connection that writes a journal, and what its transactions wait for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from idrstream.folder.journal.file import has_write_ahead_log, open_writer, transaction
from idrstream.redact import redacted


class JournalWriter:
    """Writes a journal in transactions, which happen together or not at all.

    A transaction is safe from the death of this process as soon as it has ended. One that is
    flushed is safe from a power cut, too, with all that were before it. Flushing is what costs
    time: it waits for the disk.

    Parameters
    ----------
    path : Path
        The file.
    durable : bool
        Flush at all. Off only where speed is measured.

    Raises
    ------
    StorageError
        If it cannot be written.
    JournalError
        If it is no journal, damaged, or of a newer version.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.connection = open_writer(path, durable=durable)
        self._flushed = True
        # A rollback journal that is not flushed can be damaged by a power cut: no choice there.
        self._has_choice = durable and has_write_ahead_log(self.connection)

    @contextmanager
    def transaction(self, *, flushed: bool) -> Iterator[None]:
        """Make the statements of the block happen together, on the disk or soon there."""
        if self._has_choice and flushed != self._flushed:
            self.connection.execute(f"PRAGMA synchronous={'FULL' if flushed else 'NORMAL'}")
            self._flushed = flushed
        with transaction(self.connection):
            yield

    def insert(self, table: str, **values: Any) -> int:
        """Insert a row; return its number."""
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        cursor = self.connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608, names are ours
            tuple(values.values()),
        )
        return int(cursor.lastrowid or 0)

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        """Execute one statement."""
        return self.connection.execute(statement, values)


def as_json(value: Any) -> str:
    """Return a value as JSON without its secrets."""
    return json.dumps(redacted(value), ensure_ascii=False, sort_keys=True)


def seconds_as_json(seconds: Mapping[str, float]) -> str:
    """Return times in stages as JSON, in milliseconds' precision."""
    return json.dumps({stage: round(value, 3) for stage, value in seconds.items()})
