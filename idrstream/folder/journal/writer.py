"""The connection that writes a journal, and its transactions."""

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
    """Writes a journal in transactions.

    A finished transaction survives a crash of this process. A flushed one, and all before it,
    also survive a power cut. Flushing waits for the disk; without `durable`, which is only for
    measuring speed, nothing is flushed.

    Raises
    ------
    StorageError
        If it cannot be written.
    JournalError
        If it is not a journal, damaged, or of a newer version.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.connection = open_writer(path, durable=durable)
        self._flushed = True
        # A rollback journal that is not flushed can be damaged by a power cut.
        self._may_defer = durable and has_write_ahead_log(self.connection)

    @contextmanager
    def transaction(self, *, flushed: bool) -> Iterator[None]:
        """Run the block as one transaction; wait for the disk if `flushed`."""
        if self._may_defer and flushed != self._flushed:
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
    """Return times of stages as JSON, rounded to milliseconds."""
    return json.dumps({stage: round(value, 3) for stage, value in seconds.items()})
