"""The directories of a TIFF file, every one walked and every offset checked before pixels are read.

A TIFF file is a chain of image file directories (TIFF Revision 6.0, section 2; BigTIFF has 64-bit
offsets). Libraries tolerate a chain that ends early, or data beyond the end of the file; here that
proves a file to be incomplete.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from idrstream.opening import open_regular

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_DIRECTORIES = 2**18
MOST_TAGS = 4096
MOST_SEGMENTS = 2**20
"""Strips or tiles of one page."""
MOST_PIXELS = 2**40
"""Of a page, a strip or a tile: whole slides have up to some 2**36."""
MOST_TEXT_BYTES = 2**26

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_DESCRIPTION, _STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES = 270, 273, 277, 278, 279
_PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 284, 322, 323, 324, 325
_SUBFILE, _CHILDREN, _SAMPLE_FORMAT = 254, 330, 339
_REDUCED = 1  # a bit of NewSubfileType: a smaller copy of another page
_UNCOMPRESSED = 1
# What cannot unpack to more than a strip or tile has, since tifffile tells the codec its size.
_CODECS = {1: "none", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate", 50000: "zstd"}
_DARK_IS_ZERO, _PALETTE = 1, 3
_OTHERWISE = 'set preprocess.reader = "bioformats"'
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8} | {
    13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
_WHOLE = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}


class TiffError(Exception):
    """A file is not TIFF, damaged or cut; the message says what is wrong with it.

    Attributes
    ----------
    cut : bool
        Whether the file may only be incomplete: what is missing lies beyond its end.
    """

    def __init__(self, message: str, *, cut: bool = False) -> None:
        super().__init__(message)
        self.cut = cut


@dataclass(frozen=True, slots=True)
class Page:
    """One directory with its image.

    Attributes
    ----------
    offset : int
        Where the directory is.
    shape : tuple of int
        ``(Y, X)`` in pixels.
    kind : str
        Type of the pixels, for example ``uint16``.
    samples : int
        Values of a pixel; 3 for colours.
    compression, photometric : int
        As the format numbers them.
    reduced : bool
        Whether it is a smaller copy of another page.
    data_start : int
        Where its first strip or tile is.
    tags : frozenset of int
        Which tags it has.
    """

    offset: int
    shape: tuple[int, int]
    kind: str
    samples: int
    compression: int
    photometric: int
    reduced: bool
    data_start: int
    tags: frozenset[int]

    def storage_problem(self) -> str:
        """Return why its pixels are not read without Java; empty if they are."""
        if self.samples > 1:
            return "is a colour (RGB) image; only separate channels are read"
        if self.compression not in _CODECS:
            known = ", ".join(dict.fromkeys(_CODECS.values()))
            return f"has compression {self.compression} (read are {known}): {_OTHERWISE}"
        if self.photometric not in (_DARK_IS_ZERO, _PALETTE):
            kind = self.photometric
            return f"has grey levels of photometric interpretation {kind}: {_OTHERWISE}"
        return ""

    @property
    def n_bytes(self) -> int:
        """Size of its pixels without compression, of 8 or 16 bits."""
        return self.shape[0] * self.shape[1] * self.samples * (2 if "16" in self.kind else 1)


@dataclass(frozen=True, slots=True)
class Structure:
    """The pages of a file.

    Attributes
    ----------
    pages : tuple of Page
        In the order of the chain.
    byte_order : {"<", ">"}
        Of the numbers in the file.
    description : str
        ImageDescription of the first page.
    end : int
        First byte that nothing refers to: the file has at least so many.
    size : int
        Bytes of the file.
    """

    pages: tuple[Page, ...]
    byte_order: Literal["<", ">"]
    description: str
    end: int
    size: int


@dataclass(frozen=True, slots=True)
class _Tag:
    type: int
    count: int
    at: int


def is_tiff(path: Path) -> bool:
    """Return whether a file begins as TIFF does, whatever its name; False if it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(4) in SIGNATURES
    except OSError:
        return False


def read_structure(file: BinaryIO) -> Structure:
    """Walk all directories of a TIFF file.

    Parameters
    ----------
    file : binary file
        Open for reading.

    Returns
    -------
    Structure
        Every value of every tag, every strip and every tile lies within the file.

    Raises
    ------
    TiffError
        If that is not so, the chain has a loop, or there is more than a microscope's file has.
    """
    return _Walk(file).structure()


