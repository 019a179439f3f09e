"""From a study's own files to the table to process, for any screen of the archive.

A row of the table is a field of a well. Several rows may share a file, which is then downloaded
once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.errors import ConfigError, TableError
from idrstream.screen.columns import FRAMES
from idrstream.screen.frames import parse_frames
from idrstream.screen.study.annotation import choose_rows, read_annotation
from idrstream.screen.study.join import wells_of_annotation, wells_of_files
from idrstream.screen.study.manifest import Choice, FieldRow, Finder, rows_of
from idrstream.screen.study.study_files import PlateEntry, read_plates
from idrstream.text import shorten_list

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("idrstream.screen")

_SHOWN = 12
GENE = "Original Gene Target"


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
        ``attrs["plates_without_annotation"]`` lists the plates that are left out since the
        annotation does not have them.

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
    without: tuple[str, ...] = ()
    if annotation_csv is not None:
        path = Path(annotation_csv)
        annotation = read_annotation(path)
        without = _plates_without(annotation, entries, path)
        annotation = choose_rows(annotation, where or {}, path)
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
        table = wells_of_files(manifest, plates_tsv)
    else:
        table = wells_of_annotation(manifest, annotation, Path(annotation_csv or ""))
    table = _finish(table, frames, movie_frames, gene_column)
    table.attrs["plates_without_annotation"] = list(without)
    return table


def _plates_without(
    annotation: pd.DataFrame, entries: list[PlateEntry], path: Path
) -> tuple[str, ...]:
    """Return the plates that the annotation does not have, with a warning."""
    annotated = set(annotation["Plate"])
    plates = dict.fromkeys(entry.plate for entry in entries)
    without = tuple(plate for plate in plates if plate not in annotated)
    if without:
        logger.warning(
            "%d of %d plates have no annotation in %s and are left out: %s",
            len(without), len(plates), path, shorten_list(without, _SHOWN),
        )  # fmt: skip
    return without


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
