"""Whether a TIFF file is complete, and whether all of it can be decoded."""

from __future__ import annotations

from pathlib import Path

from idrstream.formats.cellh5.hdf5_guard import MAX_FRAME_PIXELS
from idrstream.formats.tiff.images import images_of
from idrstream.formats.tiff.pages import DAMAGED, TiffFile
from idrstream.formats.tiff.structure import SIGNATURES, TiffError, read_structure
from idrstream.opening import open_regular

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
_LENIENT = frozenset({".lsm", ".ndpi"})  # state sizes and offsets in ways of their own


def is_tiff_by(name: str, head: bytes) -> bool:
    """Return whether a file has to be a TIFF, by its name or its first bytes."""
    suffix = Path(name).suffix.lower()
    return suffix in TIFF_SUFFIXES or (head[:4] in SIGNATURES and suffix not in _LENIENT)


def tiff_problem(path: Path, name: str) -> TiffError | None:
    """Return what a TIFF file lacks; None if it is complete.

    That every directory is there, every value, strip and tile lies within the file, and there are
    as many pages as OME-XML or ImageJ's description state. Which pixels are in the strips and tiles
    is seen when they are decoded.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with open_regular(path) as file:
        try:
            structure = read_structure(file)
        except TiffError as error:
            return error
    try:
        images_of(structure, name)
    except TiffError as error:  # what this reader does not read, another one may
        return error if error.cut else None
    return None


def decode_tiff(path: Path) -> None:
    """Decode every page of a TIFF file that can be decoded without Java.

    Raises
    ------
    TiffError
        Naming the first page that cannot be decoded.
    """
    with open_regular(path) as file:
        tiff = TiffFile(file)
        for number, page in enumerate(tiff.structure.pages):
            if page.storage_problem() or page.shape[0] * page.shape[1] > MAX_FRAME_PIXELS:
                continue
            try:
                tiff.decode(page, number)
            except DAMAGED as error:
                msg = f"page {number + 1}: {error}"
                raise TiffError(msg) from error
