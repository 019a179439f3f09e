"""The images of a study: a row for each field of each well, with its file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from idrstream.errors import DownloadError, TableError
from idrstream.records import ImageTask
from idrstream.screen.study.archive_paths import in_metadata
from idrstream.screen.study.channel_files import (
    ChannelFile,
    by_position,
    channel_files,
    choose_channels,
    file_of_values,
)
from idrstream.screen.study.field_rows import ARCHIVE, Choice, FieldRow, OpenPlate
from idrstream.screen.study.idr0013 import IDR0013_STUDY, Idr0013Locator, PlateScreens
from idrstream.screen.study.index_rows import rows_of_index
from idrstream.screen.study.plates_file import PlateEntry
from idrstream.screen.study.study_files import ScreenField, read_pattern_file, read_screen_file
from idrstream.screen.wells import PLATE_COLUMNS, PLATE_ROWS, well_name

Fetch: TypeAlias = Callable[[str], "Path | None"]
"""Returns a file that is not here, by what a study's files call it."""


class Finder:
    """Finds the ``.screen`` and ``.pattern`` files that a study's files name, and reads indexes.

    Attributes
    ----------
    unread : dict
        Why the index or folder of a plate could not be read, by plate.
    notes : list of str
        What is worth knowing of those that were.
    """

    def __init__(
        self,
        plates_tsv: Path,
        given: Path | str | Iterable[Path | str],
        fetch: Fetch | None = None,
        open_plate: OpenPlate | None = None,
    ) -> None:
        self.plates_tsv = plates_tsv
        self.unread: dict[str, str] = {}
        self.notes: list[str] = []
        self._fetch = fetch
        self._open_plate = open_plate
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
        elif (inside := in_metadata(target)) is not None:
            candidates += [parent / inside for parent in list(beside.absolute().parents)[:4]]
        candidates.append(beside.parent / name)
        found = next((path for path in candidates if path.is_file()), None)
        return self._fetch(target) if found is None and self._fetch is not None else found

    def open(self, entry: PlateEntry, choice: Choice) -> list[FieldRow]:
        """Return the images of a plate whose index or folder can be read; none if it cannot."""
        if self._open_plate is None:
            return []
        try:
            opened = self._open_plate(entry.target)
            if opened is None:
                return []
            where = f"plate {entry.plate}, {entry.target}"
            rows, notes = rows_of_index(entry.plate, opened.index, opened.folder, choice, where)
        except DownloadError as error:  # one plate's index never sinks the table
            self.unread[entry.plate] = str(error)
            return []
        self.notes += [f"plate {entry.plate}: {note}" for note in notes]
        return rows


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
        if entry.target.startswith("/") and finder.find(entry.target, finder.plates_tsv) is None:
            yield FieldRow(entry.plate, None, 0, 1, entry.target, "key file")
            return
        plate = ScreenField(0, 0, 0, entry.target, entry.line)
        files, names = _files_of_pattern(plate, finder.plates_tsv, finder, choice)
        yield _row(entry, None, 0, 1, files, names)
    elif entry.kind == "zarr" or not (rows := finder.open(entry, choice)):
        yield FieldRow(entry.plate, None, 0, 1, entry.target, entry.kind)
    else:
        yield from rows


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
        site, position = field.field + 1, (field.row, field.column)
        if field.path.lower().endswith(".pattern") or "<" in field.path:
            files, names = _files_of_pattern(field, path, finder, choice)
            yield _row(entry, position, screen.columns, site, files, names)
        else:
            row = FieldRow(entry.plate, position, screen.columns, site, field.path, "file")
            yield row._replace(channels=field.channels)


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


def _files_of_pattern(
    field: ScreenField, beside: Path, finder: Finder, choice: Choice
) -> tuple[list[ChannelFile], tuple[str, ...]]:
    """Return the files of the wanted channels of a pattern, and the names of all channels."""
    text, folder, where = field.path, "", f"{beside}, line {field.line}"
    if text.lower().endswith(".pattern"):
        path = finder.find(text, beside)
        if path is None:
            msg = (
                f"{where}: the pattern file {text} is not here; get it from the study's metadata "
                "and give it, or the folder it is in, as screen_files"
            )
            raise TableError(msg)
        target, text, where = text, read_pattern_file(path), f"{path}, line 1"
        if not text.startswith("/"):
            folder = f"{PurePosixPath(target).parent.as_posix()}/" if "/" in target else ""
    names: tuple[str, ...] = ()
    try:
        if choice.pattern_values:
            found = [file_of_values(text, choice.pattern_values)]
        else:
            every = channel_files(text, field.channels, field.axes)
            names = tuple(file.name for file in every if file.name)
            found = choose_channels(every, choice.channels)
    except ValueError as error:
        msg = f"{where}: {error}"
        raise TableError(msg) from error
    return [replace(file, path=folder + file.path) for file in found], names


def _row(
    entry: PlateEntry,
    position: tuple[int, int] | None,
    columns: int,
    site: int,
    files: Sequence[ChannelFile],
    names: tuple[str, ...],
) -> FieldRow:
    """Return the row of an image: its file, or a file for each of its channels."""
    if len(files) == 1:
        row = FieldRow(entry.plate, position, columns, site, files[0].path, "pattern")
        return row._replace(channels=names)
    return FieldRow(entry.plate, position, columns, site, "", "pattern", tuple(files), names)


def name_channels(rows: list[FieldRow]) -> list[FieldRow]:
    """Return the rows with channels that are called alike in all of them.

    Channels without a name are called by what distinguishes their files if that is the same
    for all images, and by their position if it is not.
    """
    unnamed = {
        tuple(file.name for file in row.files)
        for row in rows
        if not all(file.named for file in row.files)
    }
    if len(unnamed) < 2:
        return rows
    return [
        row._replace(
            files=tuple(by_position(row.files)),
            channels=tuple(f"C{number}" for number in range(len(row.channels))),
        )
        if row.files and not all(file.named for file in row.files)
        else row
        for row in rows
    ]
