"""From the cells of a table to image tasks: every row checked, repeats decided."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from idrstream.errors import TableError
from idrstream.records import ImageTask
from idrstream.screen.frames import parse_frames
from idrstream.screen.table import clean_column, clean_header
from idrstream.screen.wells import PLATE_COLUMNS, well_name, well_number, well_position

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("idrstream.screen")

# Columns that become fields of their own; all others are metadata.
PLATE, WELL, WELL_NUMBER, FRAMES, SITE = "Plate", "Well", "Well Number", "Frames", "Site"
CORE_COLUMNS = (PLATE, WELL, WELL_NUMBER, FRAMES, SITE)
PLACE_COLUMNS = ("Path", "URL")
SOURCE = "Source"
WHOLE_PLATES = frozenset({"key file", "directory"})

MAX_NAME_BYTES = 120
_SHOWN = 10
_MOST_ROWS = 702  # A to ZZ

_T = TypeVar("_T")

_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SPREADSHEET_ERRORS = frozenset(
    ("#N/A", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!", "########")
)


def tasks_from_table(table: pd.DataFrame, *, ignore_invalid: bool = False) -> tuple[ImageTask, ...]:
    """Turn a table to process into image tasks, checking every row.

    A row that repeats an earlier one in all its cells is left out, with a warning in the log.
    Rows that ask for the same frame of the same image but differ otherwise are an error.

    Parameters
    ----------
    table : pandas.DataFrame
        Needs the columns ``Plate``, ``Frames`` and one of ``Well`` and ``Well Number``; ``Site``
        is 1 where it is missing; all others are kept as metadata.
    ignore_invalid : bool
        Leave out rows that cannot be used, with a warning for each in the log, instead of
        refusing the table.

    Returns
    -------
    tuple of ImageTask
        One per row, in the table's order.

    Raises
    ------
    TableError
        If a column is missing, a cell is wrong or rows contradict each other; every bad row is
        named with its column (the first ten in full). Rows count from 1, without the header.
    """
    names = clean_header(list(table.columns), (*CORE_COLUMNS, *PLACE_COLUMNS))
    _check_columns(names)
    cells = {name: clean_column(table.iloc[:, i]) for i, name in enumerate(names)}
    rows = _Rows(cells, len(table))
    if not ignore_invalid:
        rows.raise_problems()
    if not len(table):
        msg = "the table to process has no rows"
        raise TableError(msg)
    repeats = rows.repeats()
    if not ignore_invalid or len(rows.problems) == len(table):
        rows.raise_problems()
    for row in sorted(rows.problems):
        logger.warning("Left out of the table: %s", rows.problems[row])
    if repeats:
        shown = ", ".join(str(row + 1) for row in repeats[:_SHOWN])
        more = ", ..." if len(repeats) > _SHOWN else ""
        logger.warning(
            "%d row(s) of the table repeat earlier ones and are left out: %s%s",
            len(repeats), shown, more,
        )  # fmt: skip
    return rows.tasks(frozenset(repeats) | rows.problems.keys())


def name_problem(name: str) -> str | None:
    """Say why a plate's name cannot become part of file names and program arguments.

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


