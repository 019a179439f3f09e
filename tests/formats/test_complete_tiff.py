"""No part of a TIFF file passes for the whole."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tifffile
from tiff_files import write_ome_set

from idrstream.errors import IncompleteFileError, MovieError
from idrstream.formats import TiffReader
from idrstream.formats.complete import check_complete, file_state, wait_until_complete
from idrstream.formats.deep import decode_all

KINDS = {
    "plain": {"metadata": None},
    "strips": {"metadata": None, "rowsperstrip": 3},
    "packed": {"metadata": None, "compression": "zlib", "predictor": True},
    "tiles": {"metadata": None, "tile": (16, 16), "compression": "lzw"},
    "big": {"metadata": None, "bigtiff": True},
    "other order": {"metadata": None, "byteorder": ">"},
    "imagej": {"imagej": True, "metadata": {"axes": "TYX"}},
    "imagej in one": {"imagej": True, "metadata": {"axes": "TYX"}},
    "ome": {"ome": True, "metadata": {"axes": "TYX"}},
}


_LAST = 32  # bytes at the end, of which each is cut


@pytest.fixture
def write(tmp_path, noise):
    """Return a writer of a small file of a kind: three frames of 16 bits."""

    def make(kind: str):
        path = tmp_path / f"{kind}.tif"
        movie = noise(1, 3, 1, 10, 14, dtype="uint16")[0, :, 0]
        tifffile.imwrite(path, movie, photometric="minisblack", **KINDS[kind])
        if kind == "imagej in one":
            data = bytearray(path.read_bytes())
            order = "<" if data[:2] == b"II" else ">"
            at = struct.unpack_from(f"{order}I", data, 4)[0]
            count = struct.unpack_from(f"{order}H", data, at)[0]
            struct.pack_into(f"{order}I", data, at + 2 + 12 * count, 0)
            path.write_bytes(data)
        return path, movie

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_no_cut_passes(tmp_path, write, kind):
    """What passes has all pixels: only bytes that nothing refers to may be missing."""
    path, movie = write(kind)
    whole = path.read_bytes()
    check_complete(path, len(whole))
    cut = tmp_path / "cut.tif"
    passed = []
    for length in (*range(0, len(whole) - _LAST, 5), *range(len(whole) - _LAST, len(whole))):
        cut.write_bytes(whole[:length])
        state = file_state(cut, length).state
        assert state in ("wrong", "complete")
        if state == "complete":
            passed.append(length)
    if kind != "imagej in one":  # its other directories are no longer referred to
        assert len(passed) < _LAST
    for length in passed[:1]:
        cut.write_bytes(whole[:length])
        assert file_state(cut, len(whole)).state == "waiting"
        for number, frame in TiffReader().read(cut, [1, 2, 3]).items():
            np.testing.assert_array_equal(frame, movie[number - 1])


def test_a_file_whose_last_pages_are_still_to_come(tmp_path, write, noise):
    """A chain that ends too early is told by what the file says of itself."""
    for kind in ("ome", "imagej"):
        path, _ = write(kind)
        data = bytearray(path.read_bytes())
        order = "<" if data[:2] == b"II" else ">"
        at = struct.unpack_from(f"{order}I", data, 4)[0]
        for _ in range(1):
            pointer = at + 2 + 12 * struct.unpack_from(f"{order}H", data, at)[0]
            at = struct.unpack_from(f"{order}I", data, pointer)[0]
        pointer = at + 2 + 12 * struct.unpack_from(f"{order}H", data, at)[0]
        struct.pack_into(f"{order}I", data, pointer, 0)
        path.write_bytes(data)
        state = file_state(path, len(data))
        assert (state.state, state.reason) == ("wrong", "has 2 of 3 pages")
        with pytest.raises(IncompleteFileError, match="has 2 of 3 pages"):
            check_complete(path)
    files = write_ome_set(tmp_path, noise(1, 2, 1, 8, 8, dtype="uint16"))
    check_complete(files[0])
    tifffile.imwrite(files[0], np.ones((8, 8), np.uint16), description=_xml(files[0]))
    assert "has 1 of 2 pages" in file_state(files[0]).reason


def test_strips_that_were_not_written(write):
    path, _ = write("strips")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tag = file.pages[1].tags["StripOffsets"]
        struct.pack_into("<H" if tag.dtype == 3 else "<I", data, tag.valueoffset, 0)
    path.write_bytes(data)
    assert "page 2: only 3 of 4 strips were written" in file_state(path).reason


def test_what_is_no_tiff_or_damaged(tmp_path, write):
    path = tmp_path / "x.tif"
    for content, error, message in (
        (b"not a picture at all", MovieError, "does not begin as TIFF does"),
        (bytes(500), IncompleteFileError, "begins with zeros"),
        (b"II*\0" + struct.pack("<I", 0), IncompleteFileError, "no directory yet"),
    ):
        path.write_bytes(content)
        with pytest.raises(error, match=message):
            check_complete(path)
    path, _ = write("plain")
    path.rename(renamed := path.with_suffix(".flex"))  # by its first bytes
    renamed.write_bytes(renamed.read_bytes()[:-100])
    with pytest.raises(IncompleteFileError, match="truncated"):
        wait_until_complete(renamed, timeout_s=0.02, poll_s=0.01)


@pytest.mark.parametrize("kind", ["packed", "tiles"])
def test_the_deep_check_decodes_every_page(write, kind):
    path, _ = write(kind)
    decode_all(path)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        at = file.pages[2].dataoffsets[0]
    data[at : at + 20] = bytes(20)
    path.write_bytes(data)
    check_complete(path, len(data))  # all is there
    with pytest.raises(MovieError, match=rf"{path.name} is damaged: page 3"):
        decode_all(path)


def _xml(path) -> str:
    with tifffile.TiffFile(path) as file:
        return file.pages[0].description
