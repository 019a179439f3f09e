"""What names of files say: patterns, presets, CellProfiler's LoadData."""

from __future__ import annotations

from pathlib import Path

import pytest

from idrstream.errors import ConfigError, TableError
from idrstream.screen.channels import number_of_channel
from idrstream.screen.names import PRESETS, name_pattern, plates_of_names, preset_of
from idrstream.screen.names.load_data import read_load_data
from idrstream.screen.table import read_cells


def images(text, *paths):
    pattern = name_pattern(text)
    found = plates_of_names(paths, pattern.path, "P")
    return {
        plate: [(file[:6], file.path, index.channels[file.channel]) for file in index.files]
        for plate, index in found.plates.items()
    }, found.left


def test_readable_fields():
    found, left = images(
        "/d/{plate}/r{row:02}c{column:02}f{site}p{z}-ch{channel}*.tiff",
        "A/r01c02f10p02-ch3sk1fk1fl1.tiff",
        "A/r01c02f10p01-ch3sk1fk1fl1.tiff",
        "B/r16c24f01p01-ch10sk1.tiff",
        "B/r16c24f01p01-ch9sk1.tiff",
        "B/r116c24f01p01-ch9sk1.tiff",
        "B/Index.idx.xml",
    )
    assert found == {
        "A": [
            ((0, 1, 10, 0, 0, 0), "A/r01c02f10p01-ch3sk1fk1fl1.tiff", "3"),
            ((0, 1, 10, 0, 1, 0), "A/r01c02f10p02-ch3sk1fk1fl1.tiff", "3"),
        ],
        "B": [  # channels in the order of their numbers
            ((15, 23, 1, 0, 0, 0), "B/r16c24f01p01-ch9sk1.tiff", "9"),
            ((15, 23, 1, 1, 0, 0), "B/r16c24f01p01-ch10sk1.tiff", "10"),
        ],
    }
    assert left == ("B/r116c24f01p01-ch9sk1.tiff",)


@pytest.mark.parametrize(
    ("text", "path", "place"),
    [
        ("{well}_s{site}_w{channel}.tif", "B - 03_s2_wDAPI.tif", (1, 2, 2)),
        ("x/{row}{col}.tif", "AF7.tif", (31, 6, 1)),
        ("(?P<well>[A-P]\\d\\d)f(?P<field>\\d)d(?P<channel>\\d)\\.tif", "P24f3d1.tif", (15, 23, 3)),
        ("a/**/{well}?.tif", "b/c/H12x.tif", (7, 11, 1)),
        ("a/**/{well}?.tif", "H12x.tif", (7, 11, 1)),
        ("{well}/{well}_{site}.tif", "A1/A1_0.tif", (0, 0, 1)),
        ("Meas [1]/{well}+.tif", "C1+.tif", (2, 0, 1)),
    ],
)
def test_other_patterns(text, path, place):
    found, _ = images(text, path)
    ((file, _, _),) = found["P"]
    assert file[:3] == place


def test_a_field_that_comes_twice_is_the_same():
    assert images("{well}/{well}_{site}.tif", "A1/A2_1.tif") == ({}, ("A1/A2_1.tif",))


def test_the_folder_in_front():
    here = str(Path.cwd())
    for text, root in (
        ("/data/v1.2 [x]/{plate}/{well}.tif", "/data/v1.2 [x]"),
        ("/{well}.tif", "/"),
        ("{well}.tif", here),
        ("a/{well}.tif", f"{here}/a"),
        ("https://host/a/b/{well}.tif", "https://host/a/b"),
        ("s3://bucket/{well}.tif", "s3://bucket"),
        ("/data/v1.2/x(?P<well>A1)/(?P<site>1)", "/data/v1.2"),
    ):
        assert name_pattern(text).root == root
    assert name_pattern("~/a/{well}.tif").root == str(Path("~/a").expanduser())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/{site}.tif", "does not say which part is the well"),
        ("a/{row}.tif", "does not say which part is the well"),
        ("a/{well}_{colour}.tif", r"no field 'colour'; there are plate, well"),
        ("a/{well}_{}.tif", "no field ''"),
        ("a/{well}_{site.tif", "brace without its partner"),
        ("a/b.tif", "has no fields"),
        ("(?P<well>[A-", "is no regular expression"),
        ("(?P<hole>.*)", "no field 'hole'"),
    ],
)
def test_wrong_patterns(text, message):
    with pytest.raises(ConfigError, match=message):
        name_pattern(text)


