"""The wells of an OME-Zarr plate and their fields, however the plate writes and numbers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from idrstream.download.omezarr._image import Group, open_group
from idrstream.download.omezarr._store import Store
from idrstream.errors import MovieError, RemoteFileNotFoundError
from idrstream.screen.study.join import any_well_position
from idrstream.screen.wells import well_position
from idrstream.text import counted

MOST_ROWS, MOST_COLUMNS = 64, 96
MOST_FIELDS = 10_000
"""Of a well."""


class Well(NamedTuple):
    """A well: its path in the plate, and row and column from 0; None where they are not told."""

    path: str
    position: tuple[int, int] | None


class Field(NamedTuple):
    """A field of a well: its path in the well, and the acquisition it belongs to, if told."""

    path: str
    acquisition: str


def wells_of(store: Store, plate: Group) -> list[Well]:
    """Return the wells that a plate lists, in its order.

    A well's place is that of the row and the column that it is called by, ``A/4`` or ``A/04``; of
    numbers, from 0 if one of the plate's is 0 and from 1 otherwise. Where its path does not have
    these names, they are those that ``rowIndex`` and ``columnIndex`` point at.

    Raises
    ------
    MovieError
        If the metadata cannot be understood, or list more wells than a plate has.
    """
    try:
        described = plate.attributes["plate"]
        entries = list(described["wells"])
        if len(entries) > MOST_ROWS * MOST_COLUMNS:
            msg = f"they list {len(entries):,} wells"
            raise ValueError(msg)
        used = list(zip(*(parts for parts in map(_parts, entries) if len(parts) == 2), strict=True))
        axes = _axes(
            _names(described.get("rows")) or (used[0] if used else ()),
            _names(described.get("columns")) or (used[1] if used else ()),
        )
        return [Well("/".join(_parts(entry)), _position(entry, axes)) for entry in entries]
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        msg = f"{store.root}: its plate metadata cannot be understood: {error}"
        raise MovieError(msg) from error


def fields_of(store: Store, path: str, zarr_format: int) -> list[Field]:
    """Return the fields of a well; none if there is no such group.

    Raises
    ------
    MovieError
        If the metadata cannot be understood.
    """
    group = open_group(store, path, zarr_format)
    try:
        images = [] if group is None else list(group.attributes["well"]["images"])
        if len(images) > MOST_FIELDS:
            msg = f"they list {len(images):,} images"
            raise ValueError(msg)
        return [
            Field(str(image["path"]), _number(image.get("acquisition")) or "") for image in images
        ]
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        msg = f"{store.root}/{path}: its well metadata cannot be understood: {error}"
        raise MovieError(msg) from error


def field_path(store: Store, plate: Group, well: str, site: int) -> str:
    """Return the path of a field's image in a plate, for example ``A/4/0``.

    `well` is ``A4`` also where the plate writes ``A/04``; see `wells_of`. `site` counts fields
    from 1, in the order of the well's metadata.

    Raises
    ------
    RemoteFileNotFoundError
        If the plate has no such well or the well no such field.
    MovieError
        If the metadata cannot be understood.
    """
    wells = wells_of(store, plate)
    wanted = any_well_position(well)
    found = [one.path for one in wells if wanted is not None and one.position == wanted]
    found += [one.path for one in wells if one.path.replace("/", "") == well]
    if not found:
        msg = f"{store.root} has no well {well} among its {len(wells)} wells"
        raise RemoteFileNotFoundError(msg)
    path = found[0]
    fields = fields_of(store, path, plate.zarr_format)
    if not 1 <= site <= len(fields):
        msg = f"{store.root}/{path} has {counted(len(fields), 'field')}; there is no field {site}"
        raise RemoteFileNotFoundError(msg)
    return f"{path}/{fields[site - 1].path}".strip("/")


class _Axis(NamedTuple):
    """What the rows or the columns of a plate are called, and whether numbers count from 0."""

    names: Sequence[str]
    positions: Mapping[str, int]
    from_0: bool

    def place(self, name: str) -> int | None:
        """Return the position, from 0, of what has a name."""
        if name.isdecimal() and len(name) < 6:
            return int(name) - (0 if self.from_0 else 1)
        try:
            return well_position(f"{name}1")[0]
        except ValueError:
            return self.positions.get(name)


def _axes(*named: Sequence[str]) -> list[_Axis]:
    """Return the rows and the columns by what the plate, or the paths of its wells, call them."""
    from_0 = any(name.isdecimal() and not name.strip("0") for names in named for name in names)
    return [
        _Axis(names, {name: at for at, name in reversed(list(enumerate(names)))}, from_0)
        for names in named
    ]


def _names(listed: Any) -> list[str]:
    names = [str(one["name"]) for one in listed or []]
    if len(names) > MOST_ROWS * MOST_COLUMNS:
        msg = f"they list {len(names):,} rows or columns"
        raise ValueError(msg)
    return names


def _position(entry: Mapping[str, Any], axes: Sequence[_Axis]) -> tuple[int, int] | None:
    """Return row and column of a well from 0; None if they are not told."""
    parts = _parts(entry)
    called = len(parts) == 2 and (
        all(part in axis.positions for part, axis in zip(parts, axes, strict=True))
        or (parts[0].isalpha() and parts[1].isdecimal())
    )
    if not called:
        told = [entry.get(key) for key in ("rowIndex", "columnIndex")]
        indexes = [at for at in told if type(at) is int and at >= 0]
        if len(indexes) < 2:
            return any_well_position("".join(parts))
        parts = [
            axis.names[at] if at < len(axis.names) else ""
            for at, axis in zip(indexes, axes, strict=True)
        ]
    row, column = (axis.place(part) for part, axis in zip(parts, axes, strict=True))
    if row is None or column is None or not (0 <= row < MOST_ROWS and 0 <= column < MOST_COLUMNS):
        return None
    return row, column


def _parts(entry: Mapping[str, Any]) -> list[str]:
    return str(entry["path"]).strip("/").split("/")


def _number(value: Any) -> str | None:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
