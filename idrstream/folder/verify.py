"""Proves a finished output folder anew: every table there, unchanged, complete."""

from __future__ import annotations

import csv
import gzip
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from idrstream.compile.publish import columns_digest
from idrstream.files import file_sha256
from idrstream.folder.journal.reader import open_journal
from idrstream.folder.journal.records import PublishedTable
from idrstream.folder.journal.schema import JOURNAL_NAME
from idrstream.folder.locks import LOCK_NAME
from idrstream.folder.outputs import ILLUMINATION, QUALITY, TABLES, is_ours
from idrstream.folder.provenance import PROVENANCE_NAME


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is not as it should be.

    Attributes
    ----------
    file : str
        Its name in the folder.
    kind : str
        ``missing``, ``changed``, ``incomplete`` or ``stray``.
    reason : str
        What was seen.
    """

    file: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a look at an output folder showed.

    Attributes
    ----------
    folder : str
        The folder.
    batches : int
        Batches of its plan.
    proven : int
        Batches whose table is there, with the bytes, rows and columns that were published.
    left : tuple of int
        Batches that are not done.
    rows : int
        Rows of the proven tables.
    problems : tuple of Problem
        What is wrong; a stray is a table or half-written file that belongs to no batch.
    others : tuple of str
        Files that idrstream does not know.
    """

    folder: str
    batches: int
    proven: int
    left: tuple[int, ...]
    rows: int
    problems: tuple[Problem, ...]
    others: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether every batch is proven and nothing is there that should not be."""
        return not self.problems and not self.left

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "is_good": self.is_good}

    def __str__(self) -> str:
        """Return it as text for a person."""
        lines = [f"{self.proven} of {self.batches} batches proven, {self.rows} rows."]
        lines += [f"{item.file}: {item.kind}: {item.reason}" for item in self.problems]
        if self.left:
            lines.append(f"{len(self.left)} batches are not done; go on with idrstream resume")
        if self.others:
            lines.append(f"Files of somebody else: {', '.join(self.others)}")
        return "\n".join(lines)


def verify_folder(folder: Path, *, quick: bool = False) -> Verified:
    """Prove an output folder by its journal.

    Parameters
    ----------
    folder : Path
        Output folder; may be read-only.
    quick : bool
        Compare only sizes; no file is read.

    Returns
    -------
    Verified
        What was seen.

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
    problems = [found for table in tables if (found := _problem(folder, table, quick=quick))]
    bad = {problem.file for problem in problems}
    good = [table for table in tables if table.file not in bad]
    strays, others = _unknown_files(folder, {*known, *(table.file for table in tables)})
    return Verified(
        folder=str(folder),
        batches=len(states),
        proven=len(good),
        left=tuple(number for number in states if number not in outputs),
        rows=sum(table.rows for table in good),
        problems=(*problems, *strays),
        others=tuple(others),
    )


def _problem(folder: Path, table: PublishedTable, *, quick: bool) -> Problem | None:
    path = folder / table.file
    try:
        size = path.stat().st_size
        if size != table.size_bytes:
            reason = f"{size} bytes instead of {table.size_bytes}"
            return Problem(table.file, "changed", reason)
        if quick:
            return None
        if file_sha256(path) != table.sha256:
            return Problem(table.file, "changed", "other bytes than were published")
        rows, names = _content(path)
    except FileNotFoundError:
        return Problem(table.file, "missing", "it was published, and is gone")
    except (OSError, EOFError, ValueError) as error:
        return Problem(table.file, "changed", f"it cannot be read: {error}")
    if rows != table.rows:
        return Problem(table.file, "incomplete", f"{rows} rows instead of {table.rows}")
    if len(names) != table.columns or columns_digest(names) != table.columns_sha256:
        reason = f"{len(names)} columns instead of {table.columns}, or others"
        return Problem(table.file, "incomplete", reason)
    return None


def _content(path: Path) -> tuple[int, list[str]]:
    """Return rows and column names of a table."""
    if path.name.endswith(".parquet"):
        import pyarrow.parquet as pq

        found = pq.read_metadata(path)
        return int(found.num_rows), list(found.schema.to_arrow_schema().names)
    csv.field_size_limit(sys.maxsize)  # outlines of large nuclei are long texts
    with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
        lines = csv.reader(text)
        names = next(lines)[1:]
        return sum(1 for _ in lines), names


def _unknown_files(folder: Path, known: set[str]) -> tuple[list[Problem], list[str]]:
    """Return what is in the folder though the journal does not know it."""
    own = {
        JOURNAL_NAME, f"{JOURNAL_NAME}-wal", f"{JOURNAL_NAME}-shm", LOCK_NAME, PROVENANCE_NAME,
    }  # fmt: skip
    strays: list[Problem] = []
    others: list[str] = []
    for name in sorted(set(_files(folder)) - known - own):
        if is_ours(name):
            strays.append(Problem(name, "stray", "it belongs to no batch that is done"))
        elif name.split("/")[0] not in (TABLES, ILLUMINATION, *QUALITY) or "/" not in name:
            others.append(name)
    return strays, others


def _files(folder: Path) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        for name in names:
            yield (Path(root) / name).relative_to(folder).as_posix()
