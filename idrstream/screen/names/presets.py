"""How microscopes call the files of a plate, for folders without an index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ENDING = r"\.(?:tiff?|TIFF?)"
_GUID = r"(?:[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})?"
_WELL = r"(?P<well>[A-Z]{1,2}\d{2})"


@dataclass(frozen=True, slots=True)
class Preset:
    """How a microscope calls its files.

    Attributes
    ----------
    name : str
        The microscope.
    example : str
        A file's name.
    path : re.Pattern
        Of a file's path below the plate's folder; its groups are fields of a `NamePattern`.
    """

    name: str
    example: str
    path: re.Pattern[str]


def _preset(name: str, example: str, expression: str) -> Preset:
    # Thumbnails are no images; folders that mean something are part of the expression.
    return Preset(
        name, example, re.compile(rf"(?!.*_thumb)(?:.*?/)??{expression}{_ENDING}", re.ASCII)
    )


PRESETS: tuple[Preset, ...] = (
    _preset(
        "Opera Phenix",
        "r01c01f01p01-ch1sk1fk1fl1.tiff",
        r"r(?P<row>\d{2})c(?P<column>\d{2})f(?P<site>\d{2,4})p(?P<z>\d{2,4})-ch(?P<channel>\d+)"
        r"(?:sk(?P<time>\d+))?(?:fk\d+)?(?:fl\d+)?",
    ),
    _preset(
        "CellVoyager",
        "plate_A01_T0001F001L01A01Z01C01.tif",
        rf"[^/]*?_{_WELL}_T(?P<time>\d{{4}})F(?P<site>\d{{3}})L\d{{2}}A\d{{2}}Z(?P<z>\d{{2,3}})"
        r"C(?P<channel>\d{2})",
    ),
    _preset(
        "ScanR",
        "A1--W00001--P00001--Z00000--T00000--DAPI.tif",
        r"(?P<well>[A-Z]{1,2}\d{1,2})--W\d{5}--P(?P<site>\d{5})--Z(?P<z>\d{5})--T(?P<time>\d{5})"
        r"--(?P<channel>[^/]+?)",
    ),
    _preset(
        "IN Cell",
        "A - 01(fld 1 wv DAPI - DAPI).tif",
        r"(?P<well>[A-Z]{1,2} - \d{1,2})\(fld (?P<site>\d{1,3})(?: wv (?P<channel>[^/()]+?))?"
        r"(?: z (?P<z>\d{1,3}))?(?: time (?P<time>\d{1,4}) - [^/()]*)?\)",
    ),
    _preset(
        "ImageXpress",
        "plate_A01_s1_w1.TIF",
        rf"(?:TimePoint_(?P<time>\d+)/)?(?:ZStep_(?P<z>\d+)/)?[^/]*?_{_WELL}"
        rf"(?:_s(?P<site>\d{{1,3}}))?(?:_w(?P<channel>\d{{1,2}}?))?{_GUID}",
    ),
)  # fmt: skip


def preset_of(paths: Sequence[str]) -> Preset | None:
    """Return the preset that understands most of a plate's paths; None if none understands any."""
    counts = {
        preset.name: sum(preset.path.fullmatch(path) is not None for path in paths)
        for preset in PRESETS
    }
    best = max(PRESETS, key=lambda preset: counts[preset.name])
    return best if counts[best.name] else None
