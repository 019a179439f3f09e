"""The output folder: what is published in it, proven, and what a death left there."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.files import atomic_path, file_sha256, is_partial, leftovers
from idrstream.quality.notes import forget

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.folder.journal.journal import Journal

log = logging.getLogger(__name__)

TABLES = "tables"  # copies of the tables to process
ILLUMINATION = "illumination"
QUALITY = ("qc", "pictures")  # measures of every frame, example pictures

_BATCH = re.compile(r"batch_(\d+)\.(csv\.gz|parquet)")


@dataclass(frozen=True, slots=True)
class Proof:
    """What a look at the published files showed.

    Attributes
    ----------
    broken : dict
        For batches that are done by the journal but not by their files, what is wrong.
    touched : dict
        For batches whose file was copied or touched and is unchanged, its new time (ns).
    """

    broken: dict[int, str]
    touched: dict[int, int]


def prove(folder: Path, outputs: dict[int, tuple[str, int, int, str]], *, full: bool) -> Proof:
    """Compare published files with what the journal says of them.

    Parameters
    ----------
    folder : Path
        The output folder.
    outputs : dict
        As `Journal.outputs` returns them.
    full : bool
        Read every file. Otherwise only those whose size or time of change is not that noted.

    Returns
    -------
    Proof
        What differs.
    """
    broken: dict[int, str] = {}
    touched: dict[int, int] = {}
    place = os.open(folder, os.O_RDONLY)
    try:
        for number, (name, size_bytes, mtime_ns, sha256) in outputs.items():
            try:
                stat = os.stat(name, dir_fd=place, follow_symlinks=False)
            except FileNotFoundError:
                broken[number] = f"{name} is gone"
                continue
            if stat.st_size != size_bytes:
                broken[number] = f"{name} has {stat.st_size} bytes instead of {size_bytes}"
            elif full or stat.st_mtime_ns != mtime_ns:
                if file_sha256(folder / name) != sha256:
                    broken[number] = f"{name} has other bytes than were published"
                elif stat.st_mtime_ns != mtime_ns:
                    touched[number] = stat.st_mtime_ns
    finally:
        os.close(place)
    return Proof(broken, touched)


def unknown_tables(folder: Path) -> list[str]:
    """Return the names of files that look like tables of batches."""
    return sorted(path.name for path in folder.iterdir() if _BATCH.fullmatch(path.name))


def is_ours(name: str) -> bool:
    """Tell whether a file in an output folder is a table of a batch or half-written."""
    return bool(_BATCH.fullmatch(name)) or is_partial(Path(name).name)


def clear_parts(folder: Path) -> None:
    """Delete half-written files, which only a death leaves behind."""
    for part in leftovers(folder):
        log.info("Deleting %s, which a stream that died left behind", part)
        part.unlink(missing_ok=True)


def clear_unfinished(folder: Path, journal: Journal) -> None:
    """Delete tables that were put in place, but whose batches do not count as done.

    A stream that died between the two moments leaves one; a forced start leaves those that it
    had no time to delete. Tables whose number the journal never had are somebody else's.
    """
    outputs, known = journal.outputs(), journal.numbers()
    for path in folder.iterdir():
        match = _BATCH.fullmatch(path.name)
        if match is None:
            continue
        number = int(match[1])
        if number in known and outputs.get(number, ("",))[0] != path.name:
            log.info("Deleting %s: its batch is not done", path)
            path.unlink(missing_ok=True)
    forget(folder, set(known) - outputs.keys())


def delete_tables(folder: Path, names: Sequence[str]) -> None:
    """Delete tables that do not belong to the folder's plan any more."""
    for name in names:
        log.info("Deleting %s, which is not part of the new plan", folder / name)
        (folder / name).unlink(missing_ok=True)
    forget(folder, {int(match[1]) for match in map(_BATCH.fullmatch, names) if match})


def delete_illumination(folder: Path) -> None:
    """Delete the models of plates, which were fitted with other settings."""
    shutil.rmtree(folder / ILLUMINATION, ignore_errors=True)


def keep_table(folder: Path, table: pd.DataFrame) -> tuple[str, str]:
    """Write a copy of the table to process, and return its name in the folder and its digest."""
    text = table.to_csv(index=False, lineterminator="\n").encode()
    packed = gzip.compress(text, compresslevel=1, mtime=1)
    digest = hashlib.sha256(packed).hexdigest()
    name = f"{TABLES}/{digest[:12]}.csv.gz"
    if not (folder / name).exists():
        with atomic_path(folder / name) as part:
            part.write_bytes(packed)
    return name, digest
