"""Open the journal's file, migrate it to the current version, translate its errors."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from idrstream.errors import JournalError, StorageError
from idrstream.folder.journal.schema import APPLICATION_ID, MIGRATIONS, VERSION
from idrstream.opening import refuse_strange

log = logging.getLogger(__name__)

# SQLite's write-ahead log needs memory shared by all users of the file, which file systems
# shared between machines do not have (https://sqlite.org/wal.html).
_NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "afs", "lustre", "gpfs", "beegfs", "ceph")
# Of SQLite's machine, some seconds; all images of a journal with a million take 20 million.
_STEPS, _MOST_STEPS = 1_000_000, 150_000_000
_SIZE = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
_FEW_ROWS, _ROW_BYTES = 100_000, 16
_MOST_BYTES = 2**25  # of a text or a row
# Views, triggers, and tables that are made up while they are read.
_FOREIGN = (
    "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index') "
    "OR sql LIKE 'create virtual%' OR sql LIKE '%generated%always%' LIMIT 1"
)


_BESIDE = ("-wal", "-shm", "-journal")


def open_writer(path: Path, *, durable: bool = True) -> sqlite3.Connection:
    """Open or create a journal for writing and migrate it to the current version.

    `durable` waits for the disk where it matters; it is off only to measure speed.

    Raises
    ------
    StorageError
        If it cannot be written.
    JournalError
        If it is not a journal, damaged, or of a newer version.
    """
    _refuse_strange(path, written=True)
    with sqlite_errors(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _check(connection, path)
            _choose_mode(connection, path)
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def open_reader(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a journal for reading, also while a stream writes it or the folder is read-only.

    A journal of an older version is migrated in a copy.

    Raises
    ------
    JournalError
        If there is none, it is damaged, or of a newer version.
    """
    if not path.is_file():
        msg = (
            f"{path.parent} has no {path.name}: it is not the output folder of a stream"
            if path.parent.is_dir()
            else f"there is no folder {path.parent}"
        )
        raise JournalError(msg)
    _refuse_strange(path, written=False)
    with sqlite_errors(path), tempfile.TemporaryDirectory(prefix="idrstream-journal-") as folder:
        connection = _read_only(path)
        if connection is None or _version(connection) < VERSION:
            if connection is not None:
                connection.close()
            connection = _copy(path, Path(folder))
        try:
            yield connection
        finally:
            connection.close()
            _leave_nothing(path)


