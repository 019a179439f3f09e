"""A study's own files, as the Image Data Resource keeps them: plates file and ``.screen`` files.

Formats as the archive's metadata repositories and Bio-Formats' screen reader have them. All
messages name file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from idrstream.errors import TableError
from idrstream.opening import open_regular
from idrstream.screen.study.archive_paths import check_name

PlateKind = Literal["screen", "pattern", "key file", "directory"]

MAX_TEXT_BYTES = 64 * 2**20
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}")
_SECTION = re.compile(r"\[(?P<name>[^\]]*)\]")
_WELL = re.compile(r"Well (\d{1,6})", flags=re.ASCII)
_FIELD = re.compile(r"Field_(\d{1,6})", flags=re.ASCII)
_MAX_ROWS_COLUMNS_FIELDS = 10_000


@dataclass(frozen=True, slots=True)
class PlateEntry:
    """One line of a plates file.

    Attributes
    ----------
    plate : str
        Name of the plate.
    target : str
        What the line names, as it stands there.
    kind : {"screen", "pattern", "key file", "directory"}
        What that is: a ``.screen`` or ``.pattern`` file, the one file of the plate by which
        Bio-Formats opens all of it, or the plate's folder.
    line : int
        Line in the file, counted from 1.
    """

    plate: str
    target: str
    kind: PlateKind
    line: int


@dataclass(frozen=True, slots=True)
class ScreenField:
    """One field of view of a well in a ``.screen`` file.

    Attributes
    ----------
    row, column : int
        Of the well, counted from 0.
    field : int
        Number of the field, counted from 0.
    path : str
        The file, as it stands there.
    line : int
        Line in the file, counted from 1.
    """

    row: int
    column: int
    field: int
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class ScreenFile:
    """A ``.screen`` file.

    Attributes
    ----------
    name : str
        Name of the plate.
    rows, columns : int
        Size of the plate in wells.
    fields : tuple of ScreenField
        In the order of the file; wells without images have none.
    path : Path
        The file.
    """

    name: str
    rows: int
    columns: int
    fields: tuple[ScreenField, ...]
    path: Path


def read_plates(path: Path) -> list[PlateEntry]:
    """Read a study's plates file: ``<plate> TAB <file or folder>``, no header.

    Parameters
    ----------
    path : Path
        For example ``idr0002-screenA-plates.tsv``.

    Returns
    -------
    list of PlateEntry
        In the order of the file.

    Raises
    ------
    TableError
        If the file cannot be read, a line is not of that form, or a plate comes twice.
    """
    entries: list[PlateEntry] = []
    first: dict[str, int] = {}
    for number, line in _lines(path, "plates file"):
        where = f"{path}, line {number}"
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 2 or not cells[1]:
            msg = f"{where}: expected '<plate> TAB <file or folder>', found {len(cells)} column(s)"
            raise TableError(msg)
        plate, target = cells
        if (problem := check_name(plate)) is not None:
            msg = f"{where}, column 1: the plate name {plate!r} {problem}"
            raise TableError(msg)
        if plate in first:
            msg = f"{where}, column 1: plate {plate} is already in line {first[plate]}"
            raise TableError(msg)
        first[plate] = number
        entries.append(PlateEntry(plate, target, _kind(target), number))
    if not entries:
        msg = f"{path} has no plates"
        raise TableError(msg)
    return entries


def read_screen_file(path: Path) -> ScreenFile:
    """Read a ``.screen`` file: the wells of a plate and the files of their fields.

    Parameters
    ----------
    path : Path
        An INI file with ``[Plate]`` (Name, Rows, Columns, Fields) and a ``[Well n]`` (Row and
        Column from 0, ``Field_0 = <file>`` ...) for each well.

    Returns
    -------
    ScreenFile
        Keys that are not known are left out.

    Raises
    ------
    TableError
        If it is not such a file; names file and line.
    """
    sections = _sections(path)
    plate = sections.pop("Plate", None)
    if plate is None:
        msg = f"{path} has no section [Plate]: it is not a .screen file"
        raise TableError(msg)
    rows, columns, n_fields = (plate.whole(key, least=1) for key in ("Rows", "Columns", "Fields"))
    fields: list[ScreenField] = []
    seen: dict[tuple[int, int], _Section] = {}
    for name, section in sections.items():
        if _WELL.fullmatch(name) is None:
            continue
        row = section.whole("Row", below=rows)
        column = section.whole("Column", below=columns)
        other = seen.setdefault((row, column), section)
        if other is not section:
            msg = f"{section.where}: [{name}] is the well of [{other.name}], line {other.line}"
            raise TableError(msg)
        fields += _fields(section, row, column, n_fields)
    return ScreenFile(plate.text("Name"), rows, columns, tuple(fields), path)


def read_pattern_file(path: Path) -> str:
    """Return the pattern of a ``.pattern`` file, its one line of text.

    Raises
    ------
    TableError
        If the file cannot be read or has not exactly one line with text.
    """
    lines = [line.strip() for _, line in _lines(path, "pattern file")]
    if len(lines) != 1:
        msg = f"{path} has {len(lines)} lines with text; a pattern file has one"
        raise TableError(msg)
    return lines[0]


@dataclass(slots=True)
class _Section:
    """A section of an INI file, whose values know their lines."""

    path: Path
    name: str
    line: int
    values: dict[str, tuple[str, int]]

    @property
    def where(self) -> str:
        return f"{self.path}, line {self.line}"

    def text(self, key: str) -> str:
        if key not in self.values:
            msg = f"{self.where}: [{self.name}] lacks the key {key}"
            raise TableError(msg)
        return self.values[key][0]

    def whole(self, key: str, *, least: int = 0, below: int | None = None) -> int:
        text = self.text(key)
        limit = _MAX_ROWS_COLUMNS_FIELDS if below is None else below - 1
        value = int(text) if re.fullmatch(r"\d{1,9}", text, flags=re.ASCII) else -1
        if not least <= value <= limit:
            line = self.values[key][1]
            msg = f"{self.path}, line {line}: {key} is {text!r}, expected {least} to {limit}"
            raise TableError(msg)
        return value


def _fields(section: _Section, row: int, column: int, n_fields: int) -> Iterator[ScreenField]:
    for key, (value, line) in section.values.items():
        match = _FIELD.fullmatch(key)
        if match is None or not value:
            continue
        if int(match[1]) >= n_fields:
            msg = f"{section.path}, line {line}: {key}, but [Plate] states {n_fields} field(s)"
            raise TableError(msg)
        yield ScreenField(row, column, int(match[1]), value, line)


def _sections(path: Path) -> dict[str, _Section]:
    sections: dict[str, _Section] = {}
    current: _Section | None = None
    for number, line in _lines(path, "screen file"):
        text = line.strip()
        if text[0] in "#;":
            continue
        header = _SECTION.fullmatch(text)
        if header is not None:
            current = _Section(path, header["name"].strip(), number, {})
            other = sections.setdefault(current.name, current)
            if other is not current:
                msg = f"{current.where}: [{current.name}] is already in line {other.line}"
                raise TableError(msg)
            continue
        key, equals, value = text.partition("=")
        if current is None or not equals or not key.strip():
            msg = (
                f"{path}, line {number}: expected '[section]' or 'key = value', found {text!r:.80}"
            )
            raise TableError(msg)
        if key.strip() in current.values:
            msg = f"{path}, line {number}: {key.strip()} comes twice in [{current.name}]"
            raise TableError(msg)
        current.values[key.strip()] = value.strip(), number
    return sections


def _lines(path: Path, what: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers."""
    try:
        with open_regular(path) as file:
            content = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        msg = f"the {what} {path} cannot be read: {error.strerror}"
        raise TableError(msg) from error
    if len(content) > MAX_TEXT_BYTES:
        msg = f"the {what} {path} is larger than {MAX_TEXT_BYTES:,} bytes"
        raise TableError(msg)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = content.count(b"\n", 0, error.start) + 1
        msg = f"{path}, line {bad}: not text in UTF-8; is this a {what}?"
        raise TableError(msg) from error
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if line.strip():
            yield number, line


def _kind(target: str) -> PlateKind:
    name = target.rstrip("/").rsplit("/", 1)[-1]
    if name.lower().endswith(".screen"):
        return "screen"
    if name.lower().endswith(".pattern"):
        return "pattern"
    at = name.rfind(".")
    is_file = at > 0 and not target.endswith("/") and _SUFFIX.fullmatch(name[at:]) is not None
    return "key file" if is_file else "directory"
