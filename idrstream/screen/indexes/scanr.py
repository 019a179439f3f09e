"""``experiment_descriptor.xml`` of Olympus' ScanR, with the files of its folder ``data``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from idrstream.screen.indexes.records import Beside, ImageFile, PlateIndex, make_index
from idrstream.screen.indexes.xml import elements
from idrstream.screen.wells import well_position

_NAME = re.compile(
    r"(?P<well>.*?)-{1,2}W(?P<number>\d{5})-{1,2}P(?P<field>\d{5})-{1,2}Z(?P<z>\d{5})"
    r"-{1,2}T(?P<time>\d{5})-{1,2}(?P<channel>.+)\.tiff?",
    flags=re.ASCII | re.IGNORECASE,
)
_WELLS = "well selection table + cDNA"


def read_scanr(content: bytes, beside: Beside | None = None) -> PlateIndex:
    """Return what an ``experiment_descriptor.xml`` and the names in ``data`` say.

    The descriptor has the channels in their order and the wells by number and label; the files are
    called ``A1--W00001--P00001--Z00000--T00000--DAPI.tif``.

    Raises
    ------
    ValueError
        If it is no such index, or no file has such a name.
    """
    channels, labels, columns = _described(content)
    folder, files = "", []
    for folder in ("data/", "Data/", ""):
        files = [] if beside is None else list(beside.names(folder)[0])
        if any(_NAME.fullmatch(name) for name in files):
            break
    known = {name: number for number, name in enumerate(channels)}
    found: list[ImageFile] = []
    for name in files:
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        channel = known.setdefault(match["channel"], len(known))
        row, column = _position(match["well"], int(match["number"]), labels, columns)
        field, plane, time = (int(match[axis]) for axis in ("field", "z", "time"))
        found.append(ImageFile(row, column, field, channel, plane, time, folder + name))
    if not found:
        msg = "no file in its folder data is called as ScanR calls images"
        raise ValueError(msg)
    names = {number: name for name, number in known.items()}
    return make_index(found, names, columns=columns)


def _described(content: bytes) -> tuple[list[str], dict[int, str], int]:
    """Return channels, label of each well by its number, and the plate's columns."""
    channels: list[str] = []
    labels: dict[int, str] = {}
    key, columns, number = "", 0, 0
    for tag, text in _texts(content):
        if tag == "Name":
            key = text
        elif key == "name" and text not in channels:
            channels.append(text)
        elif key == "idle" and text != "0" and channels:
            channels.pop()
        elif key == "Columns" and text.isdecimal():
            columns = int(text)
        elif key == _WELLS and text.isdecimal():
            number = int(text)
        elif key == _WELLS and number:
            labels[number] = text
    return [name for name in channels if name != "Autofocus"], labels, columns


def _texts(content: bytes) -> Iterator[tuple[str, str]]:
    # Some descriptors have letters of Latin-1 without saying so.
    for element in elements(content, {"Name", "Val"}, encoding="ISO-8859-1"):
        text = (element.text or "").strip()
        if text:
            yield element.tag, text


def _position(label: str, number: int, labels: dict[int, str], columns: int) -> tuple[int, int]:
    for name in (labels.get(number, ""), label):
        try:
            return well_position(name)
        except ValueError:
            continue
    if not columns or number < 1:
        msg = f"the well {label or number} has no name such as A1, and no size of the plate is told"
        raise ValueError(msg)
    return divmod(number - 1, columns)