def test_a_well_that_cannot_be():
    with pytest.raises(ValueError, match=r"r00c01\.tif: \('00', '01'\) is no well"):
        images("r{row}c{column}.tif", "r00c01.tif")
    with pytest.raises(ValueError, match="cannot be"):
        images("r{row}c{column}.tif", "r99c01.tif")


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_presets_know_their_own_names(preset):
    assert preset_of([f"folder/{preset.example}", "readme.txt"]) is preset
    ((name, index),) = plates_of_names([preset.example], preset.path, "P").plates.items()
    assert name == "P"
    assert index.files[0][:2] == (0, 0)


def test_image_express_with_planes_times_and_thumbnails():
    guid = "0E8C5A1F-0B5D-4D5F-9C3E-1234567890AB"
    paths = [
        f"TimePoint_{t}/ZStep_{z}/x_B03_s2_w{w}{tail}{guid if z == 1 else ''}.tif"
        for t in (1, 2)
        for z in (1, 2)
        for w in (1, 2)
        for tail in ("", "_thumb")
    ]
    preset = preset_of(paths)
    assert preset.name == "ImageXpress"
    found = plates_of_names(paths, preset.path, "P")
    files = found.plates["P"].files
    assert len({file[:6] for file in files}) == len(files) == 8
    assert {file[:3] for file in files} == {(1, 2, 2)}
    assert not any("thumb" in file.path for file in files)
    assert found.left == ()


def load(tmp_path, text):
    path = tmp_path / "load_data.csv"
    path.write_text(text)
    return read_load_data(read_cells(path), path)


def test_load_data(tmp_path):
    data = load(
        tmp_path,
        "Metadata_Plate,Metadata_Well,Metadata_Site,Metadata_Drug,FileName_DNA,PathName_DNA,"
        "URL_ER,FileName_IllumDNA,PathName_IllumDNA\n"
        "P1,B03,2,DMSO,a.tif,/data/x/,https://host/b%20c.tif,i.npy,/i\n"
        "P1,B04,1,taxol,c.tif,below,file:///d/e%20f.tif,i.npy,/i\n",
    )
    files = data.plates["P1"].files
    assert data.plates["P1"].channels == ("DNA", "ER")
    assert [(file[:4], file.path) for file in files] == [
        ((1, 2, 2, 0), "/data/x/a.tif"),
        ((1, 2, 2, 1), "https://host/b%20c.tif"),
        ((1, 3, 1, 0), str(tmp_path / "below" / "c.tif")),
        ((1, 3, 1, 1), "/d/e f.tif"),
    ]
    assert data.metadata["P1", (1, 3), 1] == {"Drug": "taxol"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Metadata_Plate,Metadata_Well\nP,A1\n", "no columns such as FileName_DNA"),
        ("Metadata_Plate,FileName_DNA\nP,a.tif\n", "line 2: there is no Metadata_Well"),
        ("Metadata_Well,FileName_DNA\nZZZ,a.tif\n", "line 2: Metadata_Well is 'ZZZ'"),
        ("Metadata_Well,Metadata_Site,FileName_DNA\nA1,x,a.tif\n", "line 2: 'x' is not a whole"),
        ("Metadata_Well,FileName_DNA,PathName_DNA\nA1,a.tif,C:\\x\n", "a folder of Windows"),
        ("Metadata_Well,FileName_DNA\nA1,\n", "names no image"),
    ],
)
def test_wrong_load_data(tmp_path, text, message):
    with pytest.raises(TableError, match=message):
        load(tmp_path, text)


def test_the_name_of_a_channel_comes_before_its_number():
    """``A1_s1_w1.tif`` has one channel, which is called 1 and is the first in its file."""
    assert number_of_channel(("1",), "1") == 0
    assert number_of_channel(("1", "2"), "2") == 1
    assert number_of_channel(("DNA", "ER"), "1") == 1
    assert number_of_channel((), "3") == 3
