"""Cells and column names as text: the one rule for files, DataFrames and the kept copy."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.screen.columns import CORE_COLUMNS, PLACE_COLUMNS, PLATE_FORMAT

if TYPE_CHECKING:
    import pandas as pd

# What spreadsheets put around a text so that it stays one: ="A4", 'A4
_FORMULA = re.compile(r'="(.*)"', flags=re.DOTALL)
_BLANKS = " \t\r\n\f\v\u00a0\u200b\u2007\u202f\ufeff"
_NAMELESS = re.compile(r"(Unnamed: \d+)?")  # pandas' names for columns without one
_EXACT = 2**53  # whole floats up to here are written as integers


def clean_text(value: object) -> str:
    """Return a cell as text, without the quotes and blanks of spreadsheets and people.

    The text of a clean text is itself, so that what is written reads back the same.

    Parameters
    ----------
    value : object
        None, NaN and NaT are empty cells; ``="A4"`` and ``'A4`` are ``A4``; a number has the
        fewest digits of its own precision, a whole one no ``.0``; a time at midnight is a date.

    Returns
    -------
    str
        In Unicode's composed form (NFC), so that the same name is the same text; line breaks
        within are newlines.
    """
    text = value if isinstance(value, str) else _as_text(value)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    before = None
    while text != before:
        before = text
        text = text.strip(_BLANKS)
        if text[:2] == '="':
            match = _FORMULA.fullmatch(text)
            text = match[1] if match else text
        elif text[:1] == "'" and text.count("'") == 1:
            text = text[1:]
    return text


def clean_column(cells: pd.Series) -> list[str]:
    """Return the cells of a column as clean text, each different one cleaned once."""
    import pandas as pd

    kind = cells.dtype
    if isinstance(kind, pd.CategoricalDtype):
        known = [*clean_column(pd.Series(kind.categories)), ""]
        return [known[code] for code in cells.cat.codes]
    if getattr(kind, "kind", "") == "f":  # pandas computes, and would write, in double precision
        values = cells.to_numpy(np.dtype(f"f{getattr(kind, 'itemsize', 8)}"), na_value=np.nan)
        unique, codes = np.unique(values, return_inverse=True)
        return [str(text) for text in _texts(unique)[codes]]
    is_object = pd.api.types.is_object_dtype(kind)
    if is_object and pd.api.types.infer_dtype(cells, skipna=True) not in ("string", "empty"):
        return [clean_text(value) for value in cells]  # 1, 1.0 and True would count as the same
    numbers, kinds = pd.factorize(cells, use_na_sentinel=True)
    return list(_texts(kinds)[numbers])  # the code -1 of a missing cell is the last one


def clean_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with every cell and name as clean text.

    Columns without a name are left out if they come first, as pandas writes its index, or are
    empty; others are called ``Column <position>``.
    """
    import pandas as pd

    names, columns = [], []
    for at, given in enumerate(table.columns):
        name = " ".join(clean_text(given).split())
        cells = clean_column(table.iloc[:, at])
        if _NAMELESS.fullmatch(name):
            if at == 0 or not any(cells):
                continue
            name = f"Column {at + 1}"
        names.append(name)
        columns.append(pd.Series(cells, dtype=object))
    if not columns:
        return pd.DataFrame(index=range(len(table)))
    return pd.concat(columns, axis=1).set_axis(names, axis=1)


def text_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table to process as text, its columns under the names that idrstream knows.

    The only way from a user's table to what is processed, kept, annotated and reported.

    Parameters
    ----------
    table : pandas.DataFrame
        With cells of any type; ``PLATE`` or ``well_number`` stand for ``Plate``, ``Well Number``.

    Returns
    -------
    pandas.DataFrame
        Of texts, rows numbered from 0; its text table is equal to it.
    """
    return with_known_names(clean_cells(table))


def with_known_names(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of clean cells, its columns under the names that idrstream knows."""
    wanted = (*CORE_COLUMNS, *PLACE_COLUMNS, PLATE_FORMAT)
    return table.set_axis(clean_header(list(table.columns), wanted), axis=1)


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


def _texts(values: Any) -> Any:
    """Return clean texts of values, and an empty one at the end for missing cells."""
    return np.array([*map(clean_text, values), ""], dtype=object)


def _as_text(value: Any) -> str:
    # NaN is the only value unequal to itself; pandas' NA is neither equal nor unequal.
    if value is None or type(value).__name__ == "NAType":
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime.datetime):  # pandas' Timestamp and NaT, too
        return "" if value != value else str(value).removesuffix(" 00:00:00")
    if isinstance(value, float | np.floating):
        number = float(value)
        if number != number:
            return ""
        return str(int(number)) if number.is_integer() and abs(number) <= _EXACT else str(value)
    try:
        return "" if value != value else str(value)
    except (
        TypeError,
        ValueError,
        ArithmeticError,
    ):  # arrays cannot be compared
        return str(value)
