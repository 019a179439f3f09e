"""CellH5 files that mean harm, or come from another microscope: named errors, bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from idrstream.errors import FrameError, MovieError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.deep import decode_all

POSITION = "sample/0/plate/P/experiment/W/position/01"
CHANNEL = f"{POSITION}/image/channel"


@pytest.fixture
def hostile(tmp_path):
    """Return a maker of files: ``hostile(shape, dtype, **options)`` gives path and dataset name."""

    def make(shape=(1, 3, 1, 32, 32), dtype="u1", **options) -> Path:
        path = tmp_path / "hostile.ch5"
        with h5py.File(path, "w") as file:
            file.create_dataset(CHANNEL, shape, dtype, **options)
        return path

    return make


def put_chunk(path: Path, packed: bytes, t: int = 0, mask: int = 0) -> None:
    with h5py.File(path, "r+") as file:
        file[CHANNEL].id.write_direct_chunk((0, t, 0, 0, 0), packed, filter_mask=mask)


PIXELS = bytes(range(1, 129)) * 8


@pytest.mark.parametrize(
    ("packed", "mask", "message"),
    [
        (zlib.compress(b"\1" * 200_000), 0, "1,024 bytes unpacks to more"),
        (zlib.compress(PIXELS[:-1]), 0, "unpacks to 1,023"),
        (zlib.compress(b""), 0, "unpacks to 0"),
        (zlib.compress(PIXELS)[:-6], 0, "unpacks to 0"),
        (b"no deflate stream", 0, "unpacks to 0"),
        (os.urandom(4096), 0, "a chunk of 1,024 bytes takes 4,096"),
        (PIXELS[:-24], 1, "unpacks to 1,000"),  # marked as not packed
    ],
)
def test_a_chunk_that_lies_about_its_size_costs_its_frame(hostile, packed, mask, message):
    path = hostile(chunks=(1, 1, 1, 32, 32), compression="gzip")
    put_chunk(path, packed, mask=mask)
    put_chunk(path, zlib.compress(PIXELS), t=1)
    put_chunk(path, PIXELS, t=2, mask=1)
    frames = CellH5Reader().read(path, [1, 2, 3])
    assert isinstance(frames[1], FrameError)
    assert message in str(frames[1])
    for number in (2, 3):
        np.testing.assert_array_equal(frames[number].ravel(), np.frombuffer(PIXELS, "u1"))


@pytest.mark.parametrize("options", [{"fletcher32": True}, {"shuffle": True, "fletcher32": True}])
def test_checksums_are_no_surplus(hostile, options):
    path = hostile(chunks=(1, 1, 1, 32, 32), compression="gzip", **options)
    with h5py.File(path, "r+") as file:
        file[CHANNEL][0] = 7
    assert (CellH5Reader().read(path, [2])[2] == 7).all()


def test_a_bomb_is_not_unpacked(hostile):
    """A file of some 100 KB that would unpack to 100 MB a chunk; measured in a process."""
    path = hostile((1, 1, 1, 320, 320), chunks=(1, 1, 1, 320, 320), compression="gzip")
    put_chunk(path, zlib.compress(b"\1" * 100_000_000, 9))
    code = f"""
import resource
from pathlib import Path
from idrstream.formats import CellH5Reader
reader = CellH5Reader()
reader.info(Path({str(path)!r}))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(reader.read(Path({str(path)!r}), [1])[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message, kilobytes = done.stdout.strip().splitlines()
    assert "unpacks to more" in message
    assert int(kilobytes) < 20_000


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 1, 1, 2**14, 2**14), {"chunks": (1, 1, 1, 64, 64)}, "not a microscope's movie"),
        ((1, 2**21, 1, 8, 8), {"chunks": (1, 1, 1, 8, 8)}, "2,097,152 frames"),
        ((100, 100, 1, 128, 128), {"chunks": (100, 100, 1, 128, 128)}, "chunks of 163,840,000"),
        ((1, 1, 1, 1024, 1024), {"chunks": (1, 1, 1, 2, 2)}, "in 262,144 chunks"),
        ((1, 1, 1, 8, 8), {"chunks": (1, 1, 1, 8, 8), "scaleoffset": 0}, "filter scaleoffset"),
    ],
)
def test_sizes_and_filters_are_bounded(hostile, shape, options, message):
    path = hostile(shape, **options)
    with pytest.raises(MovieError, match=message):
        CellH5Reader().info(path)


