"""Join the files of a study with the wells of its annotation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import repeat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from idrstream.errors import TableError
from idrstream.screen.cells import whole_number
from idrstream.screen.columns import FRAMES, PLATE, SITE, SOURCE, WELL, WELL_NUMBER
from idrstream.screen.plates import shape_of_numbers
from idrstream.screen.study.archive_paths import under_archive
from idrstream.screen.study.manifest import ARCHIVE, FieldRow
from idrstream.screen.wells import PLATE_COLUMNS, well_name, well_position

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("idrstream.screen")

_PATH = "Path"
_CORE = (PLATE, WELL, FRAMES, WELL_NUMBER, SITE, _PATH, SOURCE)


def wells_of_files(manifest: pd.DataFrame, plates_tsv: Path) -> pd.DataFrame:
    """Return the wells that the files name, for a study without annotation."""
    whole = manifest[manifest["position"].isna()]
    if not whole.empty:
        first = whole.iloc[0]
        msg = (
            f"{plates_tsv}: plate {first['plate']} is a {first['source']} ({first['path']}), which "
            "does not name its wells: give the study's annotation_csv"
        )
        raise TableError(msg)
    return _core_columns(manifest)


def wells_of_annotation(
    manifest: pd.DataFrame, annotation: pd.DataFrame, path: Path
) -> pd.DataFrame:
    """Return the annotated wells with their files, in the order of plates, wells and sites.

    Parameters
    ----------
    manifest : pandas.DataFrame
        A `FieldRow` in each row.
    annotation : pandas.DataFrame
        As `choose_rows` returns it.
    path : Path
        The annotation's file, for messages.

    Raises
    ------
    TableError
        If no well has an image, or a well has two different lines.
    """
    import pandas as pd

    widths: dict[str, int] = dict(zip(manifest["plate"], manifest["columns"], strict=True))
    known = annotation[annotation["Plate"].isin(widths)].copy()
    if known.empty:
        some = ", ".join(annotation["Plate"].unique()[:3])
        msg = f"{path}, column Plate: has none of the plates, but {some}, ..."
        raise TableError(msg)
    for plate in [plate for plate, width in widths.items() if not width]:
        widths[plate] = _width(known[known["Plate"] == plate], path)
    manifest = manifest.assign(columns=[widths[plate] for plate in manifest["plate"]])
    known["position"] = _positions(known, widths, path)
    known = _wells_once(known, path)
    anywhere = manifest["position"].isna()
    by_well = manifest[~anywhere].merge(
        known, left_on=["plate", "position"], right_on=["Plate", "position"], how="inner"
    )
    by_plate = (
        manifest[anywhere]
        .drop(columns="position")
        .merge(known, left_on="plate", right_on="Plate", how="inner")
    )
    _warn(known, by_well, by_plate, manifest)
    found = [rows for rows in (by_well, by_plate) if not rows.empty]
    if not found:
        msg = f"{path}: none of the chosen wells has an image"
        raise TableError(msg)
    joined = pd.concat(found, ignore_index=True)
    rest = joined.drop(columns=[*FieldRow._fields, *(set(_CORE) & set(joined.columns))])
    table = pd.concat([_core_columns(joined), rest], axis=1)
    order = {plate: i for i, plate in enumerate(dict.fromkeys(manifest["plate"]))}
    by = joined[["position", "site"]].assign(plate=joined["plate"].map(order))
    return table.loc[by.sort_values(["plate", "position", "site"], kind="stable").index]


def _width(annotation: pd.DataFrame, path: Path) -> int:
    """Return the number of columns of a plate from the names and numbers of its wells."""
    positions: list[tuple[int, int]] = []
    for name, number in zip(
        annotation.get("Well", ()), annotation.get("Well Number", repeat("")), strict=False
    ):
        try:
            row, column = well_position(name)
        except ValueError:
            continue
        found = _number(number)
        if row and found and (found - 1 - column) % row == 0:
            return max((found - 1 - column) // row, column + 1)
        positions.append((row, column))
    if not positions:
        return _width_of_numbers(annotation, path)
    small = all(row < 8 and column < 12 for row, column in positions)
    return 12 if small else PLATE_COLUMNS


def _width_of_numbers(annotation: pd.DataFrame, path: Path) -> int:
    numbers = map(_number, annotation.get("Well Number", ()))
    try:
        return shape_of_numbers([number for number in numbers if number])[1]
    except ValueError as error:
        msg = f"{path}, {error}: add the column Well, or give the .screen files of the study"
        raise TableError(msg) from error


def _number(text: str) -> int | None:
    """Return the number of a well; None if it is none."""
    try:
        return whole_number(text)
    except ValueError:
        return None


def _positions(
    annotation: pd.DataFrame, widths: Mapping[str, int], path: Path
) -> list[tuple[int, int]]:
    positions: list[tuple[int, int]] = []
    names = annotation["Well"] if "Well" in annotation else [""] * len(annotation)
    numbers = annotation["Well Number"] if "Well Number" in annotation else [""] * len(annotation)
    for line, plate, name, number in zip(
        annotation.index, annotation["Plate"], names, numbers, strict=True
    ):
        try:
            if name:
                positions.append(well_position(name))
            else:
                place = whole_number(number)
                if place is None:
                    raise ValueError(number)
                positions.append(divmod(place - 1, widths[plate] or PLATE_COLUMNS))
        except ValueError as error:
            column = "Well" if name else "Well Number"
            what = error if name else f"{number!r} is not a well's number"
            msg = f"{path}, line {line}, column {column}: {what}"
            raise TableError(msg) from error
    return positions


def _wells_once(annotation: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Drop repeated lines; raise for a well with two different lines."""
    annotation = annotation[~annotation.duplicated(keep="first")]
    twice = annotation.duplicated(["Plate", "position"], keep="first")
    if twice.any():
        line = annotation.index[twice][0]
        row = annotation.loc[line]
        same = (annotation["Plate"] == row["Plate"]) & (annotation["position"] == row["position"])
        msg = (
            f"{path}, line {line}, column Well: plate {row['Plate']} well {row.get('Well', '')} is "
            f"already in line {annotation.index[same][0]} with other values; choose between them "
            "by where, or merge them"
        )
        raise TableError(msg)
    return annotation


