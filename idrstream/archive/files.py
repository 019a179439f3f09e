"""The table to process of files that anybody has: a folder, an index, a pattern, a LoadData CSV."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.archive.plates import place_of, quoted, walk
from idrstream.archive.zarr import is_zarr, listed_zarr, zarr_name, zarr_plate
from idrstream.config import DownloadSettings
from idrstream.download.listing import folder_at
from idrstream.errors import ImageError, TableError
from idrstream.screen.names import NamePattern, name_pattern, plates_of_names
from idrstream.screen.names.load_data import LoadData, read_load_data
from idrstream.screen.study.field_rows import KnownRows, OpenedPlate
from idrstream.screen.study.join import any_well_position
from idrstream.screen.study.plate_names import name_of_path
from idrstream.screen.study.study_table import StudyTable, no_image, opened_table
from idrstream.screen.table import read_cells
from idrstream.text import counted, shorten_list

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("idrstream.screen")

_TABLES = (".csv", ".csv.gz", ".tsv")


def table_from_files(
    files: Path | str | Iterable[Path | str],
    annotation_csv: Path | str | None = None,
    *,
    plane: int | None = None,
    settings: DownloadSettings | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Build the table to process of plates that lie in folders, whoever took their images.

    Parameters
    ----------
    files : path or str, or several
        Each is one of

        - a pattern with fields, ``/data/{plate}/r{row:02}c{column:02}f{site}-ch{channel}*.tiff``:
          ``plate``, ``well`` or ``row`` and ``column``, ``site``, ``channel``, ``z``, ``time``. A
          number after a colon is how many digits or signs it has; ``*`` is anything in a name,
          ``**`` any folders;
        - a regular expression with these fields as named groups;
        - a plate's folder: read by its index, or as Opera Phenix, ImageXpress, CellVoyager,
          IN Cell or ScanR call their files;
        - a plate's index: ``Index.idx.xml``, ``.HTD``, ``.wpi``, ``.xdce``,
          ``MeasurementIndex.ColumbusIDX.xml``, ``experiment_descriptor.xml``, ``.companion.ome``;
        - CellProfiler's LoadData ``.csv``, with ``FileName_DNA`` and ``PathName_DNA``;
        - OME-Zarr, ``….zarr``, a plate or an image, or a table that lists such addresses:
          headed ``url``, or without a header.

        On this machine or at an ``https://``, ``ftp://`` or ``s3://`` address.
    annotation_csv : path, optional
        A table with ``Plate`` and ``Well``; wells that are not in it are left out.
    plane : int, optional
        The plane to take, from 1, where planes are in files of their own; by default all.
    settings : DownloadSettings, optional
        Limits, and the server of ``s3://`` addresses.
    **options
        What else `table_from_idr` takes of ``frames``, ``movie_frames``, ``where``, ``plates``,
        ``sites``, ``gene_column`` and ``channels``.

    Returns
    -------
    pandas.DataFrame
        As `table_from_idr` returns it.

    Raises
    ------
    TableError, ConfigError
        If nothing is found, or an option or file is wrong.
    DownloadError
        If a folder or index is missing or cannot be read.

    Examples
    --------
    >>> table_from_files("plates/{plate}/{well}_s{site}_w{channel}.tif")  # doctest: +SKIP
    """
    made = files_table(files, annotation_csv, plane=plane, settings=settings, **options)
    for sentence in (*made.balance.gaps(), *made.balance.notes):
        logger.warning("%s", sentence)
    if made.table.empty:
        raise TableError(f"{files}: {no_image(made.balance)}")
    return made.table


def files_table(
    files: Path | str | Iterable[Path | str],
    annotation_csv: Path | str | None = None,
    *,
    settings: DownloadSettings | None = None,
    **options: Any,
) -> StudyTable:
    """Return what `table_from_files` makes, with the balance; its table may have no rows."""
    texts = [files] if isinstance(files, (str, Path)) else list(files)
    plates: list[tuple[str, OpenedPlate | KnownRows]] = []
    notes: list[str] = []
    loaded: list[LoadData] = []
    zarr: dict[str, str] = {}
    for text in map(str, texts):
        if is_zarr(text):
            zarr.setdefault(text.rstrip("/"), zarr_name(text))
        elif _is_table(text) and (listed := listed_zarr(Path(text).expanduser())):
            zarr.update(listed)
        elif "{" in text or "(?P<" in text:
            plates += _of_pattern(name_pattern(text), text, settings, notes)
        elif _is_table(text):
            data = _of_csv(Path(text).expanduser())
            plates += [(name, OpenedPlate(index, "")) for name, index in data.plates.items()]
            loaded.append(data)
        else:
            opened = place_of(text, settings)
            if opened is None:
                msg = f"there is no folder or index {text}, and it is no pattern with {{fields}}"
                raise TableError(msg)
            plates.append((name_of_path(text), opened))
    wanted = options.get("plates")
    for address, name in zarr.items():
        asked = wanted is None or name in ([wanted] if isinstance(wanted, str) else [*wanted])
        one = _of_zarr(address, settings, len(zarr)) if asked else KnownRows(address, ())
        plates.append((name, one))
    source = shorten_list(texts, 3)
    made = opened_table(plates, source, annotation_csv, notes=notes, **options)
    for data in loaded:
        _add_metadata(made.table, data)
    return made


def _of_pattern(
    pattern: NamePattern, text: str, settings: DownloadSettings | None, notes: list[str]
) -> Iterator[tuple[str, OpenedPlate]]:
    """Yield the plates of a pattern."""
    paths = list(walk(folder_at(pattern.root, settings), pattern.folders, pattern.depth))
    try:
        found = plates_of_names(paths, pattern.path, name_of_path(pattern.root))
    except ValueError as error:
        msg = f"{text}: {error}"
        raise TableError(msg) from error
    if not found.plates:
        some = f", such as {shorten_list(paths, 3)}" if paths else ""
        msg = f"{text} fits none of the {counted(len(paths), 'file')} under {pattern.root}{some}"
        raise TableError(msg)
    if found.left:
        which = shorten_list(found.left, 3)
        left = counted(len(found.left), "image file does not fit", "image files do not fit")
        notes.append(f"{left} {text}: {which}")
    for name, index in found.plates.items():
        yield name, quoted(OpenedPlate(index, f"{pattern.root.rstrip('/')}/"))


def _is_table(text: str) -> bool:
    return "://" not in text and text.lower().endswith(_TABLES)


def _of_zarr(address: str, settings: DownloadSettings | None, n_addresses: int) -> KnownRows:
    """Return a plate; of several, one that cannot be read never sinks the table."""
    try:
        return zarr_plate(address, settings)
    except ImageError as error:
        if n_addresses == 1:
            raise
        return KnownRows(address, (), problem=str(error))


def _of_csv(path: Path) -> LoadData:
    return read_load_data(read_cells(path), path)


def _add_metadata(table: pd.DataFrame, data: LoadData) -> None:
    """Add the other columns of a LoadData CSV to its rows."""
    names = [tuple(row) for row in table[["Plate", "Well", "Site"]].to_numpy()]
    rows = [
        data.metadata.get((plate, any_well_position(well) or (-1, -1), int(site)), {})
        for plate, well, site in names
    ]
    for column in dict.fromkeys(key for row in rows for key in row):
        if column not in table.columns:
            table[column] = ""
        cells = zip(rows, table[column], strict=True)
        table[column] = [row.get(column) or own for row, own in cells]
