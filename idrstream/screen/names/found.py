"""Files whose names are understood become plates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from idrstream.screen.indexes.records import ImageFile, PlateIndex, make_index, relative_path
from idrstream.screen.wells import well_position

_LIKE_IMAGES = re.compile(r".*\.(?:tiff?|ome|ch5|flex|stk|nd2|czi|png|jpe?g)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """Plates that the names of files told.

    Attributes
    ----------
    plates : mapping of str to PlateIndex
        Images by plate, in the order of the names; paths are below the folder that was listed.
    left : tuple of str
        Files that look like images and whose names were not understood.
    """

    plates: Mapping[str, PlateIndex]
    left: tuple[str, ...] = ()


def plates_of_names(paths: Iterable[str], pattern: re.Pattern[str], plate: str) -> NamedFiles:
    """Return the plates that paths tell by a pattern.

    Parameters
    ----------
    paths : iterable of str
        Paths of files below a folder.
    pattern : re.Pattern
        Its named groups are fields of a `NamePattern`.
    plate : str
        Name of the plate where the paths do not tell it.

    Raises
    ------
    ValueError
        If a name cannot be: names the file.
    """
    groups: dict[str, list[tuple[str, dict[str, str]]]] = {}
    left: list[str] = []
    for path in paths:
        match = pattern.fullmatch(path)
        if match is None:
            if _LIKE_IMAGES.fullmatch(path) and "_thumb" not in path.lower():
                left.append(path)
            continue
        said = {key: value for key, value in match.groupdict().items() if value}
        groups.setdefault(said.get("plate", plate), []).append((path, said))
    return NamedFiles({name: _plate(found) for name, found in groups.items()}, tuple(left))


def _plate(found: list[tuple[str, dict[str, str]]]) -> PlateIndex:
    texts = sorted({said.get("channel", "") for _, said in found}, key=natural)
    numbers = {text: number for number, text in enumerate(texts)}
    files = []
    for path, said in found:
        row, column = _position(path, said)
        site, z, time = (int(said.get(key, "1")) for key in ("site", "z", "time"))
        channel = numbers[said.get("channel", "")]
        files.append(ImageFile(row, column, site, channel, z, time, relative_path(path)))
    return make_index(files, dict(enumerate(texts)))


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts ``ch2`` before ``ch10``."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", text)
        if part
    ]


def _position(path: str, said: Mapping[str, str]) -> tuple[int, int]:
    well = said.get("well", "")
    try:
        if well:
            return well_position(re.sub(r"[\s_-]+", "", well))
        row = said["row"]
        if not row.isdecimal():
            return well_position(f"{row}{int(said['column'])}")
        if int(row) < 1 or int(said["column"]) < 1:
            raise ValueError
    except ValueError as error:
        msg = f"{path}: {well or (said['row'], said['column'])} is no well"
        raise ValueError(msg) from error
    return int(row) - 1, int(said["column"]) - 1
