"""The table to process: one row per movie, with the frames wanted of it."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.errors import TableError
from idrstream.records import ImageTask
from idrstream.screen.wells import well_name, well_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

# Columns that become fields of their own; all others are metadata.
PLATE, WELL, WELL_NUMBER, FRAMES, SITE = "Plate", "Well", "Well Number", "Frames", "Site"
CORE_COLUMNS = (PLATE, WELL, WELL_NUMBER, FRAMES, SITE)

_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]")


def parse_frames(text: object) -> tuple[int, ...]:
    """Return the frame numbers that a Frames cell asks for.

    Parameters
    ----------
    text : object
        ``"50"``, ``"1,50,93"``, or a whole number; counted from 1.

    Returns
    -------
    tuple of int
        The numbers in the order given, repeats left out.

    Raises
    ------
    ValueError
        If a part is not a whole number of at least 1.
    """
    numbers: list[int] = []
    for part in str(text).split(","):
        # A column of numbers with a gap is read as floats: 50 becomes "50.0".
        match = re.fullmatch(r"\s*(\d+)(?:\.0*)?\s*", part, flags=re.ASCII)
        if match is None or int(match[1]) < 1:
            msg = f'{text!r} is not a list of frame numbers from 1 on, such as "50" or "1,50,93"'
            raise ValueError(msg)
        if int(match[1]) not in numbers:
            numbers.append(int(match[1]))
    return tuple(numbers)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table to process from a tab- or comma-separated file.

    Parameters
    ----------
    path : Path
        A ``.tsv``, ``.csv`` or either gzipped; the separator is taken from the header. An
        unnamed first column, as pandas writes its index, is dropped.

    Returns
    -------
    pandas.DataFrame
        Every cell as text, empty cells as ``""``.

    Raises
    ------
    TableError
        If the file is missing or is no such table.
    """
    import pandas as pd

    try:
        with (gzip.open if path.suffix == ".gz" else open)(
            path, "rt", encoding="utf-8-sig"
        ) as file:
            separator = "\t" if "\t" in file.readline() else ","
        table = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except FileNotFoundError as error:
        msg = f"there is no table at {path}"
        raise TableError(msg) from error
    except (ValueError, EOFError, OSError) as error:
        # pandas' parser and decoding errors are ValueErrors
        msg = f"{path} cannot be read as a tab- or comma-separated table: {error}"
        raise TableError(msg) from error
    if len(table.columns) and str(table.columns[0]).startswith("Unnamed:"):
        table = table.drop(columns=table.columns[0])
    return table


def tasks_from_table(table: pd.DataFrame) -> tuple[ImageTask, ...]:
    """Turn a table to process into image tasks, checking every row.

    Parameters
    ----------
    table : pandas.DataFrame
        Needs the columns ``Plate``, ``Frames`` and one of ``Well`` and ``Well Number``; all
        others are kept as metadata.

    Returns
    -------
    tuple of ImageTask
        One per row, in the table's order.

    Raises
    ------
    TableError
        If a column is missing, a cell is wrong or a row repeats an earlier one; every bad row
        is listed (the first ten in full).
    """
    columns = [str(column).strip() for column in table.columns]
    _check_columns(columns)
    tasks: list[ImageTask] = []
    problems: list[str] = []
    first_row: dict[tuple[str, int, int, int], int] = {}
    for row, values in enumerate(table.itertuples(index=False, name=None)):
        cells = {name: _text(value) for name, value in zip(columns, values, strict=True)}
        try:
            task = _task(cells, row)
        except ValueError as error:
            problems.append(f"row {row + 1}, {error}")
            continue
        for frame in task.frames:
            seen = first_row.setdefault((task.plate, task.well_number, task.site, frame), row)
            if seen != row:
                problems.append(
                    f"row {row + 1}, column {FRAMES}: frame {frame} of {task.name} "
                    f"is already asked for in row {seen + 1}"
                )
        tasks.append(task)
    if problems:
        shown = "\n  ".join(problems[:10])
        more = f"\n  ... and {len(problems) - 10} more" if len(problems) > 10 else ""
        msg = f"the table to process has wrong rows (counted from 1):\n  {shown}{more}"
        raise TableError(msg)
    if not tasks:
        msg = "the table to process has no rows"
        raise TableError(msg)
    return tuple(tasks)


def _check_columns(columns: Sequence[str]) -> None:
    missing = [name for name in (PLATE, FRAMES) if name not in columns]
    if WELL not in columns and WELL_NUMBER not in columns:
        missing.append(f"{WELL} (or {WELL_NUMBER})")
    if missing:
        msg = (
            f"the table to process lacks the column {', '.join(missing)}; "
            f"it has {', '.join(columns) or 'none'}"
        )
        raise TableError(msg)
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        msg = f"the table to process has the column {', '.join(repeated)} more than once"
        raise TableError(msg)


def _text(value: object) -> str:
    # Missing cells arrive as None, NaN or NaT; NaN is the only value unequal to itself.
    return "" if value is None or value != value else str(value).strip()


def _task(cells: dict[str, str], row: int) -> ImageTask:
    plate = _name(cells[PLATE], PLATE)
    number = _whole(cells.get(WELL_NUMBER, ""), WELL_NUMBER)
    well = cells.get(WELL, "")
    if not well and number is None:
        msg = f"column {WELL}: empty"
        raise ValueError(msg)
    try:
        number_of_name = well_number(well) if well else None
        well = well or well_name(number or 0)
    except ValueError as error:
        msg = f"column {WELL}: {error}"
        raise ValueError(msg) from error
    if number is not None and number_of_name is not None and number != number_of_name:
        msg = f"column {WELL_NUMBER}: {number}, but well {well} is number {number_of_name}"
        raise ValueError(msg)
    try:
        frames = parse_frames(cells[FRAMES])
    except ValueError as error:
        msg = f"column {FRAMES}: {error}"
        raise ValueError(msg) from error
    return ImageTask(
        plate=plate,
        well=well,
        well_number=number if number is not None else well_number(well),
        frames=frames,
        site=_whole(cells.get(SITE, ""), SITE) or 1,
        metadata={name: text for name, text in cells.items() if name not in CORE_COLUMNS},
        row=row,
    )


def _name(text: str, column: str) -> str:
    """Check a name that will become part of file names and program arguments."""
    if not text:
        msg = f"column {column}: empty"
        raise ValueError(msg)
    if _UNSAFE.search(text) or text.startswith(("-", ".")):
        msg = (
            f"column {column}: {text!r} has a slash or control character, or starts with "
            "a dash or dot; such a name cannot become a file name"
        )
        raise ValueError(msg)
    return text


def _whole(text: str, column: str) -> int | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,9})(?:\.0*)?", text, flags=re.ASCII)
    if match is None or int(match[1]) < 1:
        msg = f"column {column}: {text!r} is not a whole number of at least 1"
        raise ValueError(msg)
    return int(match[1])
