"""Well names (``A4``) and well numbers (4) of a plate."""

from __future__ import annotations

import re

PLATE_COLUMNS = 24
PLATE_ROWS = 16

_NAME = re.compile(r"([A-Za-z])0*([1-9]\d?)")


def well_number(name: str, *, columns: int = PLATE_COLUMNS) -> int:
    """Return the number of a well, counted from 1 along the rows of the plate.

    Parameters
    ----------
    name : str
        Row letter and column number, for example ``A4`` or ``A04``.
    columns : int
        Columns of the plate; 24 for a 384-well plate.

    Returns
    -------
    int
        ``row * columns + column``, the row counted from 0 and the column from 1.

    Raises
    ------
    ValueError
        If `name` is not a well of such a plate.
    """
    match = _NAME.fullmatch(name.strip())
    if match is None:
        msg = f"{name!r} is not a well name such as A4"
        raise ValueError(msg)
    row, column = ord(match[1].upper()) - ord("A"), int(match[2])
    if row >= PLATE_ROWS or column > columns:
        msg = f"well {name!r} is outside a plate of {PLATE_ROWS} rows and {columns} columns"
        raise ValueError(msg)
    return row * columns + column


def well_name(number: int, *, columns: int = PLATE_COLUMNS) -> str:
    """Return the name of a well, the inverse of `well_number`.

    Parameters
    ----------
    number : int
        Well number, counted from 1 along the rows.
    columns : int
        Columns of the plate.

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
    if not 0 <= row < PLATE_ROWS:
        msg = f"well number {number} is outside 1 to {PLATE_ROWS * columns}"
        raise ValueError(msg)
    return f"{chr(ord('A') + row)}{column + 1}"
