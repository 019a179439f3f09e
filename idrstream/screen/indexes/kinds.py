"""Which index a file is, by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import PurePosixPath

from idrstream.screen.indexes.cellvoyager import read_cellvoyager
from idrstream.screen.indexes.columbus import read_columbus
from idrstream.screen.indexes.companion import read_companion
from idrstream.screen.indexes.harmony import read_harmony
from idrstream.screen.indexes.incell import read_incell
from idrstream.screen.indexes.metaxpress import read_metaxpress
from idrstream.screen.indexes.records import Beside, PlateIndex
from idrstream.screen.indexes.scanr import read_scanr

_Read = Callable[[bytes, Beside | None], PlateIndex]
# In this order where a folder has several.
_KINDS: tuple[tuple[str, re.Pattern[str], Callable[..., PlateIndex]], ...] = tuple(
    (kind, re.compile(pattern, flags=re.IGNORECASE), read)
    for kind, pattern, read in (
        ("Columbus", r".*ColumbusIDX\.xml", read_columbus),
        ("Harmony", r"Index(?:\.idx|\.ref)?\.xml", read_harmony),
        ("ScanR", r"experiment_descriptor\.xml", read_scanr),
        ("MetaXpress", r".+\.htd", read_metaxpress),
        ("IN Cell", r".+\.xdce", read_incell),
        ("CellVoyager", r".+\.wpi", read_cellvoyager),
        ("companion OME", r".+\.companion\.ome", read_companion),
    )
)

IMPLIED = ("Images", "images")
"""Folders of a plate in which its index may lie."""


def index_kind(path: str) -> str:
    """Return which index a file is, such as ``Harmony``; empty if it is none that is read."""
    name = PurePosixPath(path).name
    return next((kind for kind, pattern, _ in _KINDS if pattern.fullmatch(name)), "")


def index_names(names: Iterable[str]) -> list[str]:
    """Return those of a folder's files that are an index, the one to read first."""
    kinds = [kind for kind, _, _ in _KINDS]
    found = [name for name in names if index_kind(name)]
    # Columbus' index of a measurement names the indexes of its images.
    return sorted(
        found, key=lambda name: (kinds.index(index_kind(name)), name[:11] != "Measurement", name)
    )


def read_index(name: str, content: bytes, beside: Beside | None = None) -> PlateIndex:
    """Return what an index says.

    Parameters
    ----------
    name : str
        Its file's name, which says what it is.
    content : bytes
        The file.
    beside : Beside, optional
        Gives the files in its folder.

    Raises
    ------
    ValueError
        If it cannot be read; the message is the rest of a sentence about the index.
    """
    name = PurePosixPath(name).name
    for _, pattern, read in _KINDS:
        if pattern.fullmatch(name):
            if read is read_metaxpress:
                return partial(read, stem=name.rpartition(".")[0])(content, beside)
            return read(content, beside)
    msg = "it is no index that idrstream reads"
    raise ValueError(msg)
