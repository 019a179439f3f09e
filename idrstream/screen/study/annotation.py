"""A study's annotation table, and the choice of its rows."""

from __future__ import annotations

import difflib
import gzip
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from idrstream.errors import TableError
from idrstream.screen.table import MAX_TABLE_BYTES, read_cells
from idrstream.screen.text import clean_header
from idrstream.text import shorten_list

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 12
_TABLES = (".csv", ".tsv", ".txt")
_SPREADSHEETS = (".xlsx", ".xlsm", ".ods")


def read_annotation(path: Path) -> pd.DataFrame:
    """Read a study's annotation: one row for each well, whatever else is known of it.

    Parameters
    ----------
    path : Path
        ``annotation.csv``, ``.csv.gz`` or ``.csv.zip``, separated by commas or tabs, in UTF-8
        or as Windows wrote it. Only ``Plate`` and one of ``Well`` and ``Well Number`` are common
        to all studies.

    Returns
    -------
    pandas.DataFrame
        Every cell as clean text, empty cells as ``""``; the index is the line in the file,
        counted from 1 with the header as line 1 (cells with line breaks in them not counted).

    Raises
    ------
    TableError
        If the file cannot be read or lacks one of these columns.
    """
    table = read_cells(path, _as_utf8(unpacked(path)))
    table.columns = clean_header(list(table.columns), ("Plate", "Well", "Well Number"))
    columns = list(table.columns)
    missing = [name for name in ("Plate",) if name not in columns]
    if "Well" not in columns and "Well Number" not in columns:
        missing.append("Well (or Well Number)")
    if missing:
        msg = f"{path}, line 1: lacks the column {', '.join(missing)}; it has {_quoted(columns)}"
        raise TableError(msg)
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        msg = f"{path}, line 1: has the column {', '.join(repeated)} more than once"
        raise TableError(msg)
    return table.set_axis(range(2, len(table) + 2), axis=0)


def unpacked(path: Path) -> bytes:
    """Return what is in a file, or in the only table of a ``.gz`` or ``.zip``.

    Raises
    ------
    TableError
        If it cannot be read, has not exactly one table, or is too large.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start[:2] == b"\x1f\x8b":
                with gzip.open(file) as packed:
                    content = packed.read(MAX_TABLE_BYTES + 1)
            elif start == b"PK\x03\x04" and not path.name.lower().endswith(_SPREADSHEETS):
                content = _only_table(path, file)
            else:
                content = file.read(MAX_TABLE_BYTES + 1)
    except FileNotFoundError as error:
        msg = f"there is no table at {path}"
        raise TableError(msg) from error
    except (OSError, EOFError, zlib.error, ValueError, zipfile.BadZipFile, RuntimeError) as error:
        msg = f"{path} cannot be unpacked: {error}"
        raise TableError(msg) from error
    if len(content) > MAX_TABLE_BYTES:
        msg = f"{path} is larger than {MAX_TABLE_BYTES:,} bytes: too large for an annotation"
        raise TableError(msg)
    return content


def _only_table(path: Path, file: IO[bytes]) -> bytes:
    with zipfile.ZipFile(file) as archive:
        names = [
            name
            for name in archive.namelist()
            if name.lower().endswith(_TABLES) and not name.startswith("__MACOSX")
        ]
        if len(names) != 1:
            msg = f"{path} has {len(names)} tables ({_quoted(names)}); unpack the one that is meant"
            raise TableError(msg)
        with archive.open(names[0]) as packed:
            return packed.read(MAX_TABLE_BYTES + 1)


def _as_utf8(content: bytes) -> bytes:
    """Return text that Windows wrote in its own encoding as UTF-8; other text as it is."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace").encode()
    return content


def choose_rows(
    table: pd.DataFrame, where: Mapping[str, str | Sequence[str]], path: Path
) -> pd.DataFrame:
    """Keep the rows whose cells have one of the wanted values, in every column of `where`.

    Parameters
    ----------
    table : pandas.DataFrame
        As `read_annotation` returns it.
    where : mapping of str to str or sequence of str
        For example ``{"Control Type": ["negative control"], "Quality Control": "pass"}``; an
        empty text stands for empty cells.
    path : Path
        The table's file, for messages.

    Returns
    -------
    pandas.DataFrame
        The rows that are left, at least one.

    Raises
    ------
    TableError
        If there is no such column or value; says which there are.
    """
    kept = table
    for column, wanted in where.items():
        if column not in table.columns:
            near = difflib.get_close_matches(column, list(table.columns), n=3, cutoff=0.5)
            there = _quoted(near or list(table.columns))
            msg = f"{path} has no column {column!r} to choose rows by; it has {there}"
            raise TableError(msg)
        values = [wanted] if isinstance(wanted, str) else [str(value) for value in wanted]
        present = set(table[column].unique())
        unknown = [value for value in values if value not in present]
        if unknown:
            there = _quoted(sorted(present))
            msg = f"{path}, column {column}: no row has {_quoted(unknown)}; there are {there}"
            raise TableError(msg)
        kept = kept[kept[column].isin(values)]
    if kept.empty:
        chosen = " and ".join(f"{column} = {wanted!r}" for column, wanted in where.items())
        msg = f"{path} has no row with {chosen}" if where else f"{path} has no rows"
        raise TableError(msg)
    return kept


def _quoted(values: Iterable[str]) -> str:
    return shorten_list(map(repr, values), _SHOWN) or "none"
