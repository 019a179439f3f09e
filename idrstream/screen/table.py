"""Read the table to process, as people and spreadsheets write it."""

from __future__ import annotations

import csv
import gzip
import io
import re
import unicodedata
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.errors import TableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

MAX_TABLE_BYTES = 2**30
"""Largest table that is read, after decompression."""

_SEPARATORS = "\t,;"
# What spreadsheets put around a text so that it stays one: ="A4", 'A4
_FORMULA = re.compile(r'="(.*)"', flags=re.DOTALL)
_BLANKS = " \t\r\n\f\v\u00a0\u200b\u2007\u202f\ufeff"


def read_table(path: Path) -> pd.DataFrame:
    """Read a table to process from a tab-, comma- or semicolon-separated file.

    Parameters
    ----------
    path : Path
        A ``.tsv``, ``.csv`` or either gzipped, in UTF-8 (or UTF-16 with its mark, as
        spreadsheets write "Unicode text"); the separator is taken from the header. An unnamed
        first column, as pandas writes its index, is dropped.

    Returns
    -------
    pandas.DataFrame
        Every cell as text, empty cells as ``""``.

    Raises
    ------
    TableError
        If the file is missing or is not such a table; names the file and, if possible, the line.
    """
    import pandas as pd

    path = Path(path)
    text = _text_of(path)
    header = text.split("\n", 1)[0]
    separator = max(_SEPARATORS, key=header.count)
    try:
        with warnings.catch_warnings():
            # A row longer than the header would silently lose its last cells.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False
            )
    except (ValueError, OverflowError, pd.errors.ParserWarning) as error:
        # pandas' parser errors are ValueErrors
        msg = f"{path} cannot be read as a tab- or comma-separated table: {error}"
        raise TableError(msg) from error
    try:
        names = next(csv.reader([header], delimiter=separator), [])
    except csv.Error as error:
        msg = f"{path}, line 1: {error}"
        raise TableError(msg) from error
    repeated = sorted({name for name in names if name.strip() and names.count(name) > 1})
    if repeated:  # pandas would number them
        msg = f"{path}, line 1: has the column {', '.join(repeated)} more than once"
        raise TableError(msg)
    if len(table.columns) and str(table.columns[0]).startswith("Unnamed:"):
        table = table.drop(columns=table.columns[0])
    return table


def clean_text(value: object) -> str:
    """Return a cell as text, without the quotes and blanks of spreadsheets and people.

    Parameters
    ----------
    value : object
        None, NaN and NaT are empty cells; ``="A4"`` and ``'A4`` are ``A4``.

    Returns
    -------
    str
        In Unicode's composed form (NFC), so that the same name is the same text.
    """
    # NaN is the only value unequal to itself; pandas' NA is neither equal nor unequal.
    if value is None or type(value).__name__ == "NAType":
        return ""
    if not isinstance(value, str):
        return "" if value != value else str(value)
    text = value.strip(_BLANKS)
    if text[:2] == '="':
        match = _FORMULA.fullmatch(text)
        text = match[1].strip(_BLANKS) if match else text
    elif text[:1] == "'" and text.count("'") == 1:
        text = text[1:].strip(_BLANKS)
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def clean_column(cells: pd.Series) -> list[str]:
    """Return the cells of a column as clean text, each different one cleaned once."""
    import numpy as np
    import pandas as pd

    try:
        codes, unique = pd.factorize(cells, use_na_sentinel=True)
    except TypeError:  # cells that cannot be compared, such as lists
        return [clean_text(value) for value in cells]
    cleaned = np.array([clean_text(value) for value in unique] + [""], dtype=object)
    return list(cleaned[codes])  # the code -1 of a missing cell is the last one


def clean_header(names: Sequence[object], wanted: Sequence[str]) -> list[str]:
    """Return column names as clean text; `wanted` ones also match in other case and with _.

    Parameters
    ----------
    names : sequence of object
        As they stand in the table.
    wanted : sequence of str
        Names that ``plate``, ``PLATE`` or ``Well_Number`` may stand for, unless the table has
        the exact name.

    Returns
    -------
    list of str
        In the same order.
    """
    cleaned = [" ".join(clean_text(name).split()) for name in names]
    folded = {name.casefold(): name for name in wanted if name not in cleaned}
    return [folded.get(name.casefold().replace("_", " "), name) for name in cleaned]


def _text_of(path: Path) -> str:
    content = _content(path)
    if content[:4] == b"PK\x03\x04" or content[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        msg = f'{path} is a spreadsheet: save it as "CSV UTF-8" or tab-separated text'
        raise TableError(msg)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        msg = f'{path}, line {line}: not text in UTF-8; save it as "CSV UTF-8"'
        raise TableError(msg) from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        msg = f"{path}, line {line}: has a zero byte; this is not a table"
        raise TableError(msg)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.lstrip("\n")
    if not text.strip():
        msg = f"{path} is empty: it needs a header and one row for each image"
        raise TableError(msg)
    return text


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.open(file) as unpacked:
                    content = unpacked.read(MAX_TABLE_BYTES + 1)
            else:
                content = file.read(MAX_TABLE_BYTES + 1)
    except FileNotFoundError as error:
        msg = f"there is no table at {path}"
        raise TableError(msg) from error
    except (OSError, EOFError, zlib.error, ValueError) as error:
        msg = f"{path} cannot be read as a tab- or comma-separated table: {error}"
        raise TableError(msg) from error
    if len(content) > MAX_TABLE_BYTES:
        msg = f"{path} is larger than {MAX_TABLE_BYTES:,} bytes: too large for a table to process"
        raise TableError(msg)
    return content
