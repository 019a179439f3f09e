"""From the cells of a table to image tasks: checks every row and removes repeats."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, TypeVar

from idrstream.errors import TableError
from idrstream.records import ImageTask
from idrstream.screen.cells import (
    name_problem,
    site_number,
    unwritable,
    whole_number,
)
from idrstream.screen.columns import (
    CORE_COLUMNS,
    FRAMES,
    PLACE_COLUMNS,
    PLATE,
    PLATE_FORMAT,
    SITE,
    SOURCE,
    WELL,
    WELL_NUMBER,
    channel_columns,
    check_columns,
)
from idrstream.screen.frames import frame_step, parse_frames
from idrstream.screen.plates import PLATE_FORMATS, WellKey, plate_wells, wells_of
from idrstream.screen.text import text_table
from idrstream.text import counted

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("idrstream.screen")

WHOLE_PLATES = frozenset({"key file", "directory"})
_SHOWN = 10

_T = TypeVar("_T")


def with_plate_format(table: pd.DataFrame, plate_format: int | None = None) -> pd.DataFrame:
    """Return a table as text, with the wells of its plates in a column where they are given.

    So the kept copy of a table needs no option to be understood.

    Parameters
    ----------
    table : pandas.DataFrame
        The table to process.
    plate_format : int, optional
        Wells of every plate; the column ``Plate Format`` may say the same.

    Raises
    ------
    TableError
        If the column says something else, or there is no such plate.
    """
    text = text_table(table)
    if plate_format is None:
        return text
    if plate_format not in PLATE_FORMATS:
        known = ", ".join(map(str, PLATE_FORMATS))
        msg = f"plate_format is {plate_format}; it can be {known} (wells)"
        raise TableError(msg)
    cells = list(text[PLATE_FORMAT]) if PLATE_FORMAT in text else [""] * len(text)
    for row, cell in enumerate(cells):
        try:
            wells = plate_wells(cell)
        except ValueError:
            continue  # told with the other wrong cells
        if wells not in (None, plate_format):
            msg = (
                f"row {row + 1}, column {PLATE_FORMAT}: {cell}, but plate_format is {plate_format}"
            )
            raise TableError(msg)
    return text.assign(**{PLATE_FORMAT: [cell or str(plate_format) for cell in cells]})


def tasks_from_table(
    table: pd.DataFrame, *, ignore_invalid: bool = False, plate_format: int | None = None
) -> tuple[ImageTask, ...]:
    """Turn a table to process into image tasks; see `checked_rows`."""
    return checked_rows(table, ignore_invalid=ignore_invalid, plate_format=plate_format).tasks


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """What a table asks for.

    Attributes
    ----------
    tasks : tuple of ImageTask
        One per row that is processed, in the table's order.
    repeated : int
        Rows left out because they repeat earlier ones.
    unusable : int
        Rows left out because they cannot be used.
    """

    tasks: tuple[ImageTask, ...]
    repeated: int
    unusable: int


def checked_rows(
    table: pd.DataFrame, *, ignore_invalid: bool = False, plate_format: int | None = None
) -> CheckedRows:
    """Turn a table to process into image tasks, checking every row.

    A row that repeats an earlier one in all its cells is left out, with a warning in the log.
    Rows that request the same frame of the same image but differ otherwise are an error.

    Parameters
    ----------
    table : pandas.DataFrame
        Needs the columns ``Plate``, ``Frames`` and one of ``Well`` and ``Well Number``; ``Site``
        is 1 where it is missing; all others are kept as metadata.
    ignore_invalid : bool
        Leave out rows that cannot be used, with a warning for each in the log, instead of
        refusing the table.
    plate_format : int, optional
        Wells of every plate, such as 96; by default what the column ``Plate Format`` or wells
        with name and number say.

    Returns
    -------
    CheckedRows
        The tasks, and how many rows were left out for which reason.

    Raises
    ------
    TableError
        If a column is missing, a cell is wrong or rows contradict each other; every bad row is
        named with its column (the first ten in full). Rows count from 1, without the header.
    """
    text = with_plate_format(table, plate_format)
    names = list(text.columns)
    check_columns(names)
    rows = _Rows({name: list(text[name]) for name in names}, len(text))
    if not ignore_invalid:
        rows.raise_problems()
    if not len(text):
        msg = "the table to process has no rows"
        raise TableError(msg)
    repeats = rows.repeats()
    if not ignore_invalid or len(rows.problems) == len(text):
        rows.raise_problems()
    for row in sorted(rows.problems):
        logger.warning("Left out of the table: %s", rows.problems[row])
    if repeats:
        shown = ", ".join(str(row + 1) for row in repeats[:_SHOWN])
        more = ", ..." if len(repeats) > _SHOWN else ""
        left_out = counted(
            len(repeats),
            "row of the table repeats an earlier one and is left out",
            "rows of the table repeat earlier ones and are left out",
        )
        logger.warning("%s: %s%s", left_out, shown, more)
    tasks = rows.tasks(frozenset(repeats) | rows.problems.keys())
    return CheckedRows(tasks, len(repeats), len(rows.problems))


class _Rows:
    """The columns of a table, parsed, and the problems of its rows.

    Every distinct cell is parsed once, however many rows have it.
    """

    def __init__(self, cells: dict[str, list[str]], count: int) -> None:
        self.cells = cells
        self.count = count
        self.problems: dict[int, str] = {}
        self.plates = self._plates()
        self.frames: list[tuple[int, ...]] = self._parsed(FRAMES, parse_frames, ())
        self.steps: list[int] = self._parsed(FRAMES, frame_step, 0)
        self.sites: list[int] = (
            self._parsed(SITE, site_number, 1) if SITE in cells else list(repeat(1, count))
        )
        self.wells, self.numbers = self._wells()
        self._check_sources()
        self._check_texts()

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
            self.plates, self.wells, self.numbers, self.frames, self.sites, others, self.steps,
            strict=True,
        )  # fmt: skip
        return tuple(
            ImageTask(
                plate, well, number, frames, site, dict(zip(names, texts, strict=True)), row, step
            )
            for row, (plate, well, number, frames, site, texts, step) in enumerate(cores)
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
        """Note rows whose path stands for a whole plate: they have no file to download."""
        sources, paths = (self.cells.get(name, [""] * self.count) for name in (SOURCE, "Path"))
        urls = self.cells.get("URL", [""] * self.count)
        for row, (source, path, url) in enumerate(zip(sources, paths, urls, strict=True)):
            if source in WHOLE_PLATES and not url and ".zarr" not in path.lower():
                self._problem(
                    row,
                    f"column {SOURCE}: {path} is a {source} that stands for the whole plate, of "
                    "which no single image can be downloaded; download the plate by other means, "
                    "convert it (bfconvert, or use its OME-Zarr copy), set Path or URL to the "
                    f"file of each image, and {SOURCE} to 'file'",
                )

    def _check_texts(self) -> None:
        """Note cells that no file of text can hold: neither a table nor the kept copy."""
        for name, cells in self.cells.items():
            wrong = {text: why for text in set(cells) if (why := unwritable(text))}
            if wrong:
                for row, text in enumerate(cells):
                    if text in wrong:
                        self._problem(row, f"column {name}: {wrong[text]}")

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
            numbers = self._parsed(WELL_NUMBER, whole_number, None)
        placed = [False] * self.count
        for column in (*PLACE_COLUMNS, *channel_columns(self.cells).values()):
            if column in self.cells:
                placed = [a or bool(b) for a, b in zip(placed, self.cells[column], strict=True)]
        sizes: list[int | None] = [None] * self.count
        if PLATE_FORMAT in self.cells:
            sizes = self._parsed(PLATE_FORMAT, plate_wells, None)
        keys = list(map(WellKey, self.plates, names, numbers, placed, sizes))
        found = wells_of(dict.fromkeys(keys))
        wells: list[tuple[str, int]] = []
        for row, key in enumerate(keys):
            well = found[key]
            if isinstance(well, str):
                self._problem(row, well)
                well = ("", 0)
            wells.append(well)
        return [name for name, _ in wells], [number for _, number in wells]

    def _repeats_of(self, rows: list[int]) -> list[int]:
        columns = list(self.cells.values())
        seen: dict[tuple[str, ...], int] = {}
        first: dict[int, int] = {}
        whole: int | None = None  # the row that asks for as many frames as there are
        repeated: list[int] = []
        for row in rows:
            content = tuple(column[row] for column in columns)
            if seen.setdefault(content, row) != row:
                repeated.append(row)
                continue
            frames = self.frames[row] or tuple(first) or (1,)
            if self.steps[row]:
                whole = row if whole is None else whole
            for frame in frames:
                earlier = first.setdefault(frame, row if whole is None else whole)
                if earlier != row:
                    self._problem(
                        row,
                        f"column {FRAMES}: frame {frame} of plate {self.plates[row]} well "
                        f"{self.wells[row]} site {self.sites[row]} is already asked for in row "
                        f"{earlier + 1}, which differs; keep one of them",
                    )
                    break
        return repeated
