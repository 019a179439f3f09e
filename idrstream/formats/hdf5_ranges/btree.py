"""Locations of chunks in an HDF5 file, by descending its chunk index.

HDF5's own call (``H5Dget_chunk_info_by_coord``) reads the whole index up to the chunk, which over
a network costs a request for every few frames. Files written with HDF5's default
settings, as CellCognition does, index chunks in a version 1 B-tree (HDF5 File Format
Specification 3.0, III.A.1), which records the first chunk of each branch.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from idrstream.errors import MovieError
from idrstream.formats.hdf5_ranges.ranges import ByteRange
from idrstream.formats.hdf5_ranges.reader import RangeReader

_UNDEFINED = 2**64 - 1
_LAYOUT, _CONTINUATION = 0x08, 0x10
_CHUNKED, _CHUNK_NODE = 2, 1
_HEADER = 24
# Half the number of children of a node, unless a writer chose another.
_USUAL_RANK = 32
_DEEPEST, _MOST_BLOCKS = 8, 64

Coordinates = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as stored in a file.

    Attributes
    ----------
    coordinates : tuple of int
        Position of its first element in the dataset.
    location : ByteRange
        Its bytes in the file.
    filter_mask : int
        The filters that were skipped when it was written.
    """

    coordinates: Coordinates
    location: ByteRange
    filter_mask: int


def find_chunks(
    dataset: Any, reader: RangeReader, wanted: Iterable[Coordinates]
) -> list[StoredChunk]:
    """Return the wanted chunks that were ever written, in the order of their coordinates.

    `dataset` is one that h5py reads through `reader`; `wanted` are coordinates of first elements.

    Raises
    ------
    MovieError
        If the index is damaged.
    """
    coordinates = sorted(set(wanted))
    root = _index_address(dataset, reader)
    if root is None:
        return _find_with_hdf5(dataset, coordinates)
    if root == _UNDEFINED:
        return []
    return _descend(root, len(dataset.shape), reader, coordinates)


def _find_with_hdf5(dataset: Any, wanted: Sequence[Coordinates]) -> list[StoredChunk]:
    found = []
    for coordinates in wanted:
        info = dataset.id.get_chunk_info_by_coord(coordinates)
        if info.byte_offset is not None:
            location = ByteRange(info.byte_offset, info.byte_offset + info.size)
            found.append(StoredChunk(coordinates, location, info.filter_mask))
    return found


def _index_address(dataset: Any, reader: RangeReader) -> int | None:
    """Return the address of the dataset's B-tree; None if it has another kind of index."""
    if dataset.file.userblock_size or dataset.file.id.get_create_plist().get_sizes() != (8, 8):
        return None
    # `h5o.get_info` would read the whole index to measure it.
    group, name = dataset.parent, dataset.name.rpartition("/")[2].encode()
    address = int(group.id.links.get_info(name).u)
    version, _, _, _, size = struct.unpack("<BBHII", _read(reader, address, 12))
    if version != 1:
        return None
    # The messages of an object header: one block and its continuations.
    blocks = [(address + 16, size)]
    for start, length in blocks:
        data = _read(reader, start, length)
        position = 0
        while position + 8 <= len(data):
            kind, n_bytes = struct.unpack_from("<HH", data, position)
            body = data[position + 8 : position + 8 + n_bytes]
            if kind == _LAYOUT:
                return _address_in_layout(body)
            if kind == _CONTINUATION and len(blocks) < _MOST_BLOCKS:
                blocks.append(struct.unpack_from("<QQ", body))
            position += 8 + n_bytes
    return None


def _address_in_layout(message: bytes) -> int | None:
    if len(message) < 11 or message[0] != 3 or message[1] != _CHUNKED:
        return None
    return int.from_bytes(message[3:11], "little")


def _descend(
    root: int, n_dimensions: int, reader: RangeReader, wanted: list[Coordinates]
) -> list[StoredChunk]:
    """Descend level by level, so that few requests read the nodes of a level."""
    found: list[StoredChunk] = []
    level = {root: wanted}
    for _ in range(_DEEPEST):
        locations = {_node_location(address, n_dimensions, reader): address for address in level}
        below: dict[int, list[Coordinates]] = {}
        for location, data in reader.read_ranges(locations):
            node = _Node.parse(locations[location], data, n_dimensions, reader)
            for coordinates in level[locations[location]]:
                child = node.find(coordinates)
                if isinstance(child, StoredChunk):
                    found.append(child)
                elif child is not None:
                    below.setdefault(child, []).append(coordinates)
        if not below:
            return sorted(found, key=lambda chunk: chunk.coordinates)
        level = below
    msg = f"its chunk index is deeper than {_DEEPEST} levels"
    raise MovieError(msg)


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of the index: the first chunk of each child, and the children's addresses."""

    is_leaf: bool
    firsts: list[Coordinates]
    children: list[int]
    sizes: list[int]
    filter_masks: list[int]

    @classmethod
    def parse(cls, address: int, data: bytes, n_dimensions: int, reader: RangeReader) -> _Node:
        if len(data) < _HEADER or data[:4] != b"TREE" or data[4] != _CHUNK_NODE:
            msg = f"its chunk index is damaged: no node at byte {address:,}"
            raise MovieError(msg)
        level, n_entries = data[5], int.from_bytes(data[6:8], "little")
        # Size, filter mask, one offset per dimension and one for the bytes of an element.
        entry = struct.Struct(f"<II{n_dimensions + 1}QQ")
        n_bytes = _HEADER + n_entries * entry.size
        if n_bytes > len(data):
            data = _read(reader, address, n_bytes)
        rows = list(entry.iter_unpack(data[_HEADER:n_bytes]))
        return cls(
            level == 0,
            [tuple(row[2:-2]) for row in rows],
            [row[-1] for row in rows],
            [row[0] for row in rows],
            [row[1] for row in rows],
        )

    def find(self, coordinates: Coordinates) -> StoredChunk | int | None:
        """Return the chunk, the address of the child node, or None if there is no chunk."""
        position = bisect_right(self.firsts, coordinates) - 1
        if position < 0:
            return None
        address = self.children[position]
        if not self.is_leaf:
            return address
        if self.firsts[position] != coordinates:
            return None
        location = ByteRange(address, address + self.sizes[position])
        return StoredChunk(coordinates, location, self.filter_masks[position])


def _node_location(address: int, n_dimensions: int, reader: RangeReader) -> ByteRange:
    """Return the bytes of a node of the usual size; a larger one is read again."""
    key = 8 + 8 * (n_dimensions + 1)
    size = _HEADER + 2 * _USUAL_RANK * (key + 8) + key
    stop = min(address + size, reader.size_bytes)
    if address >= stop:
        msg = f"its chunk index is damaged: it points to byte {address:,} of {reader.size_bytes:,}"
        raise MovieError(msg)
    return ByteRange(address, stop)


def _read(reader: RangeReader, start: int, n_bytes: int) -> bytes:
    if start + n_bytes > reader.size_bytes:
        msg = f"its chunk index is damaged: it points to byte {start:,} of {reader.size_bytes:,}"
        raise MovieError(msg)
    return reader.read_range(ByteRange(start, start + n_bytes))