def _warn(
    known: pd.DataFrame, by_well: pd.DataFrame, by_plate: pd.DataFrame, manifest: pd.DataFrame
) -> None:
    found = len(by_well.drop_duplicates(["Plate", "position"])) + len(by_plate)
    if found < len(known):
        logger.warning("%d of %d annotated wells have no image", len(known) - found, len(known))
    if not by_plate.empty:
        logger.warning(
            "%d plate(s) are kept as key files or folders (%s, ...): only a reader that opens the "
            "whole plate can distinguish their wells; see the docs on other screens",
            by_plate["plate"].nunique(), by_plate["path"].iloc[0],
        )  # fmt: skip
    if manifest["source"].eq("layout").any():
        logger.info("idr0013: paths from the study's layout; wells without a movie are not known")


def _core_columns(rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    wells: list[str] = []
    numbers: list[str] = []
    for (row, column), columns in zip(rows["position"], rows["columns"], strict=True):
        width = columns or PLATE_COLUMNS
        wells.append(well_name(row * width + column + 1, columns=width, rows=702))
        numbers.append(str(row * width + column + 1))
    return pd.DataFrame(
        {
            PLATE: rows["plate"],
            WELL: wells,
            FRAMES: "",
            WELL_NUMBER: numbers,
            SITE: rows["site"].astype(str),
            _PATH: [_normal(path) for path in rows["path"]],
            SOURCE: rows["source"],
        }
    )


def _normal(path: str) -> str:
    """Return an archive path with its usual prefix and single slashes."""
    below = under_archive(path)
    return path if below is None else ARCHIVE + str(PurePosixPath(below))
