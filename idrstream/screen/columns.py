"""The columns of a table to process by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from idrstream.errors import TableError
from idrstream.screen.cells import unwritable
from idrstream.text import did_you_mean

# Columns that become fields of their own; all others are metadata.
PLATE, WELL, WELL_NUMBER, FRAMES, SITE = "Plate", "Well", "Well Number", "Frames", "Site"
CORE_COLUMNS = (PLATE, WELL, WELL_NUMBER, FRAMES, SITE)
PLACE_COLUMNS = ("Path", "URL")
SOURCE = "Source"
CHANNEL_NAMES = "Channel Names"  # of the channels in one file, in order, separated by ;
PLANES = "Planes"  # of a frame, where the row's paths are patterns of a file for each plane
PAGES = "Pages"  # of the row's file: frames of planes, a list for each channel, separated by ;
ACQUISITION = "Acquisition"  # of a plate that was imaged several times
PLATE_FORMAT = "Plate Format"  # wells of the row's plate; kept as metadata, too
TILE = "Tile"  # where a tile lies in a large image, and what holds for all of it
GENE, CONTROL = "Original Gene Target", "Control Type"  # as IDR's annotations call them


def channel_columns(columns: Iterable[str]) -> dict[str, str]:
    """Return the columns that name a file for each channel, by channel: ``Path DNA`` for DNA."""
    place = PLACE_COLUMNS[0] + " "
    return {name.removeprefix(place): name for name in columns if name.startswith(place)}


def check_columns(columns: Sequence[str]) -> None:
    """Raise `TableError` when a column is missing or there twice."""
    missing = [name for name in (PLATE, FRAMES) if name not in columns]
    if WELL not in columns and WELL_NUMBER not in columns:
        missing.append(f"{WELL} (or {WELL_NUMBER})")
    if missing:
        near = [did_you_mean(name.partition(" (")[0], columns) for name in missing]
        hints = "".join(hint.replace("did you mean", "is it", 1) for hint in near if hint)
        msg = (
            f"the table to process lacks the column {', '.join(missing)}; "
            f"it has {', '.join(columns) or 'none'}{hints}"
        )
        raise TableError(msg)
    for name in columns:
        if why := unwritable(name):
            msg = f"the name of a column of the table to process cannot be written: {why}"
            raise TableError(msg)
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        msg = f"the table to process has the column {', '.join(repeated)} more than once"
        raise TableError(msg)
