"""Proves a finished output folder anew: every table there, unchanged, complete."""

from __future__ import annotations

import csv
import gzip
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from idrstream.compile.publish import columns_digest
from idrstream.files import file_sha256
from idrstream.folder.journal.file import open_reader
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


class _Output(NamedTuple):
    number: int
    file: str
    size_bytes: int
    sha256: str
    rows: int
    columns: int
    columns_sha256: str


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
    with open_reader(folder / JOURNAL_NAME) as connection:
        states = connection.execute("SELECT number, state FROM batches ORDER BY number").fetchall()
        outputs = [
            _Output(*row)
            for row in connection.execute(
                "SELECT number, file, size_bytes, sha256, rows, columns, columns_sha256 "
                "FROM batches WHERE state = 'done' ORDER BY number"
            )
        ]
        known = {name for (name,) in connection.execute("SELECT table_file FROM plans")}
        logs = {Path(name) for (name,) in connection.execute("SELECT DISTINCT log FROM runs")}
    known.add("report.html")
    known |= {path.name for path in logs if path.parent == folder.absolute()}
    problems = [found for output in outputs if (found := _problem(folder, output, quick=quick))]
    bad = {problem.file for problem in problems}
    good = [output for output in outputs if output.file not in bad]
    strays, others = _not_known(folder, {*known, *(output.file for output in outputs)})
    return Verified(
        folder=str(folder),
        batches=len(states),
        proven=len(good),
        left=tuple(number for number, state in states if state != "done"),
        rows=sum(output.rows for output in good),
        problems=(*problems, *strays),
        others=tuple(others),
    )


def _problem(folder: Path, output: _Output, *, quick: bool) -> Problem | None:
    path = folder / output.file
    try:
        size = path.stat().st_size
        if size != output.size_bytes:
            reason = f"{size} bytes instead of {output.size_bytes}"
            return Problem(output.file, "changed", reason)
        if quick:
            return None
        if file_sha256(path) != output.sha256:
            return Problem(output.file, "changed", "other bytes than were published")
        rows, names = _content(path)
    except FileNotFoundError:
        return Problem(output.file, "missing", "it was published, and is gone")
    except (OSError, EOFError, ValueError) as error:
        return Problem(output.file, "changed", f"it cannot be read: {error}")
    if rows != output.rows:
        return Problem(output.file, "incomplete", f"{rows} rows instead of {output.rows}")
    if len(names) != output.columns or columns_digest(names) != output.columns_sha256:
        reason = f"{len(names)} columns instead of {output.columns}, or others"
        return Problem(output.file, "incomplete", reason)
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


def _not_known(folder: Path, known: set[str]) -> tuple[list[Problem], list[str]]:
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
