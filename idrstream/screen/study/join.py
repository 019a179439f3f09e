"""Join the files of a study with the wells of its annotation, and count what is left over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from idrstream.errors import TableError
from idrstream.screen.cells import whole_number
from idrstream.screen.columns import (
    ACQUISITION,
    CHANNEL_NAMES,
    FRAMES,
    PAGES,
    PLANES,
    PLATE,
    SITE,
    SOURCE,
    WELL,
    WELL_NUMBER,
)
from idrstream.screen.plates import shape_of_numbers
from idrstream.screen.study.archive_paths import under_archive
from idrstream.screen.study.balance import Images, Lines
from idrstream.screen.study.field_rows import ARCHIVE, WHOLE_PLATES, FieldRow
from idrstream.screen.wells import PLATE_COLUMNS, well_name, well_position

if TYPE_CHECKING:
    import pandas as pd

_PATH = "Path"
_CORE = (PLATE, WELL, FRAMES, WELL_NUMBER, SITE, _PATH, SOURCE)
_POSITION, _ANNOTATED = "position", "annotated"
_MAX_ROWS = 702
_SHOWN = 40  # characters of a cell in a message
# Wells as some instruments number them: row and column, both from 1.
_ROW_COLUMN = re.compile(
    r"(?:R|r)?0*([1-9]\d{0,2})\s*(?:/|-|,|C|c)\s*0*([1-9]\d{0,3})", flags=re.ASCII
)


@dataclass(frozen=True, slots=True)
class Annotated:
    """A study's annotation with the choice of its rows.

    Attributes
    ----------
    table : pandas.DataFrame
        As `read_annotation` returns it.
    chosen : pandas.Index
        Lines that are wanted.
    path : Path
        The file, for messages.
    """

    table: pd.DataFrame
    chosen: pd.Index
    path: Path


class Joined(NamedTuple):
    """Rows with their annotation, and what became of lines and images."""

    table: pd.DataFrame
    lines: Lines
    images: Images
    annotated: frozenset[str]
    """Plates of which the annotation has a line."""


def wells_of_files(manifest: pd.DataFrame) -> Joined:
    """Return the images of the wells that the files name, for a study without annotation."""
    found = manifest[manifest[_POSITION].notna()]
    images = Images(used=len(found))
    return Joined(_core_columns(found), Lines(), images, frozenset(found["plate"]))


def wells_of_annotation(
    manifest: pd.DataFrame, names: Mapping[str, str], annotation: Annotated
) -> Joined:
    """Return the annotated wells with their files, in the order of plates, wells and sites.

    Parameters
    ----------
    manifest : pandas.DataFrame
        A `FieldRow` in each row.
    names : mapping of str to str
        What the annotation calls each plate, as far as it has it.
    annotation : Annotated
        All of it; wells that are not chosen are left out.

    Returns
    -------
    Joined
        A plate whose files do not name its wells has the chosen wells of the annotation.
    """
    import pandas as pd

    path = annotation.path
    table = annotation.table.copy()
    known = table[table["Plate"].isin(set(names.values()))].copy()
    widths = _widths(manifest, names, known, path)
    manifest = manifest.assign(
        columns=[widths.get(plate, 0) for plate in manifest["plate"]],
        annotated=[names.get(plate, "") for plate in manifest["plate"]],
    )
    positions, unusable = _positions(known, _widths_by_name(widths, names))
    known[_POSITION] = pd.Series(positions, index=known.index, dtype=object)
    usable = known[known[_POSITION].notna()]
    chosen, merged, differing = _wells_once(usable[usable.index.isin(annotation.chosen)])
    anywhere = manifest[_POSITION].isna()
    keys = [_ANNOTATED, _POSITION], ["Plate", _POSITION]
    by_well = manifest[~anywhere].merge(chosen, left_on=keys[0], right_on=keys[1], how="inner")
    by_plate = manifest[anywhere].drop(columns=_POSITION)
    by_plate = by_plate.merge(chosen, left_on=_ANNOTATED, right_on="Plate", how="inner")
    joined = pd.concat([rows for rows in (by_well, by_plate) if len(rows)] or [by_well])
    joined = joined.reset_index(drop=True)
    unread = joined["source"].isin(WHOLE_PLATES)
    images = _images(manifest[~anywhere], usable, len(by_well), int((~unread).sum()))
    lines = replace(
        _found_lines(chosen, joined[~unread], joined[unread]),
        merged=merged,
        differing=differing,
        unusable=unusable,
        not_chosen=int((~usable.index.isin(annotation.chosen)).sum()),
        of_other_plates=len(annotation.table) - len(known),
    )
    return Joined(_ordered(joined, manifest), lines, images, frozenset(names))


def _ordered(joined: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    core = _core_columns(joined)
    rest = joined.drop(
        columns=[*FieldRow._fields, _ANNOTATED, *(set(core.columns) & set(joined.columns))],
        errors="ignore",
    )
    table = pd.concat([core, rest], axis=1)
    order = {plate: i for i, plate in enumerate(dict.fromkeys(manifest["plate"]))}
    by = joined[[_POSITION, "site"]].assign(plate=joined["plate"].map(order))
    return table.loc[by.sort_values(["plate", _POSITION, "site"], kind="stable").index]


def _images(named: pd.DataFrame, usable: pd.DataFrame, chosen: int, used: int) -> Images:
    """Count the images of wells that the files name."""
    annotated = set(zip(usable["Plate"], usable[_POSITION], strict=True))
    left = [
        f"{plate} {_well(position, columns)} site {site}"
        for plate, name, position, columns, site in zip(
            named["plate"], named[_ANNOTATED], named[_POSITION], named["columns"], named["site"],
            strict=True,
        )
        if (name, position) not in annotated
    ]  # fmt: skip
    return Images(used, tuple(left), not_chosen=len(named) - chosen - len(left))


def _found_lines(chosen: pd.DataFrame, found: pd.DataFrame, unread: pd.DataFrame) -> Lines:
    """Count the chosen wells: with images, of plates that have to be read, without images."""
    with_image = set(zip(found["Plate"], found[_POSITION], strict=True))
    to_read = set(zip(unread["Plate"], unread[_POSITION], strict=True)) - with_image
    wells = list(zip(chosen["Plate"], chosen[_POSITION], strict=True))
    without = tuple(
        f"{plate} {_well(position, PLATE_COLUMNS)}"
        for plate, position in wells
        if (plate, position) not in with_image and (plate, position) not in to_read
    )
    return Lines(
        used=sum(well in with_image for well in wells),
        of_unread=sum(well in to_read for well in wells),
        without_image=without,
    )


def _widths(
    manifest: pd.DataFrame, names: Mapping[str, str], known: pd.DataFrame, path: Path
) -> dict[str, int]:
    """Return the columns of each plate: as its files say, else as its annotation does."""
    widths: dict[str, int] = dict(zip(manifest["plate"], manifest["columns"], strict=True))
    for plate, width in widths.items():
        if not width and plate in names:
            widths[plate] = _width(known[known["Plate"] == names[plate]], path)
    return widths


def _widths_by_name(widths: Mapping[str, int], names: Mapping[str, str]) -> dict[str, int]:
    return {names[plate]: width for plate, width in widths.items() if plate in names}


def _width(annotation: pd.DataFrame, path: Path) -> int:
    """Return the number of columns of a plate from the names and numbers of its wells."""
    positions: list[tuple[int, int]] = []
    for name, number in zip(
        annotation.get("Well", ()), annotation.get("Well Number", repeat("")), strict=False
    ):
        position = any_well_position(name)
        if position is None:
            continue
        row, column = position
        found = _number(number)
        if row and found and (found - 1 - column) % row == 0:
            return max((found - 1 - column) // row, column + 1)
        positions.append((row, column))
    if not positions:
        return _width_of_numbers(annotation, path)
    small = all(row < 8 and column < 12 for row, column in positions)
    wide = max(column for _, column in positions) + 1
    return 12 if small else max(wide, PLATE_COLUMNS)


def _width_of_numbers(annotation: pd.DataFrame, path: Path) -> int:
    numbers = map(_number, annotation.get("Well Number", ()))
    whole = [number for number in numbers if number]
    if not whole:
        return PLATE_COLUMNS
    try:
        return shape_of_numbers(whole)[1]
    except ValueError as error:
        msg = f"{path}, {error}: add the column Well, or give the .screen files of the study"
        raise TableError(msg) from error


def _number(text: str) -> int | None:
    """Return the number of a well; None if it is none."""
    try:
        return whole_number(text)
    except ValueError:
        return None


def any_well_position(text: str) -> tuple[int, int] | None:
    """Return row and column from 0 of a well as studies write it; None if it is none.

    Parameters
    ----------
    text : str
        ``A1``, ``A01``, ``a1``, ``A-1``, ``A 1``, or row and column from 1: ``1/11``,
        ``R1C11``.
    """
    match = _ROW_COLUMN.fullmatch(text.strip())
    if match is not None:
        return (int(match[1]) - 1, int(match[2]) - 1) if int(match[1]) <= _MAX_ROWS else None
    try:
        return well_position(re.sub(r"[\s_-]+", "", text))
    except ValueError:
        return None


def _positions(
    annotation: pd.DataFrame, widths: Mapping[str, int]
) -> tuple[list[tuple[int, int] | None], tuple[str, ...]]:
    """Return the positions of wells, None where a line has none, and those lines."""
    positions: list[tuple[int, int] | None] = []
    unusable: list[str] = []
    names = annotation["Well"] if "Well" in annotation else [""] * len(annotation)
    numbers = annotation["Well Number"] if "Well Number" in annotation else [""] * len(annotation)
    for line, plate, name, number in zip(
        annotation.index, annotation["Plate"], names, numbers, strict=True
    ):
        position = any_well_position(name) if name else None
        place = None if name else _number(number)
        if position is None and place is not None:
            position = divmod(place - 1, widths.get(plate) or PLATE_COLUMNS)
        if position is None:
            unusable.append(f"line {line} ({plate} {(name or number)[:_SHOWN]})".replace(" )", ")"))
        positions.append(position)
    return positions, tuple(unusable)


def _wells_once(annotation: pd.DataFrame) -> tuple[pd.DataFrame, int, tuple[str, ...]]:
    """Return one line for each well, how many were joined, and the wells that differed.

    Cells that differ have all their values, in the order of the lines.
    """
    key = ["Plate", _POSITION]
    several = annotation.duplicated(key, keep=False)
    if not several.any():
        return annotation, 0, ()
    merged = annotation[~annotation.duplicated(key, keep="first")].copy()
    differing: list[str] = []
    groups: Any = annotation[several].groupby(key, sort=False)
    for (plate, position), lines in groups:
        first = lines.index[0]
        values = {
            column: list(dict.fromkeys(lines[column]))
            for column in lines.columns
            if column not in (*key, WELL)
        }
        unlike = {column: cells for column, cells in values.items() if len(cells) > 1}
        for column, cells in unlike.items():
            merged.loc[first, column] = " | ".join(cell for cell in cells if cell)
        if unlike:
            numbers = ", ".join(map(str, lines.index))
            differing.append(f"{plate} {_well(position, PLATE_COLUMNS)} (lines {numbers})")
    return merged, len(annotation) - len(merged), tuple(differing)


def _core_columns(rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    wells: list[str] = []
    numbers: list[str] = []
    for (row, column), columns in zip(rows[_POSITION], rows["columns"], strict=True):
        width = max(columns or PLATE_COLUMNS, column + 1)
        wells.append(well_name(row * width + column + 1, columns=width, rows=_MAX_ROWS))
        numbers.append(str(row * width + column + 1))
    channels = list(dict.fromkeys(file.name for files in rows["files"] for file in files))
    paths = [{file.name: file.path for file in files} for files in rows["files"]]
    core = pd.DataFrame(
        {
            PLATE: rows["plate"],
            WELL: wells,
            FRAMES: "",
            WELL_NUMBER: numbers,
            SITE: rows["site"].astype(str),
            _PATH: [_normal(path) for path in rows["path"]],
            **{
                f"{_PATH} {name}": [_normal(own.get(name, "")) for own in paths]
                for name in channels
            },
            SOURCE: rows["source"],
        }
    )
    if any(names := [_names_in_file(row) for row in rows[["source", "channels"]].to_numpy()]):
        core[CHANNEL_NAMES] = names
    if rows["planes"].any():
        core[PLANES] = [str(planes) if planes else "" for planes in rows["planes"]]
    if rows["pages"].any():
        core[PAGES] = rows["pages"]
    if rows["acquisition"].any():
        core[ACQUISITION] = rows["acquisition"]
    return core


def _names_in_file(row: Any) -> str:
    """Return the names of the channels in one file; those of patterns are names of files."""
    source, channels = row
    return "" if source in ("pattern", "index") else ";".join(channels)


def _well(position: tuple[int, int], columns: int) -> str:
    width = max(columns or PLATE_COLUMNS, position[1] + 1)
    return well_name(position[0] * width + position[1] + 1, columns=width, rows=_MAX_ROWS)


def _normal(path: str) -> str:
    """Return an archive path with its usual prefix and single slashes."""
    below = under_archive(path)
    return path if below is None else ARCHIVE + str(PurePosixPath(below))
