from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idrstream.download import Locator
from idrstream.errors import ConfigError, DownloadError, TableError
from idrstream.records import ImageTask
from idrstream.screen.study.archive_paths import check_name
from idrstream.screen.study.idr0013 import Idr0013Locator, PlateScreens, movie_name

SCREEN = "LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3"


def task(plate="LT0001_02", well_number=4, site=1) -> ImageTask:
    return ImageTask(plate, "A4", well_number, (1,), site=site)


def test_screen_a(plates):
    locator = Idr0013Locator(PlateScreens.read(plates))
    assert isinstance(locator, Locator)
    folder = f"20150916-mitocheck-analysis/mitocheck/{SCREEN}/hdf5"
    assert locator.movie_path(task()) == f"{folder}/00004_01.ch5"
    assert locator.movie_path(task(well_number=384, site=12)) == f"{folder}/00384_12.ch5"


def test_screen_b_has_one_more_folder(plates):
    other = plates.rename(plates.with_name("idr0013-screenB-plates.tsv"))
    screens = PlateScreens.read(other)
    path = f"20150916-mitocheck-analysis/analysis/mitocheck/{SCREEN}/hdf5/00004_01.ch5"
    assert Idr0013Locator(screens).movie_path(task()) == path
    assert "analysis/mitocheck" not in Idr0013Locator(screens, screen="A").movie_path(task()).split(
        "20150916-mitocheck-analysis/"
    )[1].replace("mitocheck/", "", 1)
    with pytest.raises(ConfigError, match="'A' or 'B'"):
        Idr0013Locator(screens, screen="C")


def test_real_plates_file(shared_data):
    screens = PlateScreens.read(shared_data / "idr" / "idr0013-screenA-plates.tsv")
    assert len(screens.screens) == 510
    text = (shared_data / "idr" / f"{SCREEN}.screen").read_text()
    stated = [line.split(" = ")[1] for line in text.splitlines() if line.startswith("Field_0")]
    locator = Idr0013Locator(screens)
    prefix = "/uod/idr/filesets/idr0013-neumann-mitocheck/"
    located = {prefix + locator.movie_path(task(well_number=n)) for n in range(1, 385)}
    assert set(stated) <= located
    assert len(stated) > 300


def test_real_table_to_process_is_all_in_the_plates_file(shared_data):
    import pandas as pd

    screens = PlateScreens.read(shared_data / "idr" / "idr0013-screenA-plates.tsv")
    table = pd.read_csv(shared_data / "idr" / "data_to_process.tsv", sep="\t")
    assert set(table["Plate"]) <= set(screens.screens)


def test_unknown_plate_names_plate_and_file(plates):
    with pytest.raises(DownloadError, match=rf"plate LT9999_01 is not in .*{plates.name}"):
        Idr0013Locator(PlateScreens.read(plates)).movie_path(task("LT9999_01"))


@pytest.mark.parametrize("bad", [{"well_number": 0}, {"well_number": 385}, {"site": 0}])
def test_wells_and_sites_that_no_plate_has(bad):
    with pytest.raises(DownloadError, match="outside 1 to"):
        movie_name(task(**bad))


@given(st.integers(1, 384), st.integers(1, 99))
def test_movie_names_are_unique_and_of_one_form(well, site):
    number, _, rest = movie_name(task(well_number=well, site=site)).partition("_")
    assert (len(number), int(number)) == (5, well)
    assert (len(rest), int(rest[:2]), rest[2:]) == (6, site, ".ch5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "P1\t../screens/P1--a.screen\nP1\t../screens/P1--b.screen\n",
            "line 2: the plate name 'P1' is already in an earlier line",
        ),
        ("P1\t../screens/P1.pattern\n", "line 1, column 2: '../screens/P1.pattern' is not"),
        ("P1\t../../etc/P1.screen\n", "line 1, column 2: .* is not"),
        ("P1\t../screens/...screen\n", "screen name '..' points"),
        ("P1\t-rf.screen\n", "screen name '-rf' begins with '-'"),
        ("\n\nP/1\tx.screen\n", "line 3: the plate name 'P/1' has a path separator"),
        ("..\tx.screen\n", "points to another folder"),
        ("P\x011\tx.screen\n", "control character"),
        ("\n", "has no plates"),
    ],
)
def test_bad_plates_files(tmp_path, text, message):
    path = tmp_path / "plates.tsv"
    path.write_text(text)
    with pytest.raises(TableError, match=message) as caught:
        PlateScreens.read(path)
    assert str(path) in str(caught.value)


def test_unreadable_plates_files(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        PlateScreens.read(tmp_path / "none.tsv")
    (tmp_path / "binary.tsv").write_bytes(b"P\xff\xfe\t\x80.screen")
    with pytest.raises(TableError, match="UTF-8"):
        PlateScreens.read(tmp_path / "binary.tsv")


def test_windows_line_ends_and_byte_order_marks(tmp_path):
    path = tmp_path / "plates.tsv"
    path.write_bytes("\ufeffP1\t../screens/P1--x.screen\r\nP2\tP2.screen\r\n".encode())
    assert PlateScreens.read(path).screens == {"P1": "P1--x", "P2": "P2"}


@given(st.text(min_size=1, max_size=12))
def test_names_that_pass_stay_in_their_folder(name):
    if check_name(name) is None:
        from pathlib import PurePosixPath

        assert PurePosixPath("/root", name).parts == ("/", "root", name)
        assert not name.startswith("-")


@given(st.text(string.ascii_letters + string.digits + "_-. ", min_size=1, max_size=20))
def test_ordinary_names_pass(name):
    name = f"P{name}x".replace("..", "_")
    assert check_name(name) is None
