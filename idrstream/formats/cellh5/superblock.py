"""What an HDF5 superblock says about the length of its file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from idrstream.errors import MovieError

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

_UNDEFINED = 2**64 - 1


def hdf5_end_of_file(path: Path) -> int | None:
    """Return how many bytes an HDF5 file must have to be whole.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    int or None
        The end-of-file address of the superblock, from the beginning of the file; None when
        the superblock itself is not all there yet.

    Raises
    ------
    MovieError
        If there is no HDF5 signature where one may be (offset 0, 512, 1024, 2048, ...), or the
        superblock is of an unknown version.
    """
    with path.open("rb") as file:
        start = _superblock_offset(file)
        if start is None:
            msg = f"{path} is not an HDF5 file: file signature not found"
            raise MovieError(msg)
        file.seek(start)
        block = file.read(64)
    if len(block) < 16:
        return None
    # Where the base address is, and the end-of-file address, by superblock version.
    version, width = block[8], block[13] if block[8] < 2 else block[9]
    offset = {0: 24, 1: 28, 2: 12, 3: 12}.get(version)
    if offset is None or width not in (2, 4, 8):
        msg = f"{path}: unknown HDF5 superblock (version {version}, {width}-byte addresses)"
        raise MovieError(msg)
    end = offset + 3 * width
    if len(block) < end:
        return None
    address = int.from_bytes(block[end - width : end], "little")
    if address == _UNDEFINED >> (64 - 8 * width):
        return None
    # The address counts from the beginning of the file. When the superblock is not where it says
    # it is (a user block was put before it later), everything has moved by that much.
    base = int.from_bytes(block[offset : offset + width], "little")
    return address + start - base


def _superblock_offset(file: BinaryIO) -> int | None:
    size = file.seek(0, os.SEEK_END)
    offset = 0
    while offset + len(HDF5_SIGNATURE) <= size:
        file.seek(offset)
        if file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE:
            return offset
        offset = 512 if offset == 0 else offset * 2
    return None
