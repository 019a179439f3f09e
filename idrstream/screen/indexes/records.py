"""The images of a plate and their files, whatever index or names they were read from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from idrstream.text import counted, shorten_list

MAX_FILES = 2_000_000
"""Largest number of images of a plate: 1536 wells with 1300 images each."""

_MAX_ROWS, _MAX_COLUMNS, _MAX_NUMBER = 64, 96, 1_000_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_WHOLE = re.compile(r"\d{1,9}", flags=re.ASCII)


class ImageFile(NamedTuple):
    """One image of a plate, and the file that it is in.

    Attributes
    ----------
    row, column : int
        Of the well, counted from 0.
    field : int
        Number of the field in the well as the microscope counts it, from 1.
    channel : int
        Position of the channel in `PlateIndex.channels`.
    z, time : int
        Plane and time point, counted from 0 in their order.
    path : str
        Relative to the index's folder, with forward slashes.
    page : int
        Image in the file, counted from 0.
    """

    row: int
    column: int
    field: int
    channel: int
    z: int
    time: int
    path: str
    page: int = 0


@dataclass(frozen=True, slots=True)
class PlateIndex:
    """The images of a plate.

    Attributes
    ----------
    files : tuple of ImageFile
        Sorted by well, field, channel, time and plane; each of these once.
    channels : tuple of str
        Name of each channel; one that has none is called ``C`` and its position.
    columns : int
        Columns of the plate; 0 if the index does not say it.
    notes : tuple of str
        What is worth knowing, such as images without a file.
    """

    files: tuple[ImageFile, ...]
    channels: tuple[str, ...]
    columns: int = 0
    notes: tuple[str, ...] = ()


class Beside(Protocol):
    """Gives the files beside an index; paths are relative to its folder."""

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; None if there is none."""
        ...

    def names(self, folder: str = "") -> tuple[Sequence[str], Sequence[str]]:
        """Return the names of the files and of the folders in a folder; none if there is none."""
        ...


def make_index(
    files: Iterable[ImageFile],
    channels: Mapping[int, str],
    *,
    columns: int = 0,
    notes: Iterable[str] = (),
) -> PlateIndex:
    """Return the index of images whose channels, planes and times are numbered in any way.

    Parameters
    ----------
    files : iterable of ImageFile
        Their `channel`, `z` and `time` only need the right order.
    channels : mapping of int to str
        Name of each channel by its number, as far as they have one.
    columns : int
        Of the plate.
    notes : iterable of str
        See `PlateIndex`.

    Raises
    ------
    ValueError
        If there is no image, there are more than `MAX_FILES`, or one cannot be.
    """
    first: dict[tuple[int, ...], ImageFile] = {}
    repeated: list[str] = []
    for number, file in enumerate(files):
        if number >= MAX_FILES:
            msg = f"it lists more than {MAX_FILES:,} images"
            raise ValueError(msg)
        _check_place(file)
        known = first.setdefault(file[:6], file)
        if known is not file and known != file:
            repeated.append(file.path)
    if not first:
        msg = "it names no image"
        raise ValueError(msg)
    places = {axis: _ranks(first, axis) for axis in (3, 4, 5)}
    shift = 1 if min(key[2] for key in first) == 0 else 0
    ranked = sorted(
        file._replace(
            field=file.field + shift,
            channel=places[3][file.channel],
            z=places[4][file.z],
            time=places[5][file.time],
        )
        for file in first.values()
    )
    found = [_clean_name(channels.get(number, "")) for number in sorted(places[3])]
    said = list(notes)
    if repeated:
        said.append(
            f"{counted(len(repeated), 'image comes', 'images come')} twice, the first counts: "
            f"{shorten_list(repeated, 3)}"
        )
    return PlateIndex(tuple(ranked), tuple(_unlike(found)), columns, tuple(said))


def with_note(index: PlateIndex, note: str) -> PlateIndex:
    """Return an index with one more note."""
    return replace(index, notes=(*index.notes, note))


def relative_path(text: str) -> str:
    """Return a path that a file gives, with forward slashes, below the folder of that file.

    Raises
    ------
    ValueError
        If it leads out of that folder, or cannot be a path.
    """
    path = text.strip().replace("\\", "/")
    parts = [part for part in path.split("/") if part != "."]
    if not path or path.startswith("/") or ":" in parts[0]:
        msg = f"it names the file {text[:80]!r}, which is no path below its folder"
    elif ".." in parts or "" in parts or _CONTROL.search(path) or path.startswith(("-", "~")):
        msg = f"it names the file {text[:80]!r}, which leads out of its folder or is none"
    elif len(path) > 1000:
        msg = f"it names a file of {len(path):,} characters"
    else:
        return "/".join(parts)
    raise ValueError(msg)


def whole(text: str | None, what: str, *, least: int = 0) -> int:
    """Return a whole number of an index.

    Raises
    ------
    ValueError
        If it is none, or smaller than `least`; names what it is.
    """
    if text is None or _WHOLE.fullmatch(text.strip()) is None or int(text) < least:
        msg = f"{what} is {(text or '').strip()[:40]!r}, not a whole number of at least {least}"
        raise ValueError(msg)
    return int(text)


def _check_place(file: ImageFile) -> None:
    inside = 0 <= file.row < _MAX_ROWS and 0 <= file.column < _MAX_COLUMNS
    numbers = (file.field, file.channel, file.z, file.time, file.page)
    if not inside or not all(0 <= number <= _MAX_NUMBER for number in numbers):
        msg = f"the place of {file.path} on the plate cannot be: {file[:6]}"
        raise ValueError(msg)


def _ranks(keys: Iterable[tuple[int, ...]], axis: int) -> dict[int, int]:
    return {value: rank for rank, value in enumerate(sorted({key[axis] for key in keys}))}


def _clean_name(text: str) -> str:
    """Return a channel's name as the name of a column can be."""
    return " ".join(_CONTROL.sub(" ", text).replace(";", ",").split())[:80]


def _unlike(names: Sequence[str]) -> list[str]:
    """Return the names with positions for those that are missing or come twice."""
    return [
        name if name and names.count(name) == 1 else f"{name} C{at}".strip()
        for at, name in enumerate(names)
    ]
