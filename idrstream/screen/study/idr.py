"""From a study's own files to the table to process, for any screen of the archive.

A row of the table is a field of a well. Several rows may share a file, which is then downloaded
once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from idrstream.errors import ConfigError, TableError
from idrstream.screen.columns import FRAMES, PLATE, SITE, WELL, WELL_NUMBER
from idrstream.screen.frames import parse_frames
from idrstream.screen.study.annotation import choose_rows, read_annotation
from idrstream.screen.study.archive_paths import under_archive
from idrstream.screen.study.manifest import ARCHIVE, Choice, FieldRow, Finder, rows_of
from idrstream.screen.study.study_files import PlateEntry, read_plates
from idrstream.screen.wells import PLATE_COLUMNS, well_name, well_position

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("idrstream.screen")

PATH, SOURCE, GENE = "Path", "Source", "Original Gene Target"
_CORE = (PLATE, WELL, FRAMES, WELL_NUMBER, SITE, PATH, SOURCE)


def table_from_idr(
    plates_tsv: Path | str,
    annotation_csv: Path | str | None = None,
    screen_files: Path | str | Iterable[Path | str] = (),
    *,
    frames: str | int | Sequence[int] = 1,
    movie_frames: int | None = None,
    where: Mapping[str, str | Sequence[str]] | None = None,
    plates: Iterable[str] | None = None,
    sites: int | Iterable[int] | None = None,
    gene_column: str | None = None,
    pattern_values: Sequence[str] = (),
) -> pd.DataFrame:
    """Build the table to process from the files that a study keeps in the archive.

    Parameters
    ----------
    plates_tsv : path
        The study's plates file, for example ``idr0002-screenA-plates.tsv``.
    annotation_csv : path, optional
        Its annotation, ``.csv`` or ``.csv.gz``; its columns are kept as metadata. Wells that are
        not in it are left out.
    screen_files : path or iterable of path
        The ``.screen`` and ``.pattern`` files that the plates file names, or folders that have
        them. Not needed for files at the paths in the plates file.
    frames : str, int or sequence of int
        Frames of every movie, from 1: ``50``, ``[1, 50]``, ``"1-93:10"``, ``"all"`` or
        ``"every 10"`` (both need `movie_frames`), or ``"column NAME"`` for the annotation's
        column of that name.
    movie_frames : int, optional
        Frames of the longest movie. Frames beyond the end of a shorter one are skipped with
        that reason when the stream comes to them.
    where : mapping, optional
        Rows of the annotation to keep: column to value or values, as
        ``{"Control Type": ["positive control", "negative control"]}``.
    plates : iterable of str, optional
        Plates to keep; by default all.
    sites : int or iterable of int, optional
        Fields of a well to keep, from 1; by default all.
    gene_column : str, optional
        Column of the annotation that is the gene target, for example ``Gene Symbol``.
    pattern_values : sequence of str
        For files that belong together by a pattern: the value of each block that names the file
        with the wanted channel, for example ``["dapi"]``.

    Returns
    -------
    pandas.DataFrame
        ``Plate, Well, Frames, Well Number, Site, Path, Source`` and the annotation's columns, all
        as text, sorted as the plates file and by well and site. ``Source`` says what the path is:
        a file, or (see the docs) a key file or directory that stands for the whole plate.

    Raises
    ------
    TableError
        If a file is wrong; names file, line and column.
    ConfigError
        If an option is wrong.
    """
    import pandas as pd

    plates_tsv = Path(plates_tsv)
    entries = _chosen_plates(read_plates(plates_tsv), plates, plates_tsv)
    choice = Choice(_sites(sites), tuple(pattern_values))
    annotation = None
    if annotation_csv is not None:
        path = Path(annotation_csv)
        annotation = choose_rows(read_annotation(path), where or {}, path)
    elif where or gene_column:
        msg = "where and gene_column choose by the annotation: give annotation_csv"
        raise ConfigError(msg)
    finder = Finder(plates_tsv, screen_files)
    rows = [row for entry in entries for row in rows_of(entry, finder, choice)]
    manifest = pd.DataFrame(rows, columns=list(FieldRow._fields))
    if manifest.empty:
        msg = f"{plates_tsv}: none of its plates has the wanted images"
        raise TableError(msg)
    if annotation is None:
        table = _without_annotation(manifest, plates_tsv)
    else:
        table = _with_annotation(manifest, annotation, Path(annotation_csv or ""))
    return _finish(table, frames, movie_frames, gene_column)


def _chosen_plates(
    entries: list[PlateEntry], plates: Iterable[str] | None, path: Path
) -> list[PlateEntry]:
    if plates is None:
        return entries
    wanted = {plates} if isinstance(plates, str) else set(plates)
    unknown = sorted(wanted - {entry.plate for entry in entries})
    if unknown:
        msg = f"{path} has no plate {', '.join(map(repr, unknown[:5]))}"
        raise TableError(msg)
    return [entry for entry in entries if entry.plate in wanted]


def _sites(sites: int | Iterable[int] | None) -> frozenset[int] | None:
    if sites is None:
        return None
    chosen = frozenset([sites] if isinstance(sites, int) else sites)
    if not chosen or min(chosen) < 1:
        msg = f"sites is {sites!r}; fields of a well count from 1"
        raise ConfigError(msg)
    return chosen


def _without_annotation(manifest: pd.DataFrame, plates_tsv: Path) -> pd.DataFrame:
    whole = manifest[manifest["position"].isna()]
    if not whole.empty:
        first = whole.iloc[0]
        msg = (
            f"{plates_tsv}: plate {first['plate']} is a {first['source']} ({first['path']}), which "
            "does not name its wells: give the study's annotation_csv"
        )
        raise TableError(msg)
    return _core_columns(manifest)


def _with_annotation(manifest: pd.DataFrame, annotation: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Join the wells that are annotated with the files they are in."""
    widths: dict[str, int] = dict(zip(manifest["plate"], manifest["columns"], strict=True))
    known = annotation[annotation["Plate"].isin(widths)].copy()
    if known.empty:
        some = ", ".join(annotation["Plate"].unique()[:3])
        msg = f"{path}, column Plate: has none of the plates, but {some}, ..."
        raise TableError(msg)
    for plate in [plate for plate, width in widths.items() if not width]:
        widths[plate] = _width(known[known["Plate"] == plate])
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
    import pandas as pd

    parts = [part for part in (by_well, by_plate) if not part.empty]
    if not parts:
        msg = f"{path}: none of the chosen wells has an image"
        raise TableError(msg)
    joined = pd.concat(parts, ignore_index=True)
    rest = joined.drop(columns=[*FieldRow._fields, *(set(_CORE) & set(joined.columns))])
    core = _core_columns(joined)
    table = pd.concat([core, rest], axis=1)
    order = {plate: i for i, plate in enumerate(dict.fromkeys(manifest["plate"]))}
    by = pd.DataFrame(
        {
            "plate": [order[plate] for plate in joined["plate"]],
            "position": joined["position"],
            "site": joined["site"],
        }
    )
    return table.loc[by.sort_values(["plate", "position", "site"], kind="stable").index]