def rows_of(
    connection: sqlite3.Connection, query: str, values: Sequence[int | str | None], path: Path
) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Return the rows of a query and the names of its columns.

    A query that takes more steps or gives more rows than a journal's is given up.

    Raises
    ------
    JournalError
        If it does, or the journal is damaged.
    """
    with sqlite_errors(path):
        (size,) = connection.execute(_SIZE).fetchone()
        most = max(_FEW_ROWS, size // _ROW_BYTES)  # joined rows are as many as those of a table
        with _interrupted(connection):
            cursor = connection.execute(query, values)
            rows = cursor.fetchmany(most + 1)
    if len(rows) > most:
        msg = f"the journal {path} has more in it than a journal: reading it was given up"
        raise JournalError(msg)
    return rows, [name for name, *_ in cursor.description]


@contextmanager
def _interrupted(connection: sqlite3.Connection) -> Iterator[None]:
    """Interrupt the block's query when it takes more steps than any of a journal's does."""
    left = _MOST_STEPS

    def step() -> bool:
        nonlocal left
        left -= _STEPS
        return left < 0

    connection.set_progress_handler(step, _STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block as one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def has_write_ahead_log(connection: sqlite3.Connection) -> bool:
    """Return whether a connection writes through a write-ahead log."""
    return bool(connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal")


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Translate SQLite's errors into those of idrstream."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            msg = f"the journal {path} has more in it than a journal: reading it was given up"
            raise JournalError(msg) from error
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # a table or column is missing
            raise _damaged(path, error) from error
        msg = (
            f"the journal {path} cannot be read or written: {error}; free space or repair the disk"
        )
        raise StorageError(msg) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> JournalError:
    return JournalError(
        f"the journal {path} is damaged or not a journal: {error}; restore it from a copy, or "
        "choose a new output folder"
    )


def _refuse_strange(path: Path, *, written: bool) -> None:
    """Refuse a journal that is a link; readers write to the files beside it, too."""
    refuse_strange(path, written=written)
    for suffix in _BESIDE:
        refuse_strange(path.with_name(f"{path.name}{suffix}"), written=True)


def _read_only(path: Path) -> sqlite3.Connection | None:
    """Return a connection that sees what a running stream writes; None if that is impossible."""
    address = quote(str(path.absolute()))
    try:
        connection = sqlite3.connect(
            f"file:{address}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
    except sqlite3.OperationalError:
        return None
    try:
        _check(connection, path)
    except sqlite3.OperationalError:  # no shared memory in a read-only folder
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def _leave_nothing(path: Path) -> None:
    """Have SQLite remove the empty log that a reader leaves beside a journal at rest.

    A connection that only reads makes these files and may not delete them; another one does when
    it is closed, unless a stream has the journal open.
    """
    log_file = path.with_name(f"{path.name}-wal")
    if not log_file.is_file() or log_file.stat().st_size:  # none, or somebody writes or died
        return
    address = quote(str(path.absolute()))
    with suppress(sqlite3.Error, OSError):  # of a read-only folder
        connection = sqlite3.connect(f"file:{address}?mode=rw", uri=True, isolation_level=None)
        with closing(connection):
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA schema_version").fetchone()


def _copy(path: Path, folder: Path) -> sqlite3.Connection:
    for suffix in ("", "-wal", "-journal"):
        name = f"{path.name}{suffix}"
        source = path.with_name(name)
        if source.is_file():
            shutil.copyfile(source, folder / name)
    connection = sqlite3.connect(folder / path.name, isolation_level=None, check_same_thread=False)
    try:
        _check(connection, path)
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
    version = _version(connection)
    kind = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if (tables or version) and kind != APPLICATION_ID:
        msg = f"{path} is a database, but not a journal of idrstream; choose another folder"
        raise JournalError(msg)
    foreign = connection.execute(_FOREIGN).fetchone()
    if foreign is not None:
        msg = (
            f"{path} has the {foreign[0]} {foreign[1][:80]!r}, which no journal has: it could do "
            "anything when it is read; restore the journal from a copy"
        )
        raise JournalError(msg)
    if version > VERSION:
        msg = (
            f"{path} has format version {version}, this idrstream knows those up to {VERSION}; "
            "use the idrstream that wrote it, or a newer one"
        )
        raise JournalError(msg)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    for step in range(version, VERSION):
        # One transaction for each step: a crash in between leaves a complete older version.
        with transaction(connection):
            for statement in MIGRATIONS[step].split(";"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={step + 1}")
    if 0 < version < VERSION:
        log.info("Migrated %s from format version %d to %d", path, version, VERSION)


def _choose_mode(connection: sqlite3.Connection, path: Path) -> None:
    kind = file_system(path.parent)
    if not kind.startswith(_NETWORK):
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            mode = f"{error}"
        if mode == "wal":
            return
        kind = f"{kind} ({mode})"
    log.warning(
        "%s is on %s, where SQLite's write-ahead log is not reliable: it uses a rollback "
        "journal, and readers may have to wait while it is written",
        path, kind,
    )  # fmt: skip
    connection.execute("PRAGMA journal_mode=DELETE")


def file_system(folder: Path) -> str:
    """Return the type of file system of a folder; ``""`` if unknown."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        real = folder.resolve()
    except OSError:
        return ""
    best = ("", "")
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode().decode("unicode_escape", errors="replace")
        if real.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, after.split()[0] if after else "")
    return best[1]
