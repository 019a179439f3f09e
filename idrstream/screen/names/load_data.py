"""CellProfiler's LoadData CSV: ``FileName_DNA``, ``PathName_DNA``, ``Metadata_Well`` ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from idrstream.errors import TableError
from idrstream.screen.cells import whole_number
from idrstream.screen.indexes.records import ImageFile, PlateIndex, make_index
from idrstream.screen.study.join import any_well_position

if TYPE_CHECKING:
    import pandas as pd

_FILE, _PATH, _URL, _META = "FileName_", "PathName_", "URL_", "Metadata_"
_PLACES = ("Plate", "Well", "Row", "Column", "Col", "Site", "Field", "FieldID", "Plane", "PlaneID")
_NO_IMAGES = ("Illum",)  # functions of the light


@dataclass(frozen=True, slots=True)
class LoadData:
    """What a LoadData CSV says.

    Attributes
    ----------
    plates : mapping of str to PlateIndex
        Images by plate; paths are absolute, or addresses.
    metadata : mapping
        Other ``Metadata_`` columns by plate, well (row and column from 0) and site.
    """

    plates: Mapping[str, PlateIndex]
    metadata: Mapping[tuple[str, tuple[int, int], int], Mapping[str, str]]


def load_data_columns(columns: Sequence[str]) -> list[str]:
    """Return the channels that a CSV has files of; none if it is no LoadData CSV."""
    names = [
        name.removeprefix(prefix)
        for name in (column.removeprefix("Image_") for column in columns)
        for prefix in (_FILE, _URL)
        if name.startswith(prefix)
    ]
    return [name for name in dict.fromkeys(names) if not name.startswith(_NO_IMAGES)]


def read_load_data(table: pd.DataFrame, path: Path) -> LoadData:
    """Return the plates of a LoadData CSV.

    Parameters
    ----------
    table : pandas.DataFrame
        Its cells, as text.
    path : Path
        The file: folders that are not absolute are beside it.

    Raises
    ------
    TableError
        If it has no wells or no files; names the line.
    """
    table = table.set_axis([str(name).removeprefix("Image_") for name in table.columns], axis=1)
    channels = load_data_columns(list(table.columns))
    if not channels:
        msg = f"{path} has no columns such as FileName_DNA and PathName_DNA"
        raise TableError(msg)
    files: dict[str, list[ImageFile]] = {}
    metadata: dict[tuple[str, tuple[int, int], int], dict[str, str]] = {}
    own = [
        name
        for name in table.columns
        if name.startswith(_META) and name.removeprefix(_META) not in _PLACES
    ]
    columns = [str(name) for name in table.columns]
    for line, cells in enumerate(table.itertuples(index=False, name=None), start=2):
        row = dict(zip(columns, cells, strict=True))
        try:
            plate, position, site, plane = _place(row, path)
            for number, channel in enumerate(channels):
                where = _file(row, channel, path)
                if where:
                    image = ImageFile(*position, site, number, plane, 0, where)
                    files.setdefault(plate, []).append(image)
        except ValueError as error:
            msg = f"{path}, line {line}: {error}"
            raise TableError(msg) from error
        metadata[plate, position, site] = {name.removeprefix(_META): row[name] for name in own}
    if not files:
        msg = f"{path} names no image"
        raise TableError(msg)
    try:
        names = dict(enumerate(channels))
        return LoadData({name: make_index(some, names) for name, some in files.items()}, metadata)
    except ValueError as error:
        msg = f"{path}: {error}"
        raise TableError(msg) from error


def _place(row: Mapping[str, str], path: Path) -> tuple[str, tuple[int, int], int, int]:
    def cell(*names: str) -> str:
        return next((row[_META + name] for name in names if row.get(_META + name)), "")

    well = cell("Well") or f"{cell('Row')}/{cell('Column', 'Col')}"
    position = any_well_position(well) or any_well_position(well.replace("/", ""))
    if position is None:
        msg = f"Metadata_Well is {well[:40]!r}, no well"
        if well == "/":
            msg = "there is no Metadata_Well, nor Metadata_Row and Metadata_Column"
        raise ValueError(msg)
    site = whole_number(cell("Site", "Field", "FieldID")) or 1
    plane = whole_number(cell("Plane", "PlaneID")) or 1
    return cell("Plate") or path.name.partition(".")[0], position, site, plane


def _file(row: Mapping[str, str], channel: str, path: Path) -> str:
    address, name = row.get(_URL + channel, ""), row.get(_FILE + channel, "")
    if address:
        parts = urlsplit(address)
        return unquote(parts.path) if parts.scheme == "file" else address
    if not name:
        return ""
    folder = row.get(_PATH + channel, "")
    if "\\" in folder or "\\" in name or folder[1:2] == ":":
        msg = f"column {_PATH}{channel}: {folder[:60]!r} is a folder of Windows"
        raise ValueError(msg)
    if "://" in folder or PurePosixPath(folder).is_absolute():
        return f"{folder.rstrip('/')}/{name}"
    return str(path.absolute().parent / folder / name)