def _width(annotation: pd.DataFrame) -> int:
    """Return the number of columns of a plate from the names of its wells."""
    positions: list[tuple[int, int]] = []
    for name, number in zip(
        annotation.get("Well", ()), annotation.get("Well Number", repeat("")), strict=False
    ):
        try:
            row, column = well_position(name)
        except ValueError:
            continue
        if row and number.isdecimal() and (int(number) - 1 - column) % row == 0:
            return max((int(number) - 1 - column) // row, column + 1)
        positions.append((row, column))
    small = positions and all(row < 8 and column < 12 for row, column in positions)
    return 12 if small else PLATE_COLUMNS


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
                positions.append(divmod(int(number) - 1, widths[plate] or PLATE_COLUMNS))
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
            PATH: [_normal(path) for path in rows["path"]],
            SOURCE: rows["source"],
        }
    )


def _normal(path: str) -> str:
    """Return an archive path with its usual prefix and single slashes."""
    below = under_archive(path)
    return path if below is None else ARCHIVE + str(PurePosixPath(below))


def _finish(
    table: pd.DataFrame,
    frames: str | int | Sequence[int],
    movie_frames: int | None,
    gene_column: str | None,
) -> pd.DataFrame:
    if gene_column is not None:
        if gene_column not in table.columns:
            msg = f"gene_column is {gene_column!r}, which the annotation does not have"
            raise ConfigError(msg)
        table[GENE] = table[gene_column]
    if isinstance(frames, str) and frames.startswith("column "):
        column = frames.removeprefix("column ").strip()
        if column not in table.columns:
            msg = f"frames is {frames!r}, but the annotation has no column {column!r}"
            raise ConfigError(msg)
        table[FRAMES] = table[column]
    else:
        table[FRAMES] = _frames_text(frames, movie_frames)
    return table.reset_index(drop=True)


def _frames_text(frames: str | int | Sequence[int], movie_frames: int | None) -> str:
    text = frames if isinstance(frames, str) else None
    if text is None:
        text = ",".join(map(str, [frames] if isinstance(frames, int) else frames))
    if text == "all" or text.startswith("every "):
        if movie_frames is None or movie_frames < 1:
            msg = f'frames = "{text}" needs movie_frames, the number of frames of the longest movie'
            raise ConfigError(msg)
        step = text.removeprefix("every ").strip() if text != "all" else "1"
        text = f"1-{movie_frames}:{step}"
    try:
        parse_frames(text)
    except ValueError as error:
        msg = f"frames: {error}"
        raise ConfigError(msg) from error
    return text
