"""Verify an output folder: every table exists, unchanged and complete."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from idrstream.compile.publish import columns_digest
from idrstream.compile.readers import rows_and_names
from idrstream.errors import LockedError, StorageError
from idrstream.files import file_sha256
from idrstream.folder.journal.journal import Journal
from idrstream.folder.journal.reader import open_journal
from idrstream.folder.journal.records import PublishedTable
from idrstream.folder.journal.schema import JOURNAL_NAME
from idrstream.folder.live import CONTROL_NAME, DETACHED_LOG, LIVE_NAME
from idrstream.folder.locks import LOCK_NAME, folder_lock
from idrstream.folder.names import batch_number, is_leftover, is_note, is_of_cluster
from idrstream.folder.outputs import wrong_kept
from idrstream.folder.provenance import PROVENANCE_NAME
from idrstream.opening import inside
from idrstream.text import counted, shorten_list
from idrstream.visible import visible

log = logging.getLogger(__name__)

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """A missing, changed, incomplete or stray file.

    Attributes
    ----------
    file : str
        Its name in the folder.
    kind : str
        ``missing``, ``changed``, ``incomplete`` or ``stray``.
    reason : str
        Details.
    """

    file: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    """Result of verifying an output folder.

    Attributes
    ----------
    folder : str
        The folder.
    batches : int
        Batches of its plan.
    verified : int
        Batches whose table has the bytes, rows and columns that were published.
    left : tuple of int
        Batches that are not done.
    rows : int
        Rows of the verified tables.
    problems : tuple of Problem
        What is wrong; a stray is a batch table or partial file that belongs to no batch.
    others : tuple of str
        Files that are not the stream's.
    """

    folder: str
    batches: int
    verified: int
    left: tuple[int, ...]
    rows: int
    problems: tuple[Problem, ...]
    others: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether every batch is verified and there is no file that is not the stream's."""
        return not (self.problems or self.left or self.others)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = asdict(self)
        values["proven"] = values.pop("verified")
        return {**values, "is_good": self.is_good}

    def __str__(self) -> str:
        """Return the result as text."""
        batches = counted(self.batches, "batch", "batches")
        lines = [f"{self.verified} of {batches} verified, {counted(self.rows, 'row')}."]
        lines += [f"{item.file}: {item.kind}: {item.reason}" for item in self.problems]
        if any(item.kind != "stray" for item in self.problems):
            lines.append(f"Compute them again with idrstream resume --verify {quote(self.folder)}")
        if self.left:
            lines.append(
                f"{counted(len(self.left), 'batch is', 'batches are')} not done; continue with "
                f"idrstream resume {quote(self.folder)}"
            )
        if self.others:
            shown = shorten_list(self.others, _SHOWN)
            files = counted(len(self.others), "file")
            lines.append(f"{files} not of the stream: {shown}")
        return visible("\n".join(lines))


def verify_folder(folder: Path, *, quick: bool = False) -> Verified:
    """Verify an output folder against its journal.

    Tables that are wrong are remembered in the journal, so that the next run computes them again;
    not in a folder that is read-only or whose stream runs.

    Parameters
    ----------
    folder : Path
        Output folder; may be read-only.
    quick : bool
        Compare only sizes; read no file.

    Raises
    ------
    JournalError
        If the folder has no journal that can be read.
    """
    with open_journal(folder) as journal:
        states, outputs = journal.batch_states(), journal.outputs()
        known = {plan.table_file for plan in journal.plans()}
        logs = {Path(run.log) for run in journal.runs()}
    known.add("report.html")
    known |= {path.name for path in logs if path.parent == folder.absolute()}
    tables = list(outputs.values())
    wrong = {
        number: found
        for number, table in outputs.items()
        if (found := _problem(folder, table, quick=quick))
    }
    if wrong:
        _remember(folder, wrong)
    good = [table for number, table in outputs.items() if number not in wrong]
    strays, others = _unknown_files(folder, {*known, *(table.file for table in tables)})
    return Verified(
        folder=str(folder),
        batches=len(states),
        verified=len(good),
        left=tuple(number for number in states if number not in outputs),
        rows=sum(table.rows for table in good),
        problems=(*wrong.values(), *strays),
        others=tuple(others),
    )


def _remember(folder: Path, wrong: dict[int, Problem]) -> None:
    """Note in the journal which tables the next run has to look at, if that is possible now."""
    try:
        with folder_lock(folder, "final_data_dir"), closing(Journal(folder)) as journal:
            # Their bytes are as they were published: only computing them again helps.
            journal.lost(number for number, item in wrong.items() if item.kind == "incomplete")
            journal.doubt(number for number, item in wrong.items() if item.kind != "incomplete")
    except (LockedError, StorageError) as error:
        log.info("What is wrong in %s is not remembered: %s", folder, error)


def _problem(folder: Path, table: PublishedTable, *, quick: bool) -> Problem | None:
    try:
        path = inside(folder, table.file)
        size = path.stat().st_size
        if size != table.size_bytes:
            reason = f"{size} bytes instead of {table.size_bytes}"
            return Problem(table.file, "changed", reason)
        if quick:
            return None
        if file_sha256(path) != table.sha256:
            return Problem(table.file, "changed", "changed after it was published")
        rows, names = rows_and_names(path)
    except FileNotFoundError:
        return Problem(table.file, "missing", "published, but no longer there")
    except StorageError as error:  # a link
        return Problem(table.file, "changed", str(error))
    except (OSError, EOFError, ValueError) as error:
        return Problem(table.file, "changed", f"cannot be read: {error}")
    if rows != table.rows:
        return Problem(table.file, "incomplete", f"{rows} rows instead of {table.rows}")
    number = batch_number(table.file)
    if number is not None:
        wrong = wrong_kept(folder, number, table, full=True)
        if wrong:
            return Problem(wrong.partition(" ")[0], "changed", wrong)
    if len(names) != table.columns or columns_digest(names) != table.columns_sha256:
        reason = f"{len(names)} columns instead of {table.columns}, or other names"
        return Problem(table.file, "incomplete", reason)
    return None


def _unknown_files(folder: Path, known: set[str]) -> tuple[list[Problem], list[str]]:
    """Return stray and other files in the folder, which the journal does not know."""
    own = {
        JOURNAL_NAME, f"{JOURNAL_NAME}-wal", f"{JOURNAL_NAME}-shm", f"{JOURNAL_NAME}-journal",
        LOCK_NAME, LIVE_NAME, CONTROL_NAME, DETACHED_LOG, PROVENANCE_NAME,
    }  # fmt: skip
    strays: list[Problem] = []
    others: list[str] = []
    for name in sorted(set(_files(folder)) - known - own):
        if batch_number(name) is not None or is_leftover(name):
            strays.append(Problem(name, "stray", "belongs to no batch that is done"))
        elif not (is_note(name) or is_of_cluster(name)):
            others.append(name)
    return strays, others


def _files(folder: Path) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        for name in names:
            yield (Path(root) / name).relative_to(folder).as_posix()
