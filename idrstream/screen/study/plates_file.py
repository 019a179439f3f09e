"""A study's plates file, in every form that the archive's studies have.

Most have ``<plate> TAB <file or folder>`` without a header; others have the path first, only a
path, a header, more columns, or spaces in the place of the tab.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from idrstream.errors import TableError
from idrstream.screen.study.plate_names import file_name, name_of_path, unlike
from idrstream.screen.study.text_lines import text_lines
from idrstream.text import counted, shorten_list

PlateKind = Literal["screen", "pattern", "zarr", "key file", "directory"]

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}")
_ABSOLUTE = re.compile(r"(?:/|\.{1,2}/|~/|[a-z][a-z0-9+.-]*://)", flags=re.IGNORECASE)
_SPACED = re.compile(r"(?P<name>\S.*?)\s+(?P<path>(?:/|\.\./|[a-z0-9]+://)\S.*)")
# Where OMERO's import puts a file, which is not a name: "Screen:name:idr0001/screenA".
_TARGET = re.compile(r"(?:Screen|Plate|Project|Dataset|Image):", flags=re.IGNORECASE)
_HEADER = {
    "plate", "plates", "name", "names", "path", "paths", "file", "files", "filename", "target",
    "folder", "directory", "screen", "location", "key",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlateEntry:
    """One plate of a plates file.

    Attributes
    ----------
    plate : str
        Name of the plate that files can have, different from all others of the study.
    target : str
        What the line names, as it stands there.
    kind : {"screen", "pattern", "zarr", "key file", "directory"}
        What that is: a ``.screen`` or ``.pattern`` file, OME-Zarr, the one file of the plate by
        which Bio-Formats opens all of it, or the plate's folder.
    line : int
        Line in the file, counted from 1.
    name : str
        Name of the plate as the study writes it; if it writes none, as its path says.
    """

    plate: str
    target: str
    kind: PlateKind
    line: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class PlatesFile:
    """What a plates file has.

    Attributes
    ----------
    entries : tuple of PlateEntry
        In the order of the file.
    lines : int
        Lines with text, a header and remarks included.
    notes : tuple of str
        What is worth knowing: lines that are no plate, renamed plates.
    no_plate : int
        Lines with text that are no plate of their own: a header, remarks, repeated lines, and
        names without a path.
    """

    entries: tuple[PlateEntry, ...]
    lines: int
    notes: tuple[str, ...] = ()
    no_plate: int = 0


def read_plates(path: Path) -> list[PlateEntry]:
    """Return the plates of a plates file; see `read_plates_file`."""
    return list(read_plates_file(path).entries)


def read_plates_file(path: Path) -> PlatesFile:
    """Read a study's plates file, whatever form it has.

    Parameters
    ----------
    path : Path
        For example ``idr0002-screenA-plates.tsv``.

    Returns
    -------
    PlatesFile
        Two plates of one name, or names that only case or form distinguishes, get a number.

    Raises
    ------
    TableError
        If the file cannot be read, or none of its lines has a path.
    """
    lines = list(text_lines(path, "plates file"))
    notes: list[str] = []
    found = list(_named_paths(lines, notes))
    if not found:
        if lines:
            msg = (
                f"{path}, line {lines[0][0]}: expected '<plate> TAB <file or folder>', found "
                f"{lines[0][1].strip()[:80]!r}; is this a plates file?"
            )
        else:
            msg = f"{path} has no plates"
        raise TableError(msg)
    entries = tuple(_entries(found, notes))
    return PlatesFile(entries, len(lines), tuple(notes), len(lines) - len(entries))


def _named_paths(
    lines: Sequence[tuple[int, str]], notes: list[str]
) -> Iterator[tuple[int, str, str]]:
    """Yield line, name (may be empty) and path of each plate."""
    first = lines[0][0] if lines else 0
    for number, line in lines:
        text = line.strip()
        if text.startswith("#"):
            notes.append(f"line {number} is a remark: {text[:60]}")
            continue
        cells = _cells(text)
        if number == first and _is_header(cells):
            continue
        at = _path_at(cells)
        if at is None:
            notes.append(f"line {number} has no file or folder: {text[:60]}")
            continue
        yield number, next((cell for i, cell in enumerate(cells) if i != at), ""), cells[at]


def _cells(text: str) -> list[str]:
    cells = [cell.strip().strip('"').strip() for cell in text.split("\t")]
    cells = [cell for cell in cells if cell and _TARGET.match(cell) is None]
    if len(cells) == 1 and _ABSOLUTE.match(cells[0]) is None:
        spaced = _SPACED.fullmatch(cells[0])
        if spaced is not None:
            return [spaced["name"], spaced["path"]]
    return cells


def _is_header(cells: Sequence[str]) -> bool:
    words = [word for cell in cells for word in re.split(r"[\W_]+", cell.casefold()) if word]
    return bool(words) and all(word in _HEADER for word in words)


def _path_at(cells: Sequence[str]) -> int | None:
    """Return which cell is the path: an absolute one, else one that looks like a file."""
    absolute = [i for i, cell in enumerate(cells) if _ABSOLUTE.match(cell)]
    if absolute:
        return max(absolute, key=lambda i: len(cells[i]))
    if len(cells) > 1:
        return 0 if _has_suffix(cells[0]) and not _has_suffix(cells[-1]) else len(cells) - 1
    return 0 if cells and _has_suffix(cells[0]) else None


def _entries(found: Iterable[tuple[int, str, str]], notes: list[str]) -> Iterator[PlateEntry]:
    known: dict[tuple[str, str], int] = {}
    taken: list[str] = []
    renamed: list[str] = []
    for number, stated, target in found:
        name = stated or name_of_path(target)
        same = known.setdefault((name, target), number)
        if same != number:
            notes.append(f"line {number} repeats line {same}")
            continue
        plate = unlike(file_name(name), taken)
        if plate != name:
            renamed.append(f"{name} is {plate}")
        taken.append(plate)
        yield PlateEntry(plate, target, plate_kind(target), number, name)
    if renamed:
        what = "with a name that comes twice or that files cannot have"
        notes.append(f"{counted(len(renamed), 'plate')} {what}: {shorten_list(renamed, 3)}")


def plate_kind(target: str) -> PlateKind:
    """Return what a path in a plates file is, by its name."""
    name = target.rstrip("/").rsplit("/", 1)[-1].lower()
    for kind in ("screen", "pattern", "zarr"):
        if name.endswith(f".{kind}"):
            return kind
    return "key file" if not target.endswith("/") and _has_suffix(name) else "directory"


def _has_suffix(text: str) -> bool:
    name = text.rsplit("/", 1)[-1]
    at = name.rfind(".")
    return at > 0 and _SUFFIX.fullmatch(name[at:]) is not None
