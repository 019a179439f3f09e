"""The images of a study: a row for each field of each well, with its file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from idrstream.errors import TableError
from idrstream.records import ImageTask
from idrstream.screen.study.idr0013 import IDR0013_STUDY, Idr0013Locator, PlateScreens
from idrstream.screen.study.pattern import expand_pattern
from idrstream.screen.study.study_files import PlateEntry, read_pattern_file, read_screen_file
from idrstream.screen.wells import PLATE_COLUMNS, PLATE_ROWS, well_name

ARCHIVE = "/uod/idr/filesets/"
"""Prefix of paths in the archive's metadata: the folder of the files on its server."""


class FieldRow(NamedTuple):
    """A field of a well and the file it is in; `position` is row and column from 0."""

    plate: str
    position: tuple[int, int] | None  # None: any well of the plate
    columns: int
    site: int
    path: str
    source: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The wanted images of a plate: fields (None: all) and files of a pattern."""

    sites: frozenset[int] | None
    pattern_values: tuple[str, ...]


class Finder:
    """Finds the ``.screen`` and ``.pattern`` files that a study's files name."""

    def __init__(self, plates_tsv: Path, given: Path | str | Iterable[Path | str]) -> None:
        self.plates_tsv = plates_tsv
        paths = [given] if isinstance(given, (str, Path)) else list(given)
        self._folders: list[Path] = []
        self._by_name: dict[str, Path] = {}
        for path in map(Path, paths):
            if path.is_dir():
                self._folders.append(path)
            elif path.is_file():
                self._by_name[path.name] = path
            else:
                msg = f"there is no file or folder {path} (screen_files)"
                raise TableError(msg)

    def find(self, target: str, beside: Path) -> Path | None:
        """Return the file that `target`, as it stands in the file `beside`, means."""
        name = PurePosixPath(target).name
        if name in self._by_name:
            return self._by_name[name]
        candidates = [folder / name for folder in self._folders]
        if not target.startswith("/"):
            candidates.append(beside.parent / target)
        candidates.append(beside.parent / name)
        return next((path for path in candidates if path.is_file()), None)


def rows_of(entry: PlateEntry, finder: Finder, choice: Choice) -> Iterator[FieldRow]:
    """Yield the images of a plate; one row for a plate whose files do not name its wells.

    Raises
    ------
    TableError
        If a file that the entry names is missing or wrong.
    """
    where = f"{finder.plates_tsv}, line {entry.line}"
    if entry.kind == "screen":
        yield from _screen_rows(entry, finder, choice, where)
    elif entry.kind == "pattern":
        path, _ = _one_of_pattern(entry.target, finder.plates_tsv, finder, choice, where)
        yield FieldRow(entry.plate, None, 0, 1, path, "pattern")
    else:
        yield FieldRow(entry.plate, None, 0, 1, entry.target, entry.kind)


def _screen_rows(
    entry: PlateEntry, finder: Finder, choice: Choice, where: str
) -> Iterator[FieldRow]:
    path = finder.find(entry.target, finder.plates_tsv)
    if path is None:
        if "idr0013" in finder.plates_tsv.name:
            yield from _idr0013_rows(entry, finder.plates_tsv)
            return
        msg = (
            f"{where}, column 2: {entry.target} is not here; get it from the study's metadata and "
            "give it, or the folder it is in, as screen_files"
        )
        raise TableError(msg)
    screen = read_screen_file(path)
    for field in screen.fields:
        if choice.sites is not None and field.field + 1 not in choice.sites:
            continue
        file, source = field.path, "file"
        if file.lower().endswith(".pattern") or "<" in file:
            where = f"{path}, line {field.line}"
            file, source = _one_of_pattern(file, path, finder, choice, where)
        position = (field.row, field.column)
        yield FieldRow(entry.plate, position, screen.columns, field.field + 1, file, source)


def _idr0013_rows(entry: PlateEntry, plates_tsv: Path) -> Iterator[FieldRow]:
    """All wells of a plate of idr0013, whose layout is known; some may have no movie."""
    name = PurePosixPath(entry.target).name.removesuffix(".screen")
    first = ImageTask(entry.plate, well_name(1), 1, ())
    path = Idr0013Locator(PlateScreens({entry.plate: name}, plates_tsv)).movie_path(first)
    folder = f"{ARCHIVE}{IDR0013_STUDY}/{path.rpartition('/')[0]}"
    for number in range(1, PLATE_ROWS * PLATE_COLUMNS + 1):
        position = divmod(number - 1, PLATE_COLUMNS)
        path = f"{folder}/{number:05d}_01.ch5"
        yield FieldRow(entry.plate, position, PLATE_COLUMNS, 1, path, "layout")


def _one_of_pattern(
    target: str, beside: Path, finder: Finder, choice: Choice, where: str
) -> tuple[str, str]:
    """Return the wanted file of a pattern, and its source."""
    text, folder = target, ""
    if target.lower().endswith(".pattern"):
        path = finder.find(target, beside)
        if path is None:
            msg = (
                f"{where}: the pattern file {target} is not here; get it from the study's metadata "
                "and give it, or the folder it is in, as screen_files"
            )
            raise TableError(msg)
        text, where = read_pattern_file(path), f"{path}, line 1"
        if not text.startswith("/"):
            folder = f"{PurePosixPath(target).parent.as_posix()}/" if "/" in target else ""
    try:
        files = expand_pattern(text)
    except ValueError as error:
        msg = f"{where}: {error}"
        raise TableError(msg) from error
    chosen = [file for file in files if len(files) == 1 or file.blocks == choice.pattern_values]
    if len(chosen) != 1:
        some = "; ".join(" ".join(map(repr, file.blocks)) for file in files[:6])
        msg = (
            f"{where}: {text!r} stands for {len(files)} files; choose one by pattern_values (here "
            f"{some}{'; ...' if len(files) > 6 else ''})"
        )
        raise TableError(msg)
    return folder + chosen[0].path, "pattern"
