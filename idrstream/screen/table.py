"""Read the table to process, as people and spreadsheets write it."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from idrstream.errors import TableError
from idrstream.opening import open_regular
from idrstream.screen.columns import PLATE
from idrstream.screen.text import clean_cells, clean_text, with_known_names
from idrstream.text import shorten_list

if TYPE_CHECKING:
    import pandas as pd

MAX_TABLE_BYTES = 2**30
"""Largest table that is read, after decompression."""

_SEPARATORS = "\t,;"
_TITLE_LINES = 20  # a header is looked for so far down
_FORMATS = {
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"7z\xbc\xaf": "a 7z archive",
    b"PAR1": "a Parquet file",
    b"\x89HDF": "an HDF5 file",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "packed with gzip twice",
}


def read_table(path: Path) -> pd.DataFrame:
    """Read a table to process from a tab-, comma- or semicolon-separated file.

    Parameters
    ----------
    path : Path
        A ``.tsv``, ``.csv`` or either gzipped, in UTF-8 (or UTF-16 with its mark, as
        spreadsheets write "Unicode text"); the separator is taken from the header. An unnamed
        first column, as pandas writes its index, is dropped.

    Returns
    -------
    pandas.DataFrame
        Every cell as clean text, empty cells as ``""``, as `text_table` returns it.

    Raises
    ------
    TableError
        If the file is missing or is not such a table; names the file and, if possible, the line.
    """
    table = with_known_names(read_cells(path))
    _refuse_repeated(path, list(table.columns))
    return table


def read_cells(path: Path, content: bytes | None = None) -> pd.DataFrame:
    """Read any table as `read_table` does, with its own column names.

    Parameters
    ----------
    path : Path
        The file.
    content : bytes, optional
        What is read in place of the file, which is named in messages.

    Raises
    ------
    TableError
        If the file is missing or is not such a table; names the file and, if possible, the line.
    """
    import pandas as pd

    path = Path(path)
    text = _text_of(path, _content(path) if content is None else content)
    separator = _header_separator(path, text)
    try:
        # The header is read as a row: pandas would rename its cells.
        table = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, header=None
        )
    except (ValueError, OverflowError) as error:  # pandas' parser errors are ValueErrors
        raise _unreadable(path, text, separator, error) from error
    names = ["" if name != name else name for name in table.iloc[0]]
    _refuse_repeated(path, [name for name in names if name.strip()])
    return clean_cells(table.iloc[1:].set_axis(names, axis=1))


def write_table(table: pd.DataFrame) -> bytes:
    """Return a text table as CSV that `read_table` reads back as the same."""
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text.encode("utf-8")


def _refuse_repeated(path: Path, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        msg = f"{path}, line 1: has the column {', '.join(repeated)} more than once"
        raise TableError(msg)


def _header_separator(path: Path, text: str) -> str:
    """Return what separates the cells; refuse a file with lines above its header."""
    first = text.split("\n", 1)[0]
    lines = io.StringIO(text)
    for number in range(1, _TITLE_LINES + 1):
        line = lines.readline().rstrip("\n")
        for separator in _SEPARATORS:
            cells = [clean_text(cell).casefold() for cell in _split(line, separator)]
            if len(cells) < 2 or PLATE.casefold() not in cells:
                continue
            if number > 1:
                msg = (
                    f"{path}, line 1: {first[:60]!r} is no header; it seems to be in line "
                    f"{number}: delete what stands above it"
                )
                raise TableError(msg)
            return separator
    return max(_SEPARATORS, key=first.count)


def _split(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _unreadable(path: Path, text: str, separator: str, error: Exception) -> TableError:
    """Return the error of a file that cannot be parsed, with the row that is too long."""
    try:
        rows = csv.reader(io.StringIO(text), delimiter=separator)
        header = next(rows)
        for row in rows:
            if len(row) > len(header):
                name = {"\t": "tab", ",": "comma", ";": "semicolon"}[separator]
                return TableError(
                    f"{path} cannot be read: line {rows.line_num} has {len(row)} cells, the header "
                    f"{len(header)}. A cell with a {name} in it (such as Frames 1{separator}50) "
                    f'must stand in quotes ("1{separator}50")'
                )
    except (csv.Error, StopIteration):
        pass
    return TableError(f"{path} cannot be read as a tab- or comma-separated table: {error}")


def _refuse_format(path: Path, content: bytes) -> None:
    """Refuse a file of another format by how it begins."""
    advice = 'save it as "CSV UTF-8" or tab-separated text'
    if content[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise TableError(f"{path} is a spreadsheet: {advice}")
    if content[:4] == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
            names = []
        if path.suffix == ".zip" or any(name.endswith((".csv", ".tsv", ".txt")) for name in names):
            shown = f" ({shorten_list(names, 3)})" if names else ""
            msg = f"{path} is a zip archive{shown}: unpack it, or pack the table with gzip"
            raise TableError(msg)
        raise TableError(f"{path} is a spreadsheet: {advice}")
    for start, kind in _FORMATS.items():
        if content.startswith(start):
            raise TableError(f"{path} is {kind}: {advice}, plain or packed with gzip once")


def _text_of(path: Path, content: bytes) -> str:
    _refuse_format(path, content)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        msg = f'{path}, line {line}: not text in UTF-8; save it as "CSV UTF-8"'
        raise TableError(msg) from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        msg = f"{path}, line {line}: has a zero byte; this is not a table"
        raise TableError(msg)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.lstrip("\n")
    if not text.strip():
        msg = f"{path} is empty: it needs a header and one row for each image"
        raise TableError(msg)
    return text


def _content(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.open(file) as unpacked:
                    content = unpacked.read(MAX_TABLE_BYTES + 1)
            else:
                content = file.read(MAX_TABLE_BYTES + 1)
    except FileNotFoundError as error:
        msg = f"there is no table at {path}"
        raise TableError(msg) from error
    except (OSError, EOFError, zlib.error, ValueError) as error:
        if path.is_dir():
            msg = (
                f"{path} is a folder, not a table; for a folder of images make one with "
                f"idrstream table --files {quote(str(path))} --out table.tsv"
            )
            raise TableError(msg) from error
        msg = f"{path} cannot be read as a tab- or comma-separated table: {error}"
        raise TableError(msg) from error
    if len(content) > MAX_TABLE_BYTES:
        msg = f"{path} is larger than {MAX_TABLE_BYTES:,} bytes: too large for a table to process"
        raise TableError(msg)
    return content
