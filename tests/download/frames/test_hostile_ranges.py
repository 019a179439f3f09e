"""Movies by ranges, whose structure states what no movie has."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from idrstream.download.ranges.fetch import fetch_frames
from idrstream.errors import MovieError
from idrstream.formats.hdf5_ranges.ranges import ByteRange
from idrstream.formats.hdf5_ranges.reader import RangeReader
from idrstream.records import ImageTask

ENTRY = struct.Struct("<II6QQ")  # of an index of chunks with five dimensions


class Liar:
    """A remote file of a petabyte, of which the first bytes are given and the rest are zeros."""

    name = "liar"
    at_once = 4
    size_bytes = 10**15

    def __init__(self, data: bytes) -> None:
        self.data, self.head = data, data[:100]
        self.bytes_moved = self.requests = 0
        self.largest = 0

    def open_ranges(self, _remote, _head_bytes):
        return self

    def read(self, start, stop):
        self.largest = max(self.largest, stop - start)
        return self.data[start:stop].ljust(stop - start, b"\0")

    def close(self):
        pass


def write_movie(path):
    import h5py

    with h5py.File(path, "w") as file:
        channel = file.create_dataset(
            "sample/0/plate/P/experiment/00004/position/1/image/channel",
            data=np.random.default_rng(0).integers(0, 255, (1, 4, 1, 32, 32), dtype="u1"),
            chunks=(1, 1, 1, 32, 32), compression="gzip",
        )  # fmt: skip
        channel.attrs["valid"] = np.ones(4)
    return path.read_bytes()


def with_entries(data, change):
    """Return a file whose entries of the index of chunks are changed: size and address."""
    at = data.index(b"TREE\x01\x00")
    count = int.from_bytes(data[at + 6 : at + 8], "little")
    new = bytearray(data)
    for i in range(count):
        place = at + 24 + i * ENTRY.size
        size, *rest, address = ENTRY.unpack_from(data, place)
        size, address = change(i, size, address)
        ENTRY.pack_into(new, place, size, *rest, address)
    return bytes(new)


@pytest.mark.parametrize(
    "change",
    [
        lambda i, size, address: (2**32 - 1, address),
        lambda i, size, address: (1000, 10**9 + i * 10),  # each within the one before
        lambda i, size, address: (1000, 10**9),
    ],
    ids=["gigabytes", "overlapping", "the same"],
)
def test_chunks_that_no_movie_has_are_not_asked_for(tmp_path, change):
    file = Liar(with_entries(write_movie(tmp_path / "movie.ch5"), change))
    task = ImageTask("P", "A4", 4, (1, 2), 1, {}, 0)
    with pytest.raises(MovieError, match="damaged: a chunk"):
        fetch_frames(
            file, "movie.ch5", task, tmp_path / "small.ch5", lambda *_: (1, 2), mode="frames"
        )
    assert file.largest < 2**20
    assert not (tmp_path / "small.ch5").exists()


def test_what_is_kept_of_a_structure_has_a_limit():
    file = Liar(b"")
    reader = RangeReader(file)
    with pytest.raises(MovieError, match="structure takes more"):
        reader.read_range(ByteRange(0, 10**12))
    reader = RangeReader(file)
    for start in range(0, 2**26, 2**20):
        reader.read_range(ByteRange(start, start + 2**20))
    with pytest.raises(MovieError, match="structure takes more"):
        reader.read_range(ByteRange(2**26, 2**26 + 1))
    assert file.largest <= 2**20
