"""The batches and images of an output folder to collect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from idrstream.errors import CollectError
from idrstream.files import file_sha256
from idrstream.folder.journal.reader import open_journal
from idrstream.folder.outputs import read_kept_tasks
from idrstream.folder.plans import RecordedImage
from idrstream.folder.recorded import read_recorded_call
from idrstream.folder.states import ImageState
from idrstream.opening import inside
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
        """Verify that the file is unchanged since it was published.

        Raises
        ------
        CollectError
            If it is missing or changed.
        """
        try:
            same = file_sha256(self.path) == self.sha256
        except OSError as error:
            msg = f"{self.path} cannot be read: {error}; {self._remedy()}"
            raise CollectError(msg) from error
        if not same:
            msg = f"{self.path} was changed after it was published; {self._remedy()}"
            raise CollectError(msg)

    def _remedy(self) -> str:
        return (
            "idrstream resume --verify (stream.resume(verify=True)) checks all tables and computes "
            "again what is wrong"
        )


@dataclass(frozen=True, slots=True)
class Source:
    """Batches and images to collect.

    Attributes
    ----------
    folder : Path
        Output folder of the stream.
    batches : tuple of BatchFile
        Batches that are done, by number.
    missing : tuple of int
        Batches of the plan that are not done.
    left_out : tuple of dict
        Images and frames that failed: plate, well, frame (None for all), kind of error.
    tasks : tuple of ImageTask
        All images of the table.
    empty_wells : tuple of (str, int)
        Plate and well number of processed wells without nuclei.
    channels : tuple of str
        Names of the channels, in no order; empty if there is but one.
    """

    folder: Path
    batches: tuple[BatchFile, ...]
    missing: tuple[int, ...]
    left_out: tuple[dict[str, Any], ...]
    tasks: tuple[ImageTask, ...]
    empty_wells: tuple[WellKey, ...]
    channels: tuple[str, ...] = ()

    def refuse_partial(self) -> None:
        """Raise if batches are missing.

        Raises
        ------
        CollectError
            Names the batches and the remedy.
        """
        if self.missing:
            shown = ", ".join(map(str, self.missing[:_SHOWN]))
            more = f" and {len(self.missing) - _SHOWN} more" if len(self.missing) > _SHOWN else ""
            msg = (
                f"{len(self.missing)} of {len(self.missing) + len(self.batches)} batches in "
                f"{self.folder} are not done ({shown}{more}): finish them with idrstream resume "
                f"{quote(str(self.folder))}, or collect without them with --partial (partial=True)"
            )
            raise CollectError(msg)


def read_source(folder: Path) -> Source:
    """Return the batches and images of an output folder.

    Raises
    ------
    JournalError
        If no stream has run in it.
    CollectError
        If no batch is done, or planes were extracted.
    """
    recorded = read_recorded_call(folder)
    if recorded.options["extract"]:
        msg = (
            f"{folder} has planes that idrstream extract wrote, and no features: they are in "
            f"{folder / 'plates'}, one OME-Zarr for each plate; features come from idrstream run"
        )
        raise CollectError(msg)
    with open_journal(folder) as journal:
        states, tables = journal.batch_states(), journal.outputs()
        failures = [failure for failure in journal.failures() if failure.batch in tables]
        images = [
            image
            for number, content in journal.images().items()
            if number in tables
            for image in content
        ]
    batches = tuple(
        BatchFile(number, inside(folder, table.file), table.sha256, table.rows)
        for number, table in tables.items()
    )
    if not batches:
        msg = f"no batch in {folder} is done; see idrstream status {quote(str(folder))}"
        raise CollectError(msg)
    return Source(
        folder=folder,
        batches=batches,
        missing=tuple(number for number in states if number not in tables),
        left_out=tuple(
            {
                "plate": item.plate,
                "well": item.well,
                "site": item.site,
                "frame": item.frame,
                "stage": item.stage,
                "kind": item.kind,
            }
            for item in failures
        ),
        tasks=read_kept_tasks(recorded.table),
        empty_wells=_empty_wells(images),
        channels=recorded.channels,
    )


def _empty_wells(images: Iterable[RecordedImage]) -> tuple[WellKey, ...]:
    """Return the wells with processed images but no nuclei."""
    nuclei: dict[WellKey, int] = {}
    for image in images:
        if image.state in (ImageState.DONE, ImageState.PARTIAL):
            key = (image.plate, image.well_number)
            nuclei[key] = nuclei.get(key, 0) + (image.nuclei or 0)
    return tuple(sorted(key for key, count in nuclei.items() if count == 0))