class _Rows:
    """The columns of a table on their way to tasks, and what is wrong with them.

    Every different cell is looked at once, however many rows have it.
    """

    def __init__(self, cells: dict[str, list[str]], count: int) -> None:
        self.cells = cells
        self.count = count
        self.problems: dict[int, str] = {}
        self.plates = self._plates()
        self.frames: list[tuple[int, ...]] = self._parsed(FRAMES, parse_frames, ())
        self.sites: list[int] = (
            self._parsed(SITE, _site, 1) if SITE in cells else list(repeat(1, count))
        )
        self.wells, self.numbers = self._wells()
        self._check_sources()

    def raise_problems(self) -> None:
        if not self.problems:
            return
        lines = [self.problems[row] for row in sorted(self.problems)]
        shown = "\n  ".join(lines[:_SHOWN])
        more = f"\n  ... and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        msg = f"the table to process has wrong rows (counted from 1):\n  {shown}{more}"
        raise TableError(msg)

    def repeats(self) -> list[int]:
        """Return the rows that repeat earlier ones; note those that contradict earlier ones."""
        groups: dict[tuple[str, int, int], list[int]] = {}
        for row, key in enumerate(zip(self.plates, self.numbers, self.sites, strict=True)):
            if row not in self.problems:
                groups.setdefault(key, []).append(row)
        repeated: list[int] = []
        for rows in groups.values():
            if len(rows) > 1:
                repeated += self._repeats_of(rows)
        return sorted(repeated)

    def tasks(self, left_out: frozenset[int]) -> tuple[ImageTask, ...]:
        names = [name for name in self.cells if name not in CORE_COLUMNS]
        columns = [self.cells[name] for name in names]
        others: Iterable[tuple[str, ...]] = (
            zip(*columns, strict=True) if columns else repeat((), self.count)
        )
        cores = zip(
            self.plates, self.wells, self.numbers, self.frames, self.sites, others, strict=True
        )
        return tuple(
            ImageTask(plate, well, number, frames, site, dict(zip(names, texts, strict=True)), row)
            for row, (plate, well, number, frames, site, texts) in enumerate(cores)
            if row not in left_out
        )

    def _problem(self, row: int, text: str) -> None:
        self.problems.setdefault(row, f"row {row + 1}, {text}")

    def _plates(self) -> list[str]:
        plates = self.cells[PLATE]
        first: dict[str, int] = {}
        for row, plate in enumerate(plates):
            first.setdefault(plate, row)
        wrong: dict[str, str] = {}
        spelling: dict[str, tuple[str, int]] = {}
        for plate, row in first.items():
            problem = name_problem(plate)
            other, other_row = spelling.setdefault(
                unicodedata.normalize("NFKC", plate).casefold(), (plate, row)
            )
            if problem is None and other != plate:
                problem = (
                    f"{plate!r} and {other!r} (row {other_row + 1}) differ only in case or form; "
                    "not every disk keeps both apart: spell them alike, or rename one"
                )
            if problem is not None:
                wrong[plate] = problem
        if wrong:
            for row, plate in enumerate(plates):
                if plate in wrong:
                    self._problem(row, f"column {PLATE}: {wrong[plate]}")
        return plates

    def _check_sources(self) -> None:
        """Note rows whose path stands for a whole plate: no file of theirs can be brought."""
        sources, paths = (self.cells.get(name, [""] * self.count) for name in (SOURCE, "Path"))
        urls = self.cells.get("URL", [""] * self.count)
        for row, (source, path, url) in enumerate(zip(sources, paths, urls, strict=True)):
            if source in WHOLE_PLATES and not url and ".zarr" not in path.lower():
                self._problem(
                    row,
                    f"column {SOURCE}: {path} is a {source} that stands for the whole plate, of "
                    "which no single image can be brought; bring the plate by other means, "
                    "convert it (bfconvert, or use its OME-Zarr copy), set Path or URL to the "
                    f"file of each image, and {SOURCE} to 'file'",
                )

    def _parsed(self, column: str, parse: Callable[[str], _T], bad: _T) -> list[_T]:
        known: dict[str, _T] = {}
        wrong: dict[str, str] = {}
        for text in set(self.cells[column]):
            try:
                known[text] = parse(text)
            except ValueError as error:
                known[text] = bad
                wrong[text] = f"column {column}: {error}"
        if wrong:
            for row, text in enumerate(self.cells[column]):
                if text in wrong:
                    self._problem(row, wrong[text])
        return [known[text] for text in self.cells[column]]

    def _wells(self) -> tuple[list[str], list[int]]:
        names = self.cells.get(WELL) or [""] * self.count
        numbers: list[int | None] = [None] * self.count
        if WELL_NUMBER in self.cells:
            numbers = self._parsed(WELL_NUMBER, _whole, None)
        placed = [False] * self.count
        for column in PLACE_COLUMNS:
            if column in self.cells:
                placed = [a or bool(b) for a, b in zip(placed, self.cells[column], strict=True)]
        keys = list(zip(self.plates, names, numbers, placed, strict=True))
        different = dict.fromkeys(keys)
        widths = _plate_widths(different)
        known: dict[Any, tuple[str, int]] = {}
        wrong: dict[Any, str] = {}
        for key in different:
            plate, name, number, free = key
            try:
                known[key] = _well(name, number, widths.get(plate) if free else None)
            except ValueError as error:
                known[key] = ("", 0)
                wrong[key] = str(error)
        if wrong:
            for row, key in enumerate(keys):
                if key in wrong:
                    self._problem(row, wrong[key])
        return [known[key][0] for key in keys], [known[key][1] for key in keys]

    def _repeats_of(self, rows: list[int]) -> list[int]:
        columns = list(self.cells.values())
        seen: dict[tuple[str, ...], int] = {}
        first: dict[int, int] = {}
        repeated: list[int] = []
        for row in rows:
            content = tuple(column[row] for column in columns)
            if seen.setdefault(content, row) != row:
                repeated.append(row)
                continue
            for frame in self.frames[row]:
                earlier = first.setdefault(frame, row)
                if earlier != row:
                    self._problem(
                        row,
                        f"column {FRAMES}: frame {frame} of plate {self.plates[row]} well "
                        f"{self.wells[row]} site {self.sites[row]} is already asked for in row "
                        f"{earlier + 1}, which differs; keep one of them",
                    )
                    break
        return repeated


def _plate_widths(keys: Iterable[tuple[str, str, Any, bool]]) -> dict[str, int]:
    """Return how many columns each plate has, as its wells' names and numbers tell.

    Only rows that say themselves where their movie is are asked: the others follow idr0013's
    plates of 24 columns.
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
def _well(name: str, number: int | None, width: int | None) -> tuple[str, int]:
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


def _whole(text: str) -> int | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,9})(?:\.0*)?", text, flags=re.ASCII)
    if match is None or int(match[1]) < 1:
        msg = f"{text[:80]!r} is not a whole number of at least 1"
        raise ValueError(msg)
    return int(match[1])


def _site(text: str) -> int:
    return _whole(text) or 1
