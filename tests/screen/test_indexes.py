"""The index files of microscopes: what they say of real plates, and hostile ones."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from plates import CHANNELS, WRITERS, Key, keys, number_of

from idrstream.archive.plates import place_of
from idrstream.errors import DownloadError
from idrstream.screen.indexes import index_kind, index_names, read_index
from idrstream.screen.indexes.records import relative_path
from idrstream.screen.indexes.xml import elements

XML = [kind for kind in WRITERS if kind != "MetaXpress"]


@pytest.fixture(params=WRITERS)
def plate(request, tmp_path) -> tuple[str, Path]:
    """Return the kind of a plate and its index."""
    return request.param, tmp_path / WRITERS[request.param](tmp_path)


def test_every_image_is_in_its_own_file(plate):
    kind, path = plate
    opened = place_of(str(path))
    index = opened.index
    assert index_kind(str(path)) == kind
    assert index.channels == CHANNELS
    assert index.columns == 12
    said = {}
    for file in index.files:
        pixels = tifffile.imread(Path(opened.folder) / file.path, key=file.page)
        said[Key(*file[:5])] = pixels[0, 0]
        assert file.time == 0
    assert said == {key: number_of(key) for key in keys()}


def test_the_folder_of_a_plate_is_enough(plate, tmp_path):
    _, path = plate
    assert place_of(str(tmp_path)) == place_of(str(path))


def test_an_index_that_is_cut_or_empty_ends_in_a_sentence(plate):
    kind, path = plate
    whole = path.read_bytes()
    for size in (0, len(whole) // 4, len(whole) // 2, len(whole) - 8):
        path.write_bytes(whole[:size])
        if kind == "MetaXpress" and size > len(whole) // 2:
            continue  # its last lines say nothing about wells
        with pytest.raises(DownloadError, match=f"the {kind} index .* cannot be used: "):
            place_of(str(path))


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    '<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
)


@pytest.mark.parametrize("kind", XML)
@pytest.mark.parametrize(
    "head",
    [BOMB, '<!DOCTYPE x SYSTEM "file:///etc/passwd">', '<!DOCTYPE x SYSTEM "http://host/x.dtd">'],
    ids=["bomb", "file", "web"],
)
def test_entities_and_document_types_are_refused(kind, head, tmp_path):
    path = tmp_path / WRITERS[kind](tmp_path)
    text = path.read_bytes().decode("latin-1").lstrip("ï»¿")
    text = text.partition("?>")[2] if text.startswith("<?") else text
    path.write_bytes(f"{head}{text}".encode("latin-1"))
    with pytest.raises(DownloadError, match="declares a document type or entities"):
        place_of(str(path))


@pytest.mark.parametrize("kind", ["Harmony", "Columbus", "IN Cell", "CellVoyager", "companion OME"])
@pytest.mark.parametrize(
    "name", ["../../secret.tif", "/etc/passwd", "C:\\x.tif", "a/../../b.tif", "a\tb.tif", "~/x"]
)
def test_files_outside_the_folder_are_refused(kind, name, tmp_path):
    index = tmp_path / WRITERS[kind](tmp_path)
    listing = {
        "Columbus": tmp_path / "ImageIndex.ColumbusIDX.xml",
        "CellVoyager": tmp_path / "MeasurementData.mlf",
    }.get(kind, index)
    text = listing.read_text()
    first = min(re.findall(r"[^<>\"]+?\.tiff?(?=[<\"])", text))
    listing.write_text(text.replace(first, name.replace("\t", "&#9;")))
    with pytest.raises(DownloadError, match=r"names the file .*(is no path|leads out|or is none)"):
        place_of(str(index))


@pytest.mark.parametrize(
    ("kind", "old", "new", "message"),
    [
        ("Harmony", "<Row>2</Row>", "<Row>0</Row>", "Row is '0', not a whole number of at least 1"),
        ("Harmony", "<Row>2</Row>", "<Row>999</Row>", "place of .* on the plate cannot be"),
        ("Harmony", "<ChannelID>1<", "<ChannelID>x<", "ChannelID is 'x'"),
        ("Harmony", "URL>", "Url>", "names no image"),
        ("Columbus", "ImageIndex.C", "Missing.C", "names Missing.ColumbusIDX.xml, which is not"),
        ("CellVoyager", 'Columns="12"', 'Columns="0"', "Columns is '0'"),
        ("IN Cell", 'wave_index="1"', 'wave_index="-1"', "wave_index is '-1'"),
        ("IN Cell", "<Row ", "<Rom ", "has no well or place"),
        ("MetaXpress", "WellsSelection2", "Wells2", 'it has no "WellsSelection2"'),
        ("MetaXpress", '"XWells", 12', '"XWells", 12000000', "cannot be"),
        ("MetaXpress", '"XWells", 12', '"XWells", x', "XWells is 'x'"),
        ("companion OME", 'SizeZ="2"', 'SizeZ="1"', "planes beyond the size of its image"),
        ("companion OME", 'PlaneCount="1"', 'PlaneCount="999999999"', "beyond the size"),
        ("companion OME", "FileName", "Name", "does not say which file"),
        ("companion OME", "<Well ", "<Hole ", "XML|no wells"),
    ],
)  # fmt: skip
def test_an_index_that_lies_ends_in_a_sentence(kind, old, new, message, tmp_path):
    path = tmp_path / WRITERS[kind](tmp_path)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(DownloadError, match=message):
        place_of(str(path))


def test_images_that_are_not_there_are_said(tmp_path):
    index = tmp_path / WRITERS["MetaXpress"](tmp_path)
    next((tmp_path / "TimePoint_1" / "ZStep_2").glob("*A02_s1_w2*")).unlink()
    (tmp_path / "TimePoint_1" / "ZStep_1" / "P1_H12_s1_w1.TIF").write_bytes(b"x")
    assert place_of(str(index)).index.notes == (
        "1 file of wells that were not chosen",
        "1 image that it promises has no file",
    )
    voyager = tmp_path / "v"
    index = voyager / WRITERS["CellVoyager"](voyager)
    assert place_of(str(index)).index.notes == ("1 image not taken",)
    (voyager / "MeasurementData.mlf").unlink()
    with pytest.raises(DownloadError, match=r"MeasurementData\.mlf, which lists its images"):
        place_of(str(index))
    scan = tmp_path / "s"
    index = scan / WRITERS["ScanR"](scan)
    for file in (scan / "data").iterdir():
        file.unlink()
    with pytest.raises(DownloadError, match="no file in its folder data"):
        place_of(str(index))


def test_harmony_with_names_in_a_map_times_and_images_not_taken():
    images = "".join(
        f"<Image Version='1'><URL>{'' if t == 9 else f't{t}.tiff'}</URL><Row>1</Row><Col>24</Col>"
        f"<FieldID>7</FieldID><PlaneID>1</PlaneID><TimepointID>{t}</TimepointID>"
        f"<ChannelID>3</ChannelID></Image>"
        for t in (0, 4, 9)
    )
    text = (
        "<x><PlateColumns>24</PlateColumns><Maps><Map><Entry ChannelID='3'><FlatfieldProfile>p"
        "</FlatfieldProfile></Entry></Map><Map><Entry ChannelID='3'><ChannelName>DNA</ChannelName>"
        f"</Entry></Map></Maps><Images>{images}</Images></x>"
    )
    index = read_index("Index.xml", text.encode())
    assert [(file.field, file.time, file.path) for file in index.files] == [
        (7, 0, "t0.tiff"), (7, 1, "t4.tiff"),
    ]  # fmt: skip
    assert index.channels == ("DNA",)
    assert index.notes == ("1 image not taken",)


def test_a_companion_whose_images_are_whole_files():
    text = (
        "<OME><Plate Columns='2'><Well Row='0' Column='1'><WellSample><ImageRef ID='I'/>"
        "</WellSample></Well></Plate><Image ID='I'><Pixels DimensionOrder='XYCZT' SizeC='2' "
        "SizeZ='2' SizeT='1'><Channel Name='a'/><Channel/><TiffData><UUID FileName='w.tif'/>"
        "</TiffData></Pixels></Image></OME>"
    )
    index = read_index("x.companion.ome", text.encode())
    assert [(file.channel, file.z, file.page, file.path) for file in index.files] == [
        (0, 0, 0, "w.tif"), (0, 1, 2, "w.tif"), (1, 0, 1, "w.tif"), (1, 1, 3, "w.tif"),
    ]  # fmt: skip
    assert index.channels == ("a", "C1")


def test_which_index_of_a_folder():
    names = ["Index.idx.xml", "b.HTD", "x.xml", "ImageIndex.ColumbusIDX.xml", "a.tif",
             "MeasurementIndex.ColumbusIDX.xml"]  # fmt: skip
    assert index_names(names)[0] == "MeasurementIndex.ColumbusIDX.xml"
    assert "x.xml" not in index_names(names)


def test_deep_and_endless_xml():
    with pytest.raises(ValueError, match="nested too deeply"):
        list(elements(b"<a>" * 100_000, {"b"}))
    wide = b"<x><b>" + b"<c/>" * 20_000 + b"</b></x>"
    with pytest.raises(ValueError, match="more than 10,000 others"):
        list(elements(wide, {"b"}))
    inner, outer = elements(b"<x xmlns:p='u'><b><p:b p:c='1'/></b></x>", {"b"})
    assert (inner.get("c"), len(outer)) == ("1", 1)


@pytest.mark.parametrize("text", ["a/b.tif", ".\\a\\b.tif", " a/./b.tif "])
def test_paths_of_other_systems(text):
    assert relative_path(text) == "a/b.tif"


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """Return a file with some bytes changed, a part doubled, left out or moved."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 4))):
        a, b = sorted(int(n) for n in random.integers(0, len(data), 2))
        b = min(b, a + 200)
        match random.integers(5):
            case 0:
                data[a:b] = bytes(random.integers(0, 256, b - a, dtype=np.uint8))
            case 1:
                data[a:a] = data[a:b] * 3
            case 2:
                del data[a:b]
            case 3:
                digits = [n for n in range(len(data)) if 48 <= data[n] <= 57]
                data[digits[a % len(digits)]] = ord(str(random.integers(10)))
            case _:
                data[a:a] = b"9" * 40
    return bytes(data)


def test_files_changed_in_any_way_end_in_a_sentence(plate):
    kind, path = plate
    beside = {"Columbus": "ImageIndex.ColumbusIDX.xml", "CellVoyager": "MeasurementData.mlf"}
    target = path.parent / beside.get(kind, path.name)
    whole = target.read_bytes()
    random = np.random.default_rng(len(kind))
    for _ in range(60):
        target.write_bytes(mutated(whole, random))
        with suppress(DownloadError):
            assert place_of(str(path)).index.files
