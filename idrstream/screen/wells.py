"""Well names (``A4``) and well numbers (4) of a plate."""

from __future__ import annotations

import re
from functools import lru_cache

PLATE_COLUMNS = 24
PLATE_ROWS = 16

_NAME = re.compile(r"([A-Za-z]{1,2})0*([1-9]\d{0,3})", flags=re.ASCII)


def well_number(name: str, *, columns: int = PLATE_COLUMNS, rows: int = PLATE_ROWS) -> int:
    """Return the number of a well, counted from 1 along the rows of the plate.

    Parameters
    ----------
    name : str
        Row letter and column number, for example ``A4`` or ``A04``.
    columns : int
        Columns of the plate; 24 for a 384-well plate.
    rows : int
        Rows of the plate; 16 for a 384-well plate.

    Returns
    -------
    int
        ``row * columns + column``, the row counted from 0 and the column from 1.

    Raises
    ------
    ValueError
        If `name` is not a well of such a plate.
    """
    row, column = well_position(name)
    if row >= rows or column >= columns:
        msg = f"well {name!r} is outside a plate of {rows} rows and {columns} columns"
        raise ValueError(msg)
    return row * columns + column + 1


def well_name(number: int, *, columns: int = PLATE_COLUMNS, rows: int = PLATE_ROWS) -> str:
    """Return the name of a well, the inverse of `well_number`.

    Parameters
    ----------
    number : int
        Well number, counted from 1 along the rows.
    columns : int
        Columns of the plate.
    rows : int
        Rows of the plate.

    Returns
    -------
    str
        For example ``A4``.

    Raises
    ------
    ValueError
        If there is no such well.
    """
    row, column = divmod(number - 1, columns)
    if not 0 <= row < rows:
        msg = f"well number {number} is outside 1 to {rows * columns}"
        raise ValueError(msg)
    return f"{_row_letters(row)}{column + 1}"


@lru_cache(maxsize=4096)
def well_position(name: str) -> tuple[int, int]:
    """Return row and column of a well, both counted from 0, on a plate of any size.

    Parameters
    ----------
    name : str
        For example ``A4`` or, on plates of more than 26 rows, ``AB04``.

    Returns
    -------
    tuple of int
        ``(row, column)``.

    Raises
    ------
    ValueError
        If `name` is not a well's name.
    """
    match = _NAME.fullmatch(name.strip())
    if match is None:
        msg = f"{name!r} is not a well name such as A4"
        raise ValueError(msg)
    row = 0
    for letter in match[1].upper():
        row = row * 26 + ord(letter) - ord("A") + 1
    return row - 1, int(match[2]) - 1


def _row_letters(row: int) -> str:
    return chr(ord("A") + row) if row < 26 else _row_letters(row // 26 - 1) + _row_letters(row % 26)
