"""What an output folder has to collect: batches, and what the table says of their images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idrstream.errors import CollectError
from idrstream.files import file_sha256
from idrstream.folder.begun import read_begun
from idrstream.folder.journal.file import open_reader
from idrstream.folder.journal.schema import JOURNAL_NAME
from idrstream.records import ImageTask

_SHOWN = 20

WellKey = tuple[str, int]
"""Plate and well number."""


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A published table."""

    number: int
    path: Path
    sha256: str
    rows: int

    def check(self) -> None:
        """Prove that the file has the bytes that were published.

        Raises
        ------
        CollectError
            When it is gone or has others.
        """
        try:
            same = file_sha256(self.path) == self.sha256
        except OSError as error:
            msg = f"{self.path} cannot be read: {error}; idrstream resume computes it again"
            raise CollectError(msg) from error
        if not same:
            msg = (
                f"{self.path} has other bytes than were published; idrstream verify tells more, "
                "idrstream resume computes it again"
            )
            raise CollectError(msg)


@dataclass(frozen=True, slots=True)
class Source:
    """What there is to collect.

    Attributes
    ----------
    folder : Path
        Output folder of the stream.
    batches : tuple of BatchFile
        Those that are done, by number.
    missing : tuple of int
        Batches of the plan that are not.
    left_out : tuple of dict
        Images and frames that failed: plate, well, frame (None: all), kind of error.
    tasks : tuple of ImageTask
        All images of the table.
    empty_wells : tuple of (str, int)
        Plate and well number of wells that were processed and have no nucleus.
    """

    folder: Path
    batches: tuple[BatchFile, ...]
    missing: tuple[int, ...]
    left_out: tuple[dict[str, Any], ...]
    tasks: tuple[ImageTask, ...]
    empty_wells: tuple[WellKey, ...]

    def refuse_partial(self) -> None:
        """Refuse a stream of which batches are missing.

        Raises
        ------
        CollectError
            Naming them and what can be done.
        """
        if self.missing:
            shown = ", ".join(map(str, self.missing[:_SHOWN]))
            more = f" and {len(self.missing) - _SHOWN} more" if len(self.missing) > _SHOWN else ""
            msg = (
                f"{len(self.missing)} of {len(self.missing) + len(self.batches)} batches in "
                f"{self.folder} are not done ({shown}{more}): finish them with idrstream resume "
                f"{self.folder}, or collect what is there with --partial (partial=True)"
            )
            raise CollectError(msg)


def read_source(folder: Path) -> Source:
    """Return what an output folder has to collect.

    Raises
    ------
    JournalError
        If no stream has run there.
    CollectError
        If no batch is done.
    """
    from idrstream.screen import read_table, tasks_from_table

    begun = read_begun(folder)
    with open_reader(folder / JOURNAL_NAME) as connection:
        rows = connection.execute(
            "SELECT number, state, file, sha256, rows FROM batches ORDER BY number"
        ).fetchall()
        left_out = connection.execute(
            "SELECT f.plate, f.well, f.site, f.frame, f.stage, f.kind FROM failures f "
            "JOIN batches b ON b.number = f.batch "
            "WHERE f.current AND b.state = 'done' ORDER BY f.batch, f.id"
        ).fetchall()
        empty = connection.execute(
            "SELECT plate, well_number FROM images i JOIN batches b ON b.number = i.batch "
            "WHERE b.state = 'done' GROUP BY plate, well_number "
            "HAVING total(i.nuclei) = 0 AND sum(i.state IN ('done', 'partial')) > 0 "
            "ORDER BY plate, well_number"
        ).fetchall()
    batches = tuple(
        BatchFile(number, folder / file, sha256, count)
        for number, state, file, sha256, count in rows
        if state == "done"
    )
    if not batches:
        msg = f"no batch in {folder} is done; idrstream status {folder} says how far it is"
        raise CollectError(msg)
    names = ("plate", "well", "site", "frame", "stage", "kind")
    return Source(
        folder=folder,
        batches=batches,
        missing=tuple(row[0] for row in rows if row[1] != "done"),
        left_out=tuple(dict(zip(names, row, strict=True)) for row in left_out),
        tasks=tasks_from_table(read_table(begun.table), ignore_invalid=True),
        empty_wells=tuple((plate, number) for plate, number in empty),
    )
