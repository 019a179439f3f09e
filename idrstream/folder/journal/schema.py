"""The journal's tables and their versions."""

from __future__ import annotations

import re
from collections.abc import Mapping

JOURNAL_NAME = "journal.sqlite"
# "idrs", so that `file` and other programs recognise it.
APPLICATION_ID = 0x69647273

# Entry n migrates version n to n + 1. Released entries are never changed: users have files of
# every version.
MIGRATIONS = (
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        started REAL NOT NULL,
        ended REAL,
        elapsed_s REAL NOT NULL DEFAULT 0,
        state TEXT NOT NULL DEFAULT 'running'
            CHECK (state IN ('running', 'finished', 'stopped', 'died')),
        stopped_by TEXT NOT NULL DEFAULT '',
        pid INTEGER NOT NULL,
        host TEXT NOT NULL,
        log TEXT NOT NULL DEFAULT '',
        settings TEXT,
        options TEXT NOT NULL,
        parts TEXT NOT NULL,
        versions TEXT NOT NULL,
        batches INTEGER NOT NULL DEFAULT 0,
        images INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE plans (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs (id),
        created REAL NOT NULL,
        how TEXT NOT NULL CHECK (how IN ('first', 'grown', 'replanned', 'forced')),
        batch_size INTEGER NOT NULL,
        in_order INTEGER NOT NULL,
        images INTEGER NOT NULL,
        images_sha256 TEXT NOT NULL,
        identity TEXT NOT NULL,
        table_file TEXT NOT NULL DEFAULT '',
        table_sha256 TEXT NOT NULL DEFAULT ''
    );
    CREATE TABLE batches (
        number INTEGER PRIMARY KEY,
        plan INTEGER NOT NULL REFERENCES plans (id),
        state TEXT NOT NULL DEFAULT 'planned'
            CHECK (state IN ('planned', 'running', 'done', 'failed')),
        images INTEGER NOT NULL,
        failed_images INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        nuclei INTEGER,
        file TEXT,
        rows INTEGER,
        columns INTEGER,
        columns_sha256 TEXT,
        size_bytes INTEGER,
        mtime_ns INTEGER,
        sha256 TEXT
    );
    CREATE INDEX batches_by_state ON batches (state);
    CREATE TABLE images (
        batch INTEGER NOT NULL REFERENCES batches (number),
        position INTEGER NOT NULL,
        plate TEXT NOT NULL,
        well TEXT NOT NULL,
        well_number INTEGER NOT NULL,
        site INTEGER NOT NULL,
        frames TEXT NOT NULL,
        digest BLOB NOT NULL,
        state TEXT NOT NULL DEFAULT 'planned'
            CHECK (state IN ('planned', 'done', 'partial', 'failed')),
        attempts INTEGER NOT NULL DEFAULT 0,
        nuclei INTEGER,
        bytes INTEGER,
        seconds TEXT,
        PRIMARY KEY (batch, position)
    ) WITHOUT ROWID;
    CREATE TABLE attempts (
        batch INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        plan INTEGER NOT NULL REFERENCES plans (id),
        run INTEGER NOT NULL REFERENCES runs (id),
        started REAL NOT NULL,
        ended REAL,
        outcome TEXT NOT NULL DEFAULT 'running'
            CHECK (outcome IN ('running', 'published', 'done', 'failed', 'interrupted')),
        nuclei INTEGER,
        sha256 TEXT,
        seconds TEXT,
        error_kind TEXT NOT NULL DEFAULT '',
        error TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (batch, attempt)
    ) WITHOUT ROWID;
    CREATE INDEX attempts_by_run ON attempts (run, outcome);
    CREATE TABLE failures (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs (id),
        batch INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        position INTEGER,
        plate TEXT NOT NULL DEFAULT '',
        well TEXT NOT NULL DEFAULT '',
        site INTEGER,
        frame INTEGER,
        stage TEXT NOT NULL,
        kind TEXT NOT NULL,
        message TEXT NOT NULL,
        time REAL NOT NULL,
        log_end INTEGER,
        current INTEGER NOT NULL DEFAULT 1
    );
    CREATE INDEX failures_current ON failures (current, kind);
    CREATE INDEX failures_by_batch ON failures (batch, current);
    """,
    """
    ALTER TABLE runs ADD COLUMN lanes TEXT;
    """,
    """
    ALTER TABLE batches ADD COLUMN masks_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE batches ADD COLUMN masks_sha256 TEXT NOT NULL DEFAULT '';
    ALTER TABLE runs ADD COLUMN seal TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE batches ADD COLUMN tracks_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE batches ADD COLUMN tracks_sha256 TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE attempts ADD COLUMN worker TEXT NOT NULL DEFAULT '';
    ALTER TABLE attempts ADD COLUMN host TEXT NOT NULL DEFAULT '';
    ALTER TABLE attempts ADD COLUMN job TEXT NOT NULL DEFAULT '';
    ALTER TABLE attempts ADD COLUMN begun REAL;
    ALTER TABLE attempts ADD COLUMN worked_s REAL;
    ALTER TABLE attempts ADD COLUMN loading_s REAL;
    ALTER TABLE attempts ADD COLUMN peak_bytes INTEGER;
    """,
)
VERSION = len(MIGRATIONS)

_TYPES = {"INTEGER": (int,), "REAL": (int, float), "TEXT": (str,), "BLOB": (bytes,)}
COLUMN_TYPES: Mapping[str, tuple[type, ...]] = {
    name: (*_TYPES[kind], type(None))
    for migration in MIGRATIONS
    for name, kind in re.findall(r"\b([a-z_0-9]+) (INTEGER|REAL|TEXT|BLOB)\b", migration)
}
"""What a column may hold, by its name; SQLite itself lets any column hold anything."""
