"""TIFF without Java: what tells its axes, several files, and files that are not to be trusted."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tiff_files import ome_xml, write_ome_set

from idrstream.errors import FrameError, MovieError
from idrstream.formats import BioFormatsReader, TiffReader, make_reader

SHAPE = (24, 32)


@pytest.fixture
def pixels(noise):
    """Pixels of the shape (c, t, z, y, x)."""
    return noise(2, 3, 2, *SHAPE, dtype="uint16")


def refusal(path, **selection) -> str:
    with pytest.raises(MovieError) as error:
        TiffReader(**selection).info(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd"])
@pytest.mark.parametrize(
    "options", [{}, {"tile": (16, 16)}, {"bigtiff": True}, {"byteorder": ">"}, {"rowsperstrip": 5}]
)
def test_pages_are_frames_where_nothing_names_the_axes(tmp_path, pixels, compression, options):
    path = tmp_path / "a.tif"
    movie = pixels[0, :, 0]
    predictor = True if compression in ("zlib", "lzw", "zstd") else None
    tifffile.imwrite(
        path, movie, photometric="minisblack", compression=compression, predictor=predictor,
        metadata=None, **options,
    )  # fmt: skip
    reader = make_reader()
    info = reader.info(path)
    assert (info.n_frames, info.shape, info.dtype) == (3, SHAPE, "uint16")
    for number, frame in reader.read(path, [3, 1]).items():
        np.testing.assert_array_equal(frame, movie[number - 1])
        assert frame.dtype == np.dtype("uint16")


@pytest.mark.parametrize("contiguous", [False, True])
def test_imagej_names_channels_planes_and_frames(tmp_path, pixels, contiguous):
    path = tmp_path / "a.tif"
    stack = pixels.transpose(1, 2, 0, 3, 4)
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TZCYX"})
    if contiguous:  # ImageJ has one directory for stacks of more than 4 GB
        _cut_chain(path)
    reader = TiffReader(channel=1, z=0)
    assert reader.info(path).n_frames == 3
    np.testing.assert_array_equal(reader.read(path, [2])[2], pixels[1, 1, 0])
    best = TiffReader(projection="max").read(path, [3])[3]
    np.testing.assert_array_equal(best, pixels[0, 2].max(axis=0))
    assert "has 2 z-planes" in refusal(path)


def test_ome_names_its_channels(tmp_path, pixels):
    path = tmp_path / "a.ome.tif"
    names = ["DNA", "ER"]
    tifffile.imwrite(path, pixels, metadata={"axes": "CTZYX", "Channel": {"Name": names}})
    assert TiffReader(z=0).info(path).channels == ("DNA", "ER")


@pytest.mark.parametrize("order", ["XYZCT", "XYCZT", "XYTZC"])
def test_every_order_of_the_planes(tmp_path, pixels, order):
    axes = order[:1:-1]
    planes = pixels.transpose(*("CTZ".index(axis) for axis in axes), 3, 4)
    path = tmp_path / "a.ome.tif"
    xml = ome_xml(pixels.shape, order=order, blocks="<TiffData/>")
    tifffile.imwrite(path, planes, description=xml, metadata=None, photometric="minisblack")
    for channel, z in ((0, 1), (1, 0)):
        frame = TiffReader(channel=channel, z=z).read(path, [3])[3]
        np.testing.assert_array_equal(frame, pixels[channel, 2, z])


def test_the_planes_of_one_image_in_many_files(tmp_path, pixels):
    files = write_ome_set(tmp_path, pixels)
    assert len(files) == 4
    for path in files:  # each names all
        for channel, z in ((0, 0), (1, 1)):
            reader = TiffReader(channel=channel, z=z)
            assert reader.info(path).n_frames == 3
            frames = reader.read(path, [1, 3])
            for number, frame in frames.items():
                np.testing.assert_array_equal(frame, pixels[channel, number - 1, z])
    # Downloaded alone, under a name with something in front.
    alone = tmp_path / "alone" / f"00001_01_{files[3].name}"
    alone.parent.mkdir()
    files[3].rename(alone)
    frame = TiffReader().at(alone=True).read(alone, [2])[2]
    np.testing.assert_array_equal(frame, pixels[1, 1, 1])
    found = TiffReader(channel=0, z=0).read(alone, [2])[2]
    assert isinstance(found, FrameError)
    assert "c0_z0.ome.tif' that its metadata name is not beside it" in str(found)
    assert isinstance(TiffReader(channel=1, z=1).read(files[0], [2])[2], FrameError)


def test_wells_in_files_of_their_own_are_told_apart(tmp_path, noise):
    """Each file has the metadata of the whole plate, and the pixels of one well."""
    wells = [noise(1, 1, 1, *SHAPE, seed=seed, dtype="uint16") for seed in range(3)]
    names = [f"w{number}.ome.tif" for number in range(3)]
    blocks = [
        f'<TiffData IFD="0"><UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
        for name in names
    ]
    for number, name in enumerate(names):
        xml = ome_xml(wells[0].shape, uuid=f"urn:uuid:{name}", images=blocks)
        tifffile.imwrite(tmp_path / name, wells[number][0, 0, 0], description=xml, metadata=None)
    for site in (1, 2):
        found = TiffReader().at(site=site).read(tmp_path / names[1], [1])[1]
        np.testing.assert_array_equal(found, wells[1][0, 0, 0])


@pytest.mark.parametrize("name", ["../b.tif", "/etc/hosts", "link.tif", "sub/../../b.tif", "pipe"])
def test_no_file_outside_is_opened(tmp_path, noise, name):
    import os

    plane = noise(1, 1, 1, *SHAPE, dtype="uint16")[0, 0, 0]
    folder = tmp_path / "a"
    folder.mkdir()
    tifffile.imwrite(tmp_path / "b.tif", plane + 1)
    (folder / "link.tif").symlink_to(tmp_path / "b.tif")
    os.mkfifo(folder / "pipe")
    blocks = "".join(
        f'<TiffData FirstC="{c}" PlaneCount="1"><UUID FileName="{file}">{uuid}</UUID></TiffData>'
        for c, file, uuid in ((0, "a.ome.tif", "urn:uuid:a"), (1, name, "urn:uuid:b"))
    )
    xml = ome_xml((2, 1, 1, *SHAPE), uuid="urn:uuid:a", blocks=blocks)
    tifffile.imwrite(folder / "a.ome.tif", plane, description=xml, metadata=None)
    np.testing.assert_array_equal(TiffReader().read(folder / "a.ome.tif", [1])[1], plane)
    found = TiffReader(channel=1).read(folder / "a.ome.tif", [1])[1]
    assert isinstance(found, FrameError)


def test_what_is_not_read_says_so(tmp_path):
    path = tmp_path / "a.tif"
    colour = np.full((*SHAPE, 3), 7, np.uint8)
    for image, options, message in (
        (colour, {"photometric": "rgb"}, "colour"),
        (
            np.ones(SHAPE, "float32"),
            {},
            "float32 pixels; only uint8",
        ),
        (colour[..., 0], {"compression": "jpeg"}, 'compression 7 .*reader = "bioformats"'),
        (colour[..., 0], {"photometric": "miniswhite"}, "photometric interpretation 0"),
    ):
        tifffile.imwrite(path, image, metadata=None, **options)
        with pytest.raises(MovieError, match=message):
            TiffReader().info(path)
    pages = [np.ones(SHAPE, np.uint8), np.ones((9, 9), np.uint8)]
    with tifffile.TiffWriter(path) as file:
        for page in pages:
            file.write(page, metadata=None)
    frames = TiffReader().read(path, [1, 2])
    assert (frames[1] == 1).all()
    assert "its page has (9, 9) pixels" in str(frames[2])


XML = ome_xml((1, 1, 1, *SHAPE), blocks="<TiffData/>")
HOSTILE = {
    "entities": ('<!DOCTYPE x [<!ENTITY a "aaaa">]>' + XML, "document type"),
    "no xml": (XML.replace("</OME>", "</OME><OME>"), "cannot be understood"),
    "order": (XML.replace("XYZCT", "QQ"), "DimensionOrder"),
    "negative": (XML.replace("<TiffData/>", '<TiffData IFD="-4"/>'), "counts from -4"),
    "no size": (XML.replace('SizeT="1"', 'SizeT="0"'), "SizeT is 0"),
    "text": (XML.replace('SizeT="1"', 'SizeT="many"'), "cannot be understood"),
    "planes": (XML.replace('SizeT="1"', 'SizeT="999999999"'), "999,999,999 planes"),
    "pixels": (XML.replace('SizeX="32"', 'SizeX="99999999"'), "24 x 99,999,999 pixels"),
    "pages": (XML.replace("<TiffData/>", '<TiffData IFD="7"/>'), "has 1 of 8 pages"),
    "blocks": (
        XML.replace('SizeT="1"', 'SizeT="60000"').replace("<TiffData/>", "<TiffData/>" * 99),
        "more than 1,048,576 planes",
    ),
    "none": (XML.replace("<TiffData/>", ""), "other files only"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_metadata_that_lie(tmp_path, kind):
    path = tmp_path / "a.ome.tif"
    description, message = HOSTILE[kind]
    tifffile.imwrite(path, np.ones(SHAPE, np.uint16), description=description, metadata=None)
    assert message in refusal(path)


def test_a_lie_about_the_size_is_no_larger_image(tmp_path):
    path = tmp_path / "a.ome.tif"
    xml = XML.replace('SizeX="32"', 'SizeX="64"')
    tifffile.imwrite(path, np.ones(SHAPE, np.uint16), description=xml, metadata=None)
    found = TiffReader().read(path, [1])[1]
    assert "its page has (24, 32) pixels of uint16, not (24, 64)" in str(found)


def test_a_chain_that_is_a_loop_ends(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((3, *SHAPE), np.uint16), photometric="minisblack")
    data = bytearray(path.read_bytes())
    _, last = _directories(data)[-2:]
    struct.pack_into("<I", data, last[1], _directories(data)[0][0])
    path.write_bytes(data)
    assert "has a loop" in refusal(path)


def test_a_page_that_unpacks_to_more_than_it_states(tmp_path):
    """A strip of some kilobytes that would be 64 MB is read as far as its page is large."""
    import tracemalloc
    import zlib

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones(SHAPE, np.uint8), compression="zlib", metadata=None)
    bomb = zlib.compress(bytes([1]) * 2**26, 9)
    data = bytearray(path.read_bytes())
    (at, _) = _directories(data)[0]
    start = len(data)
    for number in range(struct.unpack_from("<H", data, at)[0]):
        entry = at + 2 + 12 * number
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in (273, 279):
            struct.pack_into("<HII", data, entry + 2, 4, 1, start if tag == 273 else len(bomb))
    path.write_bytes(bytes(data) + bomb)
    tracemalloc.start()
    TiffReader().read(path, [1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.java
def test_bio_formats_sees_the_same(tmp_path, bioformats_jar, pixels):
    whole, plain = tmp_path / "whole.ome.tif", tmp_path / "plain.tif"
    tifffile.imwrite(whole, pixels, metadata={"axes": "CTZYX"}, compression="zlib")
    tifffile.imwrite(plain, pixels.transpose(1, 2, 0, 3, 4), imagej=True)
    files = [whole, plain, write_ome_set(tmp_path, pixels)[2]]
    with BioFormatsReader(bioformats_jar, channel=1, projection="mean") as java:
        ours = TiffReader(channel=1, projection="mean")
        for path in files:
            assert java.info(path).n_frames == ours.info(path).n_frames == 3
            theirs = java.read(path, [1, 2, 3, 4])
            for number, frame in ours.read(path, [1, 2, 3, 4]).items():
                if number == 4:
                    assert str(frame) == str(theirs[number])
                else:
                    np.testing.assert_array_equal(frame, theirs[number])


def _directories(data: bytes) -> list[tuple[int, int]]:
    """Return where each directory of a little-endian file is, and where it names the next."""
    found, at = [], struct.unpack_from("<I", data, 4)[0]
    while at and at not in [known for known, _ in found]:
        pointer = at + 2 + 12 * struct.unpack_from("<H", data, at)[0]
        found.append((at, pointer))
        at = struct.unpack_from("<I", data, pointer)[0]
    return found


def _cut_chain(path: Path) -> None:
    """Let the chain of directories end after the first."""
    data = bytearray(path.read_bytes())
    order = "<" if data[:2] == b"II" else ">"
    at = struct.unpack_from(f"{order}I", data, 4)[0]
    pointer = at + 2 + 12 * struct.unpack_from(f"{order}H", data, at)[0]
    struct.pack_into(f"{order}I", data, pointer, 0)
    path.write_bytes(data)
