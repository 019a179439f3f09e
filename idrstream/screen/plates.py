"""How the wells of a plate are numbered: stated, or shown by wells with name and number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from idrstream.screen.columns import PLATE_FORMAT, WELL, WELL_NUMBER
from idrstream.screen.wells import PLATE_COLUMNS, PLATE_ROWS, well_name, well_number, well_position

PLATE_FORMATS: Mapping[int, tuple[int, int]] = MappingProxyType(
    {6: (2, 3), 12: (3, 4), 24: (4, 6), 48: (6, 8), 96: (8, 12), 384: (16, 24), 1536: (32, 48)}
)
"""Rows and columns by number of wells."""

_MOST_ROWS = 702  # A to ZZ
_USUAL = (384, 96, 1536)  # formats that a number without a name may be of


class WellKey(NamedTuple):
    """What a row says of its well.

    Attributes
    ----------
    plate, name : str
        Plate; name of the well, which may be empty.
    number : int or None
        Its number.
    free : bool
        Whether the row names its movie. The others follow idr0013's plates of 384 wells.
    wells : int or None
        Wells of the plate, where that is stated.
    """

    plate: str
    name: str
    number: int | None
    free: bool
    wells: int | None


@dataclass(frozen=True, slots=True)
class Numbering:
    """How the wells of a plate are numbered.

    Attributes
    ----------
    rows, columns : int
        Of the plate.
    known : bool
        Whether that is stated or shown, so that numbers alone give names.
    downwards : bool
        Whether the table's numbers go down the columns, which is refused.
    """

    rows: int = PLATE_ROWS
    columns: int = PLATE_COLUMNS
    known: bool = False
    downwards: bool = False


def plate_wells(text: str) -> int | None:
    """Return the number of wells of a plate, such as 96; None for an empty cell."""
    if not text:
        return None
    match = re.match(r"(\d{1,4})(\.0*)?(?!\w)", text, flags=re.ASCII)
    if match is None or int(match[1]) not in PLATE_FORMATS:
        msg = f"{text[:80]!r} is none of {', '.join(map(str, PLATE_FORMATS))} wells"
        raise ValueError(msg)
    return int(match[1])


def wells_of(keys: Iterable[WellKey]) -> dict[WellKey, tuple[str, int] | str]:
    """Return name and number of each well, or what is wrong with it.

    Parameters
    ----------
    keys : iterable of WellKey
        Different ones.
    """
    groups: dict[tuple[str, bool, int | None], list[WellKey]] = {}
    for key in keys:
        groups.setdefault((key.plate, key.free, key.wells), []).append(key)
    found: dict[WellKey, tuple[str, int] | str] = {}
    for content in groups.values():
        numbering = numbering_of(content)
        bare = numbering if numbering.known else _numbering_of_bare(content)
        for key in content:
            try:
                found[key] = _named(key, numbering) if key.name else _numbered(key, bare)
            except ValueError as error:
                found[key] = str(error)
    return found


def numbering_of(keys: Sequence[WellKey]) -> Numbering:
    """Return how the wells of one plate are numbered."""
    stated = keys[0].wells
    if stated is not None:
        return Numbering(*PLATE_FORMATS[stated], known=True)
    pairs, widest = _pairs(keys)
    if _are_downwards(pairs):
        return Numbering(downwards=True)
    if not keys[0].free:
        return Numbering()
    shown = Counter(
        width
        for row, column, number in pairs
        if row and (width := _width(row, column, number)) > widest
    )
    if not shown:
        return Numbering(_MOST_ROWS, PLATE_COLUMNS if widest < PLATE_COLUMNS else 48)
    usual = [PLATE_FORMATS[wells][1] for wells in _USUAL]
    best = max(shown, key=lambda width: (shown[width], width in usual, -width))
    return Numbering(_MOST_ROWS, best, known=True)


def shape_of_numbers(numbers: Sequence[int]) -> tuple[int, int]:
    """Return rows and columns of a plate of which only the numbers of wells are known.

    Raises
    ------
    ValueError
        If the wells would have other names on plates of another size, or the plate would have to
        be of an unusual size.
    """
    most = max(_USUAL)
    if len(set(numbers)) > PLATE_ROWS * PLATE_COLUMNS:  # more than one wrong number can make
        return PLATE_FORMATS[most]
    for number in sorted(set(numbers)):
        names = {wells: _name(number, wells) for wells in sorted(_USUAL) if number <= wells}
        if len(set(names.values())) > 1 or list(names) == [most]:
            shown = ", ".join(f"{name} on {wells} wells" for wells, name in names.items())
            msg = f"column {WELL_NUMBER}: {number} is {shown}"
            raise ValueError(msg)
    return PLATE_FORMATS[most]


def _name(number: int, wells: int) -> str:
    rows, columns = PLATE_FORMATS[wells]
    return well_name(number, columns=columns, rows=rows)


def _numbering_of_bare(keys: Iterable[WellKey]) -> Numbering | str:
    try:
        rows, columns = shape_of_numbers([k.number for k in keys if k.number and not k.name])
    except ValueError as error:
        return (
            f"{error}; say how many wells the plates have, with plate_format (--plate-format 96) "
            f"or a column {PLATE_FORMAT}, or add the column {WELL}"
        )
    return Numbering(rows, columns)


def _numbered(key: WellKey, numbering: Numbering | str) -> tuple[str, int]:
    if key.number is None:
        raise ValueError(f"column {WELL}: empty")
    if isinstance(numbering, str):
        raise ValueError(numbering)
    try:
        name = well_name(key.number, columns=numbering.columns, rows=numbering.rows)
    except ValueError as error:
        raise ValueError(f"column {WELL_NUMBER}: {error}") from error
    return name, key.number


def _named(key: WellKey, numbering: Numbering) -> tuple[str, int]:
    name, number = key.name, key.number
    try:
        by_name = well_number(name, columns=numbering.columns, rows=numbering.rows)
    except ValueError as error:
        raise ValueError(f"column {WELL}: {error}") from error
    if number in (None, by_name):
        return name, by_name
    msg = f"column {WELL_NUMBER}: {number}, but well {name} is number {by_name}"
    if numbering.downwards:
        msg += (
            "; the numbers count down the columns, here they count along the rows: leave out "
            f"the column {WELL_NUMBER}"
        )
    elif not numbering.known:
        msg += (
            f" on a plate of {numbering.columns} columns; for another one give plate_format "
            f"(--plate-format) or a column {PLATE_FORMAT}"
        )
    raise ValueError(msg)


def _pairs(keys: Iterable[WellKey]) -> tuple[list[tuple[int, int, int]], int]:
    """Return row, column and number of wells with name and number, and the last column."""
    pairs, widest = [], -1
    for key in keys:
        try:
            row, column = well_position(key.name)
        except ValueError:
            continue
        widest = max(widest, column)
        if key.number:
            pairs.append((row, column, key.number))
    return pairs, widest


def _width(row: int, column: int, number: int) -> int:
    """Return the columns of a plate on which a well has a number; 0 if there is none."""
    width, rest = divmod(number - 1 - column, row)
    return width if rest == 0 else 0


def _are_downwards(pairs: Sequence[tuple[int, int, int]]) -> bool:
    """Return whether numbers count down the columns, and cannot count along the rows."""
    along = any(
        all(number == row * columns + column + 1 for row, column, number in pairs)
        for _, columns in PLATE_FORMATS.values()
    )
    return not along and any(
        all(row < rows and number == column * rows + row + 1 for row, column, number in pairs)
        for rows, _ in PLATE_FORMATS.values()
    )