class _Walk:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = self.end = file.seek(0, 2)
        head = self._read(0, 16 if self.size >= 16 else 8)
        if head[:4] not in SIGNATURES:
            msg = f"does not begin as TIFF does, but with {head[:4]!r}"
            raise TiffError(msg)
        self.order: Literal["<", ">"] = "<" if head[:2] == b"II" else ">"
        self.big = head[:4] in SIGNATURES[2:]
        if self.big and struct.unpack(f"{self.order}HH", head[4:8]) != (8, 0):
            msg = "is BigTIFF with offsets of another size than 8 bytes"
            raise TiffError(msg)
        self.pointer = "Q" if self.big else "I"
        self.first = self._number(8 if self.big else 4, self.pointer)
        self.end = 16 if self.big else 8

    def structure(self) -> Structure:
        pages: list[Page] = []
        children: list[int] = []
        seen: set[int] = set()
        description = ""
        offset = self.first
        while offset:
            tags, following = self._directory(offset, seen)
            if not pages and _DESCRIPTION in tags:
                description = self._text(tags[_DESCRIPTION])
            pages.append(self._page(offset, tags, len(pages)))
            children += self._values(tags, _CHILDREN).tolist()
            offset = following
        if not pages:
            msg = "has no directory yet: its header points to none"
            raise TiffError(msg, cut=True)
        while children:
            tags, _ = self._directory(child := children.pop(), seen)
            self._page(child, tags, len(pages))
            children += self._values(tags, _CHILDREN).tolist()
        return Structure(tuple(pages), self.order, description, self.end, self.size)

    def _directory(self, offset: int, seen: set[int]) -> tuple[Mapping[int, _Tag], int]:
        """Return the tags of a directory and where the next one is; 0 after the last."""
        if offset in seen:
            msg = f"has a loop: the directory at byte {offset:,} comes twice"
            raise TiffError(msg)
        if len(seen) >= MOST_DIRECTORIES:
            msg = f"has more than {MOST_DIRECTORIES:,} directories"
            raise TiffError(msg)
        seen.add(offset)
        counted = "Q" if self.big else "H"
        count = self._number(offset, counted)
        if count > MOST_TAGS:
            msg = f"has a directory of {count:,} tags at byte {offset:,}"
            raise TiffError(msg)
        start = offset + struct.calcsize(counted)
        entry = f"{self.order}HH{self.pointer}"
        length = struct.calcsize(entry) + struct.calcsize(self.pointer)
        entries = self._read(start, count * length)
        tags: dict[int, _Tag] = {}
        for number in range(count):
            tag, kind, n = struct.unpack_from(entry, entries, number * length)
            inline = start + number * length + struct.calcsize(entry)
            n_bytes = n * _SIZES.get(kind, 0)
            at = inline
            if n_bytes > struct.calcsize(self.pointer):
                at = self._number(inline, self.pointer)
                self._require(at, n_bytes, f"the value of tag {tag}")
            tags.setdefault(tag, _Tag(kind, n, at))
        return tags, self._number(start + count * length, self.pointer)

    def _page(self, offset: int, tags: Mapping[int, _Tag], number: int) -> Page:
        height, width = self._one(tags, _HEIGHT, 0), self._one(tags, _WIDTH, 0)
        samples = self._one(tags, _SAMPLES, 1)
        bits, formats = (
            set(self._values(tags, tag).tolist()) or {1} for tag in (_BITS, _SAMPLE_FORMAT)
        )
        names = {1: "uint", 2: "int", 3: "float"}
        kind = f"{names.get(min(formats), 'unknown')}{min(bits)}"
        if len(bits) > 1 or len(formats) > 1:
            kind = "mixed"
        if not height or not width or not samples:
            msg = f"page {number + 1} has no size"
            raise TiffError(msg)
        return Page(
            offset,
            (height, width),
            kind,
            samples,
            self._one(tags, _COMPRESSION, _UNCOMPRESSED),
            self._one(tags, _PHOTOMETRIC, 1),
            bool(self._one(tags, _SUBFILE, 0) & _REDUCED),
            self._check_segments(tags, (height, width, samples, min(bits)), number),
            frozenset(tags),
        )

    def _check_segments(
        self, tags: Mapping[int, _Tag], size: tuple[int, int, int, int], number: int
    ) -> int:
        """Check the strips or tiles of a page, and return where the first is."""
        height, width, samples, bits = size
        what, tag, tag_bytes = "strip", _STRIPS, _STRIP_BYTES
        rows = max(1, min(height, self._one(tags, _ROWS, height)))
        columns = width
        if _TILES in tags:
            what, tag, tag_bytes = "tile", _TILES, _TILE_BYTES
            rows, columns = (max(1, self._one(tags, t, 1)) for t in (_TILE_HEIGHT, _TILE_WIDTH))
        if max(height * width, rows * columns) * samples * bits > MOST_PIXELS:
            msg = f"page {number + 1} states {height:,} x {width:,} pixels"
            raise TiffError(msg)
        down, across = -(-height // rows), -(-width // columns)
        separate = self._one(tags, _PLANAR, 1) == 2
        expected = down * across * (samples if separate else 1)
        offsets, counts = self._values(tags, tag), self._values(tags, tag_bytes)
        row_bytes = -(-columns * bits * (1 if separate else samples) // 8)
        lengths = np.full(min(expected, MOST_SEGMENTS), rows * row_bytes, dtype=np.uint64)
        if what == "strip":
            lengths[down - 1 :: down] = (height - (down - 1) * rows) * row_bytes
        if expected > MOST_SEGMENTS or len(offsets) > MOST_SEGMENTS:
            msg = f"page {number + 1} has {max(expected, len(offsets)):,} {what}s"
            raise TiffError(msg)
        plain = self._one(tags, _COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED
        if plain and not len(counts):
            counts = lengths
        if min(len(offsets), len(counts)) < expected:
            here = min(len(offsets), len(counts))
            msg = f"page {number + 1} has {here} of {expected} {what}s"
            raise TiffError(msg, cut=True)
        offsets, counts = offsets[:expected], counts[:expected]
        if not offsets.all() or not counts.all():
            here = int(np.count_nonzero((offsets != 0) & (counts != 0)))
            msg = f"page {number + 1}: only {here} of {expected} {what}s were written"
            raise TiffError(msg, cut=True)
        if plain:
            if (counts < lengths).any():
                msg = f"page {number + 1}: a {what} is shorter than its pixels"
                raise TiffError(msg, cut=True)
            counts = lengths  # some writers state more than there is
        for farthest in (offsets, counts, offsets + counts):  # the last one could wrap around
            at = int(np.argmax(farthest))
            self._require(int(offsets[at]), int(counts[at]), f"a {what} of page {number + 1}")
        return int(offsets[0])

    def _one(self, tags: Mapping[int, _Tag], tag: int, default: int) -> int:
        values = self._values(tags, tag, most=1)
        return int(values[0]) if len(values) else default

    def _values(
        self, tags: Mapping[int, _Tag], tag: int, most: int = MOST_SEGMENTS + 1
    ) -> NDArray[np.uint64]:
        """Return the whole numbers of a tag, at most so many; none if it has others."""
        found = tags.get(tag)
        if found is None or found.type not in _WHOLE:
            return np.empty(0, np.uint64)
        count = min(found.count, most)
        data = self._read(found.at, count * _SIZES[found.type])
        return np.frombuffer(data, self.order + _WHOLE[found.type]).astype(np.uint64)

    def _text(self, tag: _Tag) -> str:
        if tag.count > MOST_TEXT_BYTES:
            msg = f"has a description of {tag.count:,} bytes"
            raise TiffError(msg)
        return self._read(tag.at, tag.count).decode("utf-8", "replace").rstrip("\0")

    def _number(self, at: int, kind: str) -> int:
        data = self._read(at, struct.calcsize(kind))
        return int(struct.unpack(self.order + kind, data)[0])

    def _read(self, at: int, n_bytes: int) -> bytes:
        self._require(at, n_bytes, "a directory")
        self.file.seek(at)
        data = self.file.read(n_bytes)
        if len(data) != n_bytes:
            msg = f"changed while it was read: byte {at:,} is gone"
            raise TiffError(msg, cut=True)
        return data

    def _require(self, at: int, n_bytes: int, what: str) -> None:
        self.end = max(self.end, at + n_bytes)
        if at + n_bytes > self.size:
            msg = f"is truncated: has {self.size:,} bytes, {what} reaches to byte {at + n_bytes:,}"
            raise TiffError(msg, cut=True)