def test_the_deep_check_goes_through_the_same_guards(hostile, tmp_path):
    path = hostile(chunks=(1, 1, 1, 32, 32), compression="gzip")
    put_chunk(path, zlib.compress(PIXELS))
    decode_all(path)
    put_chunk(path, zlib.compress(b"\1" * 200_000), t=1)
    with pytest.raises(MovieError, match="unpacks to more"):
        decode_all(path)
    with h5py.File(tmp_path / "more.ch5", "w") as file:
        file.create_dataset("feature", (8,), "u1", external=[("/etc/passwd", 0, 8)])
    with pytest.raises(MovieError, match="in other files"):
        decode_all(tmp_path / "more.ch5")
    with h5py.File(tmp_path / "large.ch5", "w") as file:
        file.create_dataset("feature", (2**15, 2**15), "u1", chunks=(2**14, 2**14))
    with pytest.raises(MovieError, match="chunks of 268,435,456"):
        decode_all(tmp_path / "large.ch5")


def test_filters_that_would_be_loaded_as_libraries_are_refused(tmp_path):
    path = tmp_path / "x.ch5"
    with h5py.File(path, "w") as file:
        group = file.create_group(f"{POSITION}/image")
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((1, 1, 1, 8, 8))
        creation.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (2, 2, 1, 64))
        space = h5py.h5s.create_simple((1, 1, 1, 8, 8))
        h5py.h5d.create(group.id, b"channel", h5py.h5t.NATIVE_UINT8, space, creation)
    with pytest.raises(MovieError, match=r"filter blosc, which is not allowed.*h5repack"):
        CellH5Reader().read(path, [1])


def test_packed_twice_over(tmp_path):
    path = tmp_path / "x.ch5"
    with h5py.File(path, "w") as file:
        group = file.create_group(f"{POSITION}/image")
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((1, 1, 1, 8, 8))
        creation.set_deflate(9)
        creation.set_deflate(9)
        space = h5py.h5s.create_simple((1, 1, 1, 8, 8))
        h5py.h5d.create(group.id, b"channel", h5py.h5t.NATIVE_UINT8, space, creation)
    with pytest.raises(MovieError, match="compressed twice"):
        CellH5Reader().read(path, [1])


@pytest.mark.parametrize("value", ["yes", ["a", "b", "c"], np.array([(1, 2)] * 3, "i4,i4")])
def test_attributes_that_are_no_numbers_are_not_read(hostile, value):
    path = hostile()
    with h5py.File(path, "r+") as file:
        file[CHANNEL][...] = 5
        file[CHANNEL].attrs["valid"] = value
    with pytest.raises(MovieError, match="attribute 'valid' is of type"):
        CellH5Reader().info(path)


def test_hard_links_that_make_a_small_file_endless(tmp_path):
    path = tmp_path / "x.ch5"
    names = ("sample", "plate", "experiment", "position")
    with h5py.File(path, "w") as file:
        inner = file.create_group("inner")
        for name in names:
            level = inner.create_group(name)
            for i in range(60):
                level[str(i)] = inner
        file["sample"] = inner["sample"]
    with pytest.raises(MovieError, match="more than 10,000 groups"):
        CellH5Reader().info(path)


def test_many_positions_name_some(tmp_path):
    path = tmp_path / "x.ch5"
    with h5py.File(path, "w") as file:
        for i in range(50):
            name = f"sample/0/plate/P/experiment/W/position/{i:02d}/image/channel"
            file.create_dataset(name, (1, 1, 1, 4, 4), "u1")
    with pytest.raises(MovieError, match="must have one position") as caught:
        CellH5Reader().info(path)
    assert len(str(caught.value)) < 500
