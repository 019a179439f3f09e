"""The location of each plate's OME-Zarr: from a table or a pattern."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from idrstream.errors import ConfigError, DownloadError, TableError
from idrstream.screen.study.archive_paths import check_name

_FIELD = re.compile(r"\{(\w+)\}")
_PLATE = "Plate"
_ADDRESSES = ("URL", "Path", "UUID")


@dataclass(frozen=True, slots=True)
class PlateTable:
    """A table of plates.

    Attributes
    ----------
    rows : Mapping[str, Mapping[str, str]]
        The other columns of each plate.
    path : Path
        The file, for messages.
    """

    rows: Mapping[str, Mapping[str, str]]
    path: Path

    @classmethod
    def read(cls, path: Path | str) -> PlateTable:
        """Read a table of plates.

        Parameters
        ----------
        path : Path or str
            Tab- or comma-separated, with a header: ``Plate`` and at least one of ``URL`` (the
            whole address of the plate's ``.zarr``), ``Path`` (under the root) and ``UUID``
            (for the pattern). Other columns can be named in the pattern.

        Raises
        ------
        ConfigError
            If it cannot be read.
        TableError
            If a column is missing or a line is wrong; names file and line.
        """
        path = Path(path).expanduser()
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"the table of plates {path} cannot be read: {error}"
            raise ConfigError(msg) from error
        lines = text.splitlines()
        delimiter = "\t" if lines and "\t" in lines[0] else ","
        reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
        columns = reader.fieldnames or []
        if _PLATE not in columns or not set(_ADDRESSES) & set(columns):
            msg = f"{path}: the header needs {_PLATE} and one of {', '.join(_ADDRESSES)}"
            raise TableError(msg)
        rows: dict[str, dict[str, str]] = {}
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            rows.setdefault(*_checked(row, rows, where))
        return cls(rows, path)


def _checked(
    row: Mapping[str | None, str | None], known: Mapping[str, object], where: str
) -> tuple[str, dict[str, str]]:
    if None in row or None in row.values():
        msg = f"{where}: it has fewer or more columns than the header"
        raise TableError(msg)
    values = {str(name): str(value).strip() for name, value in row.items()}
    plate = values[_PLATE]
    if (problem := check_name(plate)) is not None:
        msg = f"{where}: the plate name {plate!r} {problem}"
        raise TableError(msg)
    if plate in known:
        msg = f"{where}: plate {plate} appears twice"
        raise TableError(msg)
    if not any(values.get(name) for name in _ADDRESSES):
        msg = f"{where}: plate {plate} has no {' or '.join(_ADDRESSES)}"
        raise TableError(msg)
    return plate, values


def plate_addresses(
    plate: str, roots: Sequence[str], pattern: str, table: PlateTable | None
) -> list[str]:
    """Return the possible addresses of a plate: its own, then the pattern under each root.

    The pattern names columns of the table in braces.

    Raises
    ------
    DownloadError
        If the table lacks the plate or a column of the pattern.
    """
    values: Mapping[str, str] = {_PLATE: plate}
    if table is not None:
        if plate not in table.rows:
            msg = f"plate {plate} is not in the table of plates {table.path}"
            raise DownloadError(msg)
        values = table.rows[plate]
    if values.get("URL"):
        return [values["URL"]]
    path = values.get("Path") or _filled(pattern, values, plate)
    return [f"{root.rstrip('/')}/{path.lstrip('/')}" for root in roots]


def _filled(pattern: str, values: Mapping[str, str], plate: str) -> str:
    missing = [name for name in _FIELD.findall(pattern) if not values.get(name)]
    if missing:
        msg = (
            f"plate {plate}: {', '.join(missing)} is not known, but the pattern {pattern!r} "
            "needs it; give a table of plates with that column"
        )
        raise DownloadError(msg)
    return _FIELD.sub(lambda match: values[match[1]], pattern)
