"""Files of the output folder: verify published tables, delete what a crash left."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.compile.masks import kept_folder, masks_path
from idrstream.compile.plates import COLUMNS_SHA256, EXTRACTED, wrong_fields
from idrstream.errors import StorageError
from idrstream.files import atomic_file, file_sha256, leftovers
from idrstream.folder.journal.records import PublishedTable
from idrstream.folder.names import (
    CELLS,
    PLATE_MODELS,
    PROJECTS,
    TABLES,
    batch_number,
    is_leftover,
    is_note,
)
from idrstream.opening import inside, refuse_links
from idrstream.quality.notes import forget
from idrstream.screen.cells import whole_number
from idrstream.screen.columns import PLATE_FORMAT, WELL, WELL_NUMBER
from idrstream.screen.table import write_table
from idrstream.track.batch import tracks_path

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.folder.journal.journal import Journal
    from idrstream.records import ImageTask

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerifiedOutputs:
    """How published files differ from the journal.

    Attributes
    ----------
    broken : dict
        What is wrong with the file of a batch that is done, by batch.
    touched : dict
        New time of change (ns) of files that were copied or touched but not changed, by batch.
    """

    broken: dict[int, str]
    touched: dict[int, int]


def verify_outputs(
    folder: Path, outputs: Mapping[int, PublishedTable], *, full: bool
) -> VerifiedOutputs:
    """Compare published files with the journal.

    Read every file if `full`, otherwise only those whose time of change differs.
    """
    broken: dict[int, str] = {}
    touched: dict[int, int] = {}
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for number, table in outputs.items():
            name = table.file
            try:
                stat = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                doubted = full or stat.st_mtime_ns != table.mtime_ns
                if stat.st_size != table.size_bytes:
                    wrong = f"{stat.st_size} bytes instead of {table.size_bytes}"
                    broken[number] = f"{name} has {wrong}"
                elif doubted and file_sha256(inside(folder, name)) != table.sha256:
                    broken[number] = f"{name} was changed after it was published"
                elif wrong := wrong_kept(folder, number, table, full=doubted):
                    broken[number] = wrong
                elif stat.st_mtime_ns != table.mtime_ns:
                    touched[number] = stat.st_mtime_ns
            except FileNotFoundError:
                broken[number] = f"{name} is missing"
            except StorageError as error:  # a link
                broken[number] = str(error)
            except OSError as error:  # a bad sector, a file of somebody else
                broken[number] = f"{name} cannot be read: {error.strerror}"
    finally:
        os.close(descriptor)
    return VerifiedOutputs(broken, touched)


def wrong_kept(folder: Path, number: int, table: PublishedTable, *, full: bool) -> str:
    """Return what is wrong with masks, tracks or planes of a batch; empty if nothing is."""
    kept = (
        (masks_path(folder, number), table.masks_sha256),
        (tracks_path(folder, number), table.tracks_sha256),
    )
    for path, sha256 in kept:
        name = path.relative_to(folder).as_posix()
        if sha256 and not path.is_dir():
            return f"{name} is missing"
        if sha256 and full and kept_folder(path).sha256 != sha256:
            return f"{name} was changed after it was published"
    if table.columns_sha256 == COLUMNS_SHA256:
        return wrong_fields(folder, inside(folder, table.file), full=full)
    return ""


def place_tables(folder: Path, output_format: str, published: Iterable[PublishedTable]) -> Path:
    """Return where the tables of a stream go.

    ``csv.gz`` tables lie in the output folder, as the first IDR_stream wrote them. Readers of
    Parquet take a folder as one data set, but not with other files in it, so these tables have a
    folder of their own. A stream that an earlier version began goes on where its tables are.

    Parameters
    ----------
    folder : Path
        Output folder.
    output_format : str
        ``csv.gz`` or ``parquet``.
    published : iterable of PublishedTable
        The tables that it has.
    """
    began_beside = any("/" not in table.file for table in published)
    return folder if output_format == "csv.gz" or began_beside else folder / CELLS


def unknown_tables(folder: Path) -> list[str]:
    """Return the names of files that look like tables of batches."""
    return sorted(name for name, _ in _batch_files(folder))


def _batch_files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the name in the folder and the batch of whatever looks like a table."""
    for below in (folder, inside(folder, CELLS)):
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in sorted(below.iterdir()):
                name = path.relative_to(folder).as_posix()
                number = batch_number(name)
                if number is not None:
                    yield name, number


