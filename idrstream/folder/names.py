"""Names of the files that the journal of an output folder may name, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from idrstream.files import is_partial

TABLES = "tables"  # copies of the tables to process
ILLUMINATION = "illumination"
QUALITY = ("qc", "pictures")  # measures of frames, example pictures
CELLS = "cells"  # the tables of batches as Parquet: nothing else, so that it is one data set

TABLE_COPY = re.compile(r"[0-9a-f]{12}\.csv\.gz", re.ASCII)
_BATCH = re.compile(
    rf"(?:(?:{CELLS}/)?batch_([0-9]{{1,18}})\.parquet|batch_([0-9]{{1,18}})\.csv\.gz)"
)


def batch_number(name: str) -> int | None:
    """Return the batch of a table by its name in the output folder; None for other files."""
    match = _BATCH.fullmatch(name)
    return int(match[1] or match[2]) if match else None


def is_ours(name: str) -> bool:
    """Return whether a file in an output folder is a batch table or a partial file."""
    return batch_number(name) is not None or is_partial(Path(name).name)


def is_table_copy(name: str) -> bool:
    """Return whether a name is that of a copy of a table to process."""
    folder, _, file = name.partition("/")
    return folder == TABLES and TABLE_COPY.fullmatch(file) is not None
