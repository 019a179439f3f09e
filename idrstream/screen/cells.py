"""Single cells of a table: names of plates, wells, whole numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from idrstream.screen.columns import WELL, WELL_NUMBER
from idrstream.screen.wells import PLATE_COLUMNS, well_name, well_number, well_position

MAX_NAME_BYTES = 120
_MOST_ROWS = 702  # A to ZZ

_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SPREADSHEET_ERRORS = frozenset(
    ("#N/A", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!", "########")
)


def name_problem(name: str) -> str | None:
    """Return why a plate's name cannot be used in file names and program arguments.

    Returns
    -------
    str or None
        The reason; None when it can.
    """
    if not name:
        return "empty"
    if name.upper() in _SPREADSHEET_ERRORS:
        return f"{name!r} is an error of the spreadsheet it came from"
    if _UNSAFE.search(name) or name.startswith(("-", ".", "~")) or name.endswith("."):
        return (
            f"{name[:80]!r} has a slash or control character, starts with a dash or dot, or ends "
            "with a dot; such a name cannot become a file name"
        )
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        return (
            f"{name[:40]!r}... is longer than {MAX_NAME_BYTES} bytes; such a name cannot "
            "become a file name"
        )
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return f"{name!r} has half a character; such a name cannot become a file name"
    return None


def plate_widths(keys: Iterable[tuple[str, str, Any, bool]]) -> dict[str, int]:
    """Return how many columns each plate has, from the names and numbers of its wells.

    Only rows that name their movie are used: the others follow idr0013's plates of 24 columns.
    """
    widths: dict[str, int] = {}
    widest: dict[str, int] = {}
    for plate, name, number, free in keys:
        if not free or not name:
            continue
        try:
            row, column = well_position(name)
        except ValueError:
            continue
        widest[plate] = max(widest.get(plate, 0), column + 1)
        if number and row:
            width, rest = divmod(number - 1 - column, row)
            if rest == 0 and width > column:
                widths.setdefault(plate, width)
    for plate, columns in widest.items():
        widths.setdefault(plate, PLATE_COLUMNS if columns <= PLATE_COLUMNS else 48)
    return widths


@lru_cache(maxsize=4096)
def well_of(name: str, number: int | None, width: int | None) -> tuple[str, int]:
    """Return name and number of a well of which at least one is given."""
    free = {} if width is None else {"columns": width, "rows": _MOST_ROWS}
    if not name:
        if number is None:
            msg = f"column {WELL}: empty"
            raise ValueError(msg)
        try:
            return well_name(number, **free), number
        except ValueError as error:
            msg = f"column {WELL_NUMBER}: {error}"
            raise ValueError(msg) from error
    try:
        by_name = well_number(name, **free)
    except ValueError as error:
        msg = f"column {WELL}: {error}"
        raise ValueError(msg) from error
    if number is not None and number != by_name:
        msg = f"column {WELL_NUMBER}: {number}, but well {name} is number {by_name}"
        raise ValueError(msg)
    return name, by_name


def whole_number(text: str) -> int | None:
    """Return a whole number of at least 1; None for an empty cell."""
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,9})(?:\.0*)?", text, flags=re.ASCII)
    if match is None or int(match[1]) < 1:
        msg = f"{text[:80]!r} is not a whole number of at least 1"
        raise ValueError(msg)
    return int(match[1])


def site_number(text: str) -> int:
    """Return the number of a site; 1 for an empty cell."""
    return whole_number(text) or 1
