"""The pages of one open TIFF file, decoded one at a time by tifffile."""

from __future__ import annotations

from functools import cached_property
from typing import Any, BinaryIO

import numpy as np

from idrstream.formats.reader import MovieInfo, Pixels
from idrstream.formats.tiff.structure import Page, Structure, TiffError, read_structure

DAMAGED = (
    OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError,
    EOFError, AttributeError, TiffError,
)  # fmt: skip
"""What tifffile and its decoders raise on a damaged page."""


def check_storage(page: Page) -> None:
    """Raise unless the pixels of a page are stored in a form that is read."""
    if problem := page.storage_problem():
        raise TiffError(problem)


def check_page(page: Page, info: MovieInfo) -> None:
    """Raise unless a page has what its image states."""
    check_storage(page)
    if (page.shape, page.kind) != (info.shape, info.dtype):
        msg = f"its page has {page.shape} pixels of {page.kind}, not {info.shape} of {info.dtype}"
        raise TiffError(msg)


class TiffFile:
    """One open file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._tiff: Any = None

    @cached_property
    def structure(self) -> Structure:
        """Its directories, every one checked."""
        return read_structure(self.file)

    def decode(self, page: Page, number: int) -> Pixels:
        """Return the pixels of a page; `number` counts from 0."""
        import tifffile

        if self._tiff is None:
            self.file.seek(0)
            self._tiff = tifffile.TiffFile(self.file, name="movie.tif")  # it has a descriptor
        self._tiff.filehandle.seek(page.offset)
        pixels: Pixels = tifffile.TiffPage(self._tiff, number).asarray(maxworkers=1)
        return pixels

    def raw(self, info: MovieInfo, number: int) -> Pixels:
        """Return a plane of which only the first has a directory."""
        dtype = np.dtype(info.dtype).newbyteorder(self.structure.byte_order)
        check_page(self.structure.pages[0], info)
        n_bytes = info.shape[0] * info.shape[1] * dtype.itemsize
        self.file.seek(self.structure.pages[0].data_start + number * n_bytes)
        data = self.file.read(n_bytes)
        if len(data) != n_bytes:
            msg = f"is truncated within plane {number + 1}"
            raise TiffError(msg, cut=True)
        return np.frombuffer(data, dtype).reshape(info.shape).astype(info.dtype)
