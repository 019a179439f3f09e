"""Finding chunks by going down the index finds what HDF5 itself says."""

from __future__ import annotations

import itertools
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idrstream.download.ranges.local import LocalFile
from idrstream.errors import MovieError
from idrstream.formats.hdf5_ranges import btree as btree
from idrstream.formats.hdf5_ranges.ranges import ByteRange
from idrstream.formats.hdf5_ranges.reader import RangeReader

CHUNKS = (1, 1, 1, 2, 3)


def write(path: Path, shape, written, **create) -> Path:
    """Write some chunks, in the order given, with other things between them."""
    libver, userblock = create.pop("libver", None), create.pop("userblock_size", 0)
    with h5py.File(path, "w", libver=libver, userblock_size=userblock) as file:
        group = file.create_group("a/b")
        dataset = group.create_dataset("channel", shape, "u1", chunks=CHUNKS, **create)
        other = group.create_dataset("region", shape, "u2", chunks=CHUNKS)
        dataset.attrs["valid"] = np.ones(shape[1])
        for number, place in enumerate(written):
            where = tuple(slice(p, p + c) for p, c in zip(place, CHUNKS, strict=True))
            dataset[where] = number % 250 + 1
            other[where] = number
    return path


def places(shape):
    return list(itertools.product(*map(range, [0] * 5, shape, CHUNKS)))


def find(path: Path, wanted, block_bytes=512, head_bytes=200):
    remote = LocalFile(path, head_bytes)
    reader = RangeReader(remote, block_bytes)
    try:
        with h5py.File(reader, "r") as file:
            return btree.find_chunks(file["a/b/channel"], reader, wanted), remote
    finally:
        remote.close()


def expected(path: Path, wanted):
    with h5py.File(path, "r") as file:
        infos = [
            (c, file["a/b/channel"].id.get_chunk_info_by_coord(c)) for c in sorted(set(wanted))
        ]
    return [
        btree.StoredChunk(c, ByteRange(i.byte_offset, i.byte_offset + i.size), i.filter_mask)
        for c, i in infos
        if i.byte_offset is not None
    ]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), n_frames=st.integers(1, 60), gzip=st.booleans())
def test_the_same_chunks_as_hdf5(tmp_path, data, n_frames, gzip):
    shape = (2, n_frames, 1, 5, 7)
    every = places(shape)
    written = data.draw(st.lists(st.sampled_from(every), unique=True))
    wanted = data.draw(st.lists(st.sampled_from(every)))
    path = write(tmp_path / "x.h5", shape, written, compression="gzip" if gzip else None)
    found, _ = find(path, wanted)
    assert found == expected(path, wanted)


def test_a_deep_index_takes_few_reads(tmp_path):
    shape = (1, 1200, 1, 4, 6)
    path = write(tmp_path / "x.h5", shape, places(shape))
    wanted = [place for place in places(shape) if place[1] == 1100]
    found, remote = find(path, wanted, head_bytes=65536)
    assert found == expected(path, wanted)
    assert len(found) == 4
    assert remote.requests <= 4


@pytest.mark.parametrize(
    "options",
    [{"libver": "latest"}, {"libver": ("v110", "v110")}, {"userblock_size": 512}],
    ids=str,
)
def test_other_kinds_of_file_are_looked_through_by_hdf5(tmp_path, options):
    shape = (1, 30, 1, 4, 6)
    path = write(tmp_path / "x.h5", shape, places(shape)[::3], compression="gzip", **options)
    wanted = places(shape)[:40]
    found, _ = find(path, wanted)
    assert found == expected(path, wanted)
    data = path.read_bytes()
    with h5py.File(path, "r") as file:
        for chunk in found:
            stored = file["a/b/channel"].id.read_direct_chunk(chunk.coordinates)
            assert data[slice(*chunk.location)] == stored[1]


def test_nothing_was_written(tmp_path):
    shape = (1, 3, 1, 4, 6)
    assert find(write(tmp_path / "x.h5", shape, []), places(shape))[0] == []


@pytest.mark.parametrize("what", ["signature", "child", "cut"])
def test_a_damaged_index_is_told(tmp_path, what):
    shape = (1, 200, 1, 4, 6)
    path = write(tmp_path / "x.h5", shape, places(shape))
    data = bytearray(path.read_bytes())
    nodes = [i for i in range(len(data) - 8) if data[i : i + 5] == b"TREE\x01"]
    root = next(i for i in nodes if data[i + 5] > 0)
    if what == "signature":
        for node in nodes:
            data[node : node + 4] = b"EERT" if node != root else data[node : node + 4]
    elif what == "child":
        key = 8 + 8 * 6
        for entry in range(int.from_bytes(data[root + 6 : root + 8], "little")):
            at = root + 24 + entry * (key + 8) + key
            data[at : at + 8] = (2**40).to_bytes(8, "little")
    path.write_bytes(data)
    if what == "cut":
        remote = LocalFile(path, 100)
        remote.size_bytes -= 0
        reader = RangeReader(remote)
        with pytest.raises(MovieError, match="points to byte"):
            btree._read(reader, remote.size_bytes - 4, 8)
        remote.close()
        return
    with pytest.raises(MovieError, match="chunk index is damaged"):
        find(path, places(shape))
