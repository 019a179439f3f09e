"""The ``.screen`` and ``.pattern`` files of a study, as Bio-Formats' screen reader has them.

All messages name file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from idrstream.errors import TableError
from idrstream.screen.study.text_lines import text_lines
from idrstream.text import counted

_SECTION = re.compile(r"\[(?P<name>[^\]]*)\]")
_WELL = re.compile(r"Well (\d{1,6})", flags=re.ASCII)
_FIELD = re.compile(r"Field_(\d{1,6})", flags=re.ASCII)
_MAX_ROWS_COLUMNS_FIELDS = 10_000


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
    channels : tuple of str
        Names of the channels, in the order of the pattern's values or of the file's channels.
    axes : str
        What the blocks of the pattern stand for, such as ``C`` or ``CZ``.
    """

    row: int
    column: int
    field: int
    path: str
    line: int
    channels: tuple[str, ...] = ()
    axes: str = ""


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
    lines = [line.strip() for _, line in text_lines(path, "pattern file")]
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
    names = section.values.get("ChannelNames", ("", 0))[0]
    channels = tuple(name.strip() for name in names.split(",")) if names else ()
    axes = section.values.get("AxisTypes", ("", 0))[0]
    for key, (value, line) in section.values.items():
        match = _FIELD.fullmatch(key)
        if match is None or not value:
            continue
        if int(match[1]) >= n_fields:
            stated = counted(n_fields, "field")
            msg = f"{section.path}, line {line}: {key}, but [Plate] states {stated}"
            raise TableError(msg)
        yield ScreenField(row, column, int(match[1]), value, line, channels, axes)


def _sections(path: Path) -> dict[str, _Section]:
    sections: dict[str, _Section] = {}
    current: _Section | None = None
    for number, line in text_lines(path, "screen file"):
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
