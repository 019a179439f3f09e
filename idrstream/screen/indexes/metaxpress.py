"""``.HTD`` of MetaXpress (ImageXpress), with the files in its folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from idrstream.screen.indexes.records import (
    Beside,
    ImageFile,
    PlateIndex,
    make_index,
    whole,
    with_note,
)
from idrstream.screen.wells import well_position
from idrstream.text import counted

_LINE = re.compile(r'"(?P<key>[^"]*)",\s*(?P<value>.*)')
_GUID = r"[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}"
_TAIL = re.compile(
    rf"_(?P<well>[A-Z]{{1,2}}\d{{2}})(?:_s(?P<field>\d{{1,4}}))?(?:_w(?P<channel>\d{{1,2}}?))?"
    rf"(?:_z(?P<z>\d{{1,4}}))?(?:_t(?P<time>\d{{1,5}}))?(?:{_GUID})?\.tiff?",
    flags=re.ASCII | re.IGNORECASE,
)
_TIME = re.compile(r"TimePoint_(\d{1,6})", flags=re.ASCII | re.IGNORECASE)
_PLANE = re.compile(r"ZStep_(\d{1,6})", flags=re.ASCII | re.IGNORECASE)
_MOST_FOLDERS = 2000


def read_metaxpress(content: bytes, beside: Beside | None = None, *, stem: str = "") -> PlateIndex:
    """Return what an ``.HTD`` and the names of the files beside it say.

    The ``.HTD`` has the wells, fields and wavelengths that were taken; the files are called
    ``<plate>_A01_s1_w1<identifier>.tif``, beside it or in ``TimePoint_1`` and its ``ZStep_1``.
    Thumbnails and files of wells that were not chosen are left out.

    Parameters
    ----------
    content : bytes
        The index.
    beside : Beside, optional
        Its folder.
    stem : str
        Name of the index without its ending, with which the files begin.

    Raises
    ------
    ValueError
        If it is no such index, or no file has such a name.
    """
    plate = _plate(content)
    files: list[ImageFile] = []
    others = 0
    for folder, time, plane, name in _named(beside):
        match = _TAIL.fullmatch(name[len(stem) :]) if _begins(name, stem) else None
        if match is None or "_thumb" in name.lower():
            continue
        position = well_position(match["well"])
        if position not in plate.wells:
            others += 1
            continue
        files.append(
            ImageFile(
                *position,
                int(match["field"] or 1),
                int(match["channel"] or 1),
                int(match["z"] or plane),
                int(match["time"] or time),
                folder + name,
            )
        )
    if not files:
        msg = f"no file in its folder is called as it calls images, such as {stem}_A01_s1_w1.TIF"
        raise ValueError(msg)
    index = make_index(files, plate.channels, columns=plate.columns)
    if others:
        index = with_note(index, f"{counted(others, 'file')} of wells that were not chosen")
    missing = plate.images - len(index.files)
    if plate.planes > 1 and not any(file.z for file in index.files):
        missing = plate.images // plate.planes - len(index.files)
        note = f"the {plate.planes} planes of an image are pages of its file, read as frames"
        index = with_note(index, note)
    if missing > 0:
        index = with_note(
            index,
            counted(
                missing,
                "image that it promises has no file",
                "images that it promises have no file",
            ),
        )
    return index


@dataclass(frozen=True, slots=True)
class _Plate:
    wells: frozenset[tuple[int, int]]
    channels: dict[int, str]
    columns: int
    planes: int
    images: int


def _plate(content: bytes) -> _Plate:
    values: dict[str, str] = {}
    for line in content.decode("latin-1").splitlines():
        match = _LINE.match(line.strip())
        if match is not None:
            values[match["key"].strip()] = match["value"].strip().strip('"').strip()
    if "XWells" not in values or "YWells" not in values:
        msg = 'it has no "XWells" and "YWells": it is cut, or no index of MetaXpress'
        raise ValueError(msg)
    columns, rows = (whole(values[key], key, least=1) for key in ("XWells", "YWells"))
    if rows > 64 or columns > 96:
        msg = f"a plate of {rows} rows and {columns} columns cannot be"
        raise ValueError(msg)
    lines = [values.get(f"WellsSelection{row + 1}") for row in range(rows)]
    if None in lines:
        msg = f'it has no "WellsSelection{lines.index(None) + 1}": is it cut?'
        raise ValueError(msg)
    wells = frozenset(
        (row, column)
        for row, line in enumerate(lines)
        for column in range(columns)
        if _is_true((line or "").split(","), column)
    )
    waves = whole(values.get("NWavelengths", "1"), "NWavelengths", least=1)
    planes, times = (whole(values.get(key, "1"), key, least=1) for key in ("ZSteps", "TimePoints"))
    channels = {number: values.get(f"WaveName{number}", "") for number in range(1, waves + 1)}
    images = prod((len(wells), _fields(values), waves, planes, times))
    return _Plate(wells, channels, columns, planes, images)


def _fields(values: dict[str, str]) -> int:
    rows = [value for key, value in values.items() if re.fullmatch(r"SiteSelection\d{1,4}", key)]
    chosen = sum(cell.strip().upper() == "TRUE" for row in rows for cell in row.split(","))
    return chosen or 1


def _is_true(cells: list[str], at: int) -> bool:
    return at < len(cells) and cells[at].strip().upper() == "TRUE"


def _begins(name: str, stem: str) -> bool:
    return name[: len(stem)].casefold() == stem.casefold()


def _named(beside: Beside | None) -> Iterator[tuple[str, int, int, str]]:
    """Yield folder, time, plane and name of the files beside an index."""
    if beside is None:
        return
    names, folders = beside.names("")
    yield from (("", 1, 1, name) for name in names)
    asked = 0
    for folder in folders:
        time = _TIME.fullmatch(folder)
        if time is None:
            continue
        names, steps = beside.names(f"{folder}/")
        yield from ((f"{folder}/", int(time[1]), 1, name) for name in names)
        for step in steps:
            plane = _PLANE.fullmatch(step)
            asked += 1
            if plane is None or asked > _MOST_FOLDERS:
                continue
            below = f"{folder}/{step}/"
            yield from (
                (below, int(time[1]), int(plane[1]), name) for name in beside.names(below)[0]
            )
