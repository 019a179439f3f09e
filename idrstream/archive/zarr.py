"""Plates and images of OME-Zarr by their addresses, or by a list of them."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from idrstream.config import DownloadSettings
from idrstream.download.omezarr import contents_at
from idrstream.errors import TableError
from idrstream.screen.study.field_rows import FieldRow, KnownRows
from idrstream.screen.table import read_cells

_SUFFIX = re.compile(r"(?:\.ome)?\.zarr$", flags=re.IGNORECASE)
_COLUMNS = ("url", "address", "path")
_MOST_ADDRESSES = 20_000


def is_zarr(text: str) -> bool:
    """Return whether a path or an address names OME-Zarr, or an image in one."""
    return _at_zarr(text) is not None


def zarr_name(address: str) -> str:
    """Return what a plate is called by its address: ``20596`` of ``…/20596.ome.zarr``."""
    path = _path(address)
    at = _at_zarr(address) or 0
    return "_".join((_SUFFIX.sub("", path.parts[at]), *path.parts[at + 1 :]))


def listed_zarr(path: Path) -> dict[str, str]:
    """Return the addresses that a table lists, with the name of each plate.

    Parameters
    ----------
    path : Path
        Has a column ``url``, ``address`` or ``path``, and may have ``Plate``; or, without a
        header, addresses and nothing else. A path that is not absolute is beside it.

    Returns
    -------
    dict of str to str
        Names by address; empty if the table lists no OME-Zarr.

    Raises
    ------
    TableError
        If a line has no address; names it.
    """
    table = read_cells(path)
    header = [str(name) for name in table.columns]
    if any(is_zarr(name) for name in header):
        column = next(at for at, name in enumerate(header) if is_zarr(name))
        rows, names = [header, *table.to_numpy().tolist()], [""] * (len(table) + 1)
    else:
        known = [name.casefold() for name in header]
        column = next((known.index(name) for name in _COLUMNS if name in known), -1)
        rows = table.to_numpy().tolist()
        if column < 0 or not any(is_zarr(str(row[column])) for row in rows):
            return {}
        plate = known.index("plate") if "plate" in known else -1
        names = [str(row[plate]).strip() if plate >= 0 else "" for row in rows]
    if len(rows) > _MOST_ADDRESSES:
        msg = f"{path} lists more than {_MOST_ADDRESSES:,} addresses"
        raise TableError(msg)
    found: dict[str, str] = {}
    for row, name in zip(rows, names, strict=True):
        address = str(row[column]).strip()
        if not address and not any(str(cell).strip() for cell in row):
            continue
        if not is_zarr(address):
            msg = f"{path} is a list of OME-Zarr, but {address[:80]!r} is not a .zarr"
            raise TableError(msg)
        local = "://" not in address
        address = str(path.absolute().parent / Path(address).expanduser()) if local else address
        found.setdefault(address, name or zarr_name(address))
    return found


def zarr_plate(address: str, settings: DownloadSettings | None = None) -> KnownRows:
    """Return a row for each field of a plate, or for each image at an address.

    Raises
    ------
    DownloadError, MovieError
        If there is no OME-Zarr with an image, or its metadata cannot be understood.
    """
    if "://" not in address:
        address = str(Path(address).expanduser().absolute())
    contents = contents_at(address, settings)
    several = len({field.acquisition for field in contents.fields}) > 1
    planes = contents.planes if contents.planes > 1 else 0
    rows = tuple(
        FieldRow(
            "", field.position, contents.columns, field.site, address, "zarr",
            channels=contents.channels, planes=planes,
            acquisition=field.acquisition if several else "",
        )
        for field in contents.fields
    )  # fmt: skip
    return KnownRows(address, rows, contents.notes)


def _path(address: str) -> PurePosixPath:
    return PurePosixPath(urlsplit(address).path if "://" in address else address)


def _at_zarr(address: str) -> int | None:
    parts = _path(address).parts
    return next((at for at, part in enumerate(parts) if _SUFFIX.search(part)), None)
