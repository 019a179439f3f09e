"""What a study's files say of one field of a well, before it becomes a row of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from idrstream.screen.indexes.records import PlateIndex
from idrstream.screen.study.channel_files import ChannelFile, WantedChannel

ARCHIVE = "/uod/idr/filesets/"
"""Prefix of paths in the archive's metadata: the folder of the files on its server."""


WHOLE_PLATES = frozenset({"key file", "directory"})
"""Sources that stand for a whole plate, whose images are not known."""


class FieldRow(NamedTuple):
    """A field of a well and its file, or files; `position` is row and column from 0."""

    plate: str
    position: tuple[int, int] | None  # None: any well of the plate
    columns: int
    site: int
    path: str  # empty: its channels are in files of their own
    source: str
    files: tuple[ChannelFile, ...] = ()
    channels: tuple[str, ...] = ()  # names of all channels, in their order
    planes: int = 0  # of a time point, where paths are patterns of several files
    pages: str = ""  # of its one file: as the column Pages has them
    acquisition: str = ""  # of a plate that was imaged several times


@dataclass(frozen=True, slots=True)
class Choice:
    """The wanted files of images: by the values of a pattern, or by channels (none: all)."""

    pattern_values: tuple[str, ...] = ()
    channels: tuple[WantedChannel, ...] = ()
    plane: int | None = None  # from 1; None: all


@dataclass(frozen=True, slots=True)
class OpenedPlate:
    """A plate whose index or folder was read, and what stands in front of its paths."""

    index: PlateIndex
    folder: str


@dataclass(frozen=True, slots=True)
class KnownRows:
    """A plate of OME-Zarr: its address, its rows (their plate is still empty) and notes.

    `problem` says why it could not be read.
    """

    address: str
    rows: tuple[FieldRow, ...]
    notes: tuple[str, ...] = ()
    problem: str = ""


OpenPlate: TypeAlias = Callable[[str], "OpenedPlate | None"]
"""Reads the index or folder that a plates file names; None where it cannot be looked at.

Raises `TableError` or `DownloadError` with the reason if it is missing or wrong.
"""