def clear_parts(folder: Path) -> None:
    """Delete partial files that a crash left behind."""
    for part in list(leftovers(folder)):
        if not is_leftover(part.relative_to(folder).as_posix()):
            continue
        log.info("Deleting %s, left by a crashed stream", part)
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def clear_unfinished(folder: Path, journal: Journal) -> None:
    """Delete tables of batches that are not done.

    A crash between writing a table and recording it leaves one; so does a crash while a forced
    start deletes old tables. Tables whose number the journal never had are left alone.
    """
    outputs, known = journal.outputs(), journal.numbers()
    published = {table.file for table in outputs.values()}
    for name, number in list(_batch_files(folder)):
        if number in known and name not in published:
            log.info("Deleting %s: its batch is not done", folder / name)
            inside(folder, name).unlink(missing_ok=True)
    _forget(folder, set(known) - outputs.keys())


def delete_tables(folder: Path, names: Sequence[str]) -> None:
    """Delete tables that no longer belong to the folder's plan."""
    for name in names:
        log.info("Deleting %s, which is not in the new plan", folder / name)
        inside(folder, name).unlink(missing_ok=True)
    _forget(folder, {number for name in names if (number := batch_number(name)) is not None})


def project_path(folder: Path, number: int) -> Path:
    """Return where the DeepProfiler project of a batch is kept."""
    return folder / PROJECTS / f"batch_{number}"


def _forget(folder: Path, numbers: Set[int]) -> None:
    """Delete what lies beside the tables of batches that are not done."""
    forget(folder, numbers)
    for number in numbers:
        forget_kept(folder, number)


def forget_kept(folder: Path, number: int, *, without: Collection[str] = ()) -> None:
    """Delete the folders beside the table of a batch, `without` those of these names."""
    beside = masks_path(folder, number), project_path(folder, number)
    extracted = folder / EXTRACTED / f"batch_{number}"
    for path in (*beside, tracks_path(folder, number), extracted):
        name = path.relative_to(folder).as_posix()
        if name not in without:
            refuse_links(folder, name)
            shutil.rmtree(path, ignore_errors=True)


def delete_plate_models(folder: Path, names: Iterable[str] = PLATE_MODELS) -> None:
    """Delete what was estimated by plate with other settings, in these folders."""
    for name in names:
        refuse_links(folder, name)
        for path in [*(folder / name).rglob("*.npz"), *(folder / name).glob("*.json")]:
            if is_note(path.relative_to(folder).as_posix()):
                path.unlink(missing_ok=True)


def keep_table(folder: Path, table: pd.DataFrame) -> tuple[str, str]:
    """Write a copy of a text table to process; return its name in the folder and its digest."""
    packed = gzip.compress(write_table(table), compresslevel=1, mtime=1)
    digest = hashlib.sha256(packed).hexdigest()
    name = f"{TABLES}/{digest[:12]}.csv.gz"
    path = inside(folder, name)
    if not path.exists():
        with atomic_file(path) as file:
            file.write(packed)
    return name, digest


def read_kept_tasks(path: Path) -> tuple[ImageTask, ...]:
    """Return the images of an output folder's copy of its table.

    Raises
    ------
    TableError
        If the copy is missing or was changed so that no row can be used.
    """
    from idrstream.screen import read_table, tasks_from_table

    table = read_table(path)
    wells = None
    if WELL not in table and PLATE_FORMAT not in table:
        # Earlier versions named all numbers as on 384 wells, and those folders must stay readable.
        numbers = map(_number, set(table.get(WELL_NUMBER, ())))
        wells = 384 if max(numbers, default=0) <= 384 else None
    return tasks_from_table(table, ignore_invalid=True, plate_format=wells)


def _number(text: str) -> int:
    try:
        return whole_number(text) or 0
    except ValueError:
        return 0  # a row that is left out
