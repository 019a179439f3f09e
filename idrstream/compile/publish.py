"""Write a finished table into the output folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.compile.writers import TableWriter, write_csv_gz
from idrstream.errors import StorageError
from idrstream.files import atomic_path, file_sha256
from idrstream.records import Published

if TYPE_CHECKING:
    import pandas as pd


def publish(table: pd.DataFrame, path: Path, writer: TableWriter = write_csv_gz) -> Published:
    """Write a table so that it appears under its name only when it is complete.

    Parameters
    ----------
    table : pandas.DataFrame
        The table of a batch.
    path : Path
        Its final name. A file of that name is replaced.
    writer : callable, default: write_csv_gz
        Writes the table to a path.

    Returns
    -------
    Published
        Path, number of rows and columns, SHA-256 of the file.

    Raises
    ------
    idrstream.errors.StorageError
        When it cannot be written; nothing is left behind then.
    """
    try:
        with atomic_path(path) as part:
            writer(table, part)
            digest = file_sha256(part)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
    return Published(
        path=path,
        rows=len(table),
        sha256=digest,
        columns=len(table.columns),
        columns_sha256=columns_digest(table.columns),
    )


def columns_digest(names: Iterable[str]) -> str:
    """Return the SHA-256 of column names in their order."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
