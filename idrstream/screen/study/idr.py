"""From a study's own files to the table to process, for any screen of the archive.

A row of the table is a field of a well. Several rows may share a file, which is then downloaded
once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.errors import TableError
from idrstream.screen.study.study_table import no_image, study_table

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("idrstream.screen")


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
    channels: str | Iterable[str] = (),
) -> pd.DataFrame:
    """Build the table to process from the files that a study keeps in the archive.

    Parameters
    ----------
    plates_tsv : path
        The study's plates file, for example ``idr0002-screenA-plates.tsv``.
    annotation_csv : path, optional
        Its annotation, ``.csv``, ``.csv.gz`` or ``.csv.zip``; its columns are
        kept as metadata. Wells that are not in it are left out.
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
    channels : str or iterable of str
        For images whose channels are in files of their own: the wanted ones, each as ``DNA`` or
        ``DNA=Hoechst``, by name (in any case), by the value of the pattern's block, or by
        position from 0. By default all, under their own names.

    Returns
    -------
    pandas.DataFrame
        ``Plate, Well, Frames, Well Number, Site, Path, Source`` and the annotation's columns, all
        as text, sorted as the plates file and by well and site. ``Source`` says what the path is:
        a file, or (see the docs) a key file or directory that stands for the whole plate. With
        several channels in files of their own, ``Path`` is empty and each has a column, such as
        ``Path DNA``.

    Raises
    ------
    TableError
        If a file is wrong; names file, line and column.
    ConfigError
        If an option is wrong.
    """
    study = study_table(
        plates_tsv, annotation_csv, screen_files, frames=frames, movie_frames=movie_frames,
        where=where, plates=plates, sites=sites, gene_column=gene_column,
        pattern_values=pattern_values, channels=channels,
    )  # fmt: skip
    for sentence in study.balance.gaps():
        logger.warning("%s", sentence)
    if study.table.empty:
        raise TableError(f"{plates_tsv}: {no_image(study.balance)}")
    return study.table
