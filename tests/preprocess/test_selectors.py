"""Rows that would be given the same pixels are refused before the start."""

from __future__ import annotations

import pytest

from idrstream.errors import TableError
from idrstream.formats import BioFormatsReader, CellH5Reader, ImageJReader
from idrstream.preprocess import BasePreprocessor, NoIllumination, Preprocessor, check_selectors
from idrstream.preprocess.channels import ChannelPreprocessor
from idrstream.records import ImageTask

SELECTS = BioFormatsReader("x.jar")
ONE_IMAGE = [CellH5Reader(), ImageJReader("Fiji.app"), BioFormatsReader("x.jar", series=1)]


def task(row, site=1, well=1, frames=(1,), **metadata):
    return ImageTask("P", f"A{well}", well, frames, site, metadata, row)


def check(reader, *tasks):
    one = Preprocessor(reader, NoIllumination())
    for preprocessor in (one, ChannelPreprocessor({"DNA": one, "ER": one})):
        check_selectors(preprocessor, tasks)


@pytest.mark.parametrize("reader", ONE_IMAGE)
def test_two_sites_of_a_file_are_refused_where_the_reader_reads_one_image(reader):
    said = (
        r"plate P well A1 site 1 \(row 1\) and plate P well A1 site 2 \(row 2\) would get the "
        r'same pixels: both name frame 1 of Path a\.nd2, .*reader = "tiff" or "bioformats"'
    )
    with pytest.raises(TableError, match=said):
        check(reader, task(0, Path="a.nd2"), task(1, site=2, Path="a.nd2"))


@pytest.mark.parametrize("column", ["Path", "URL"])
def test_sites_are_told_apart_by_a_reader_that_can_wells_are_not(column):
    place = {column: "https://host/a.nd2"}
    check(SELECTS, task(0, **place), task(1, site=2, **place))
    with pytest.raises(TableError, match=r"well A1 site 1 .* and plate P well A2 site 1"):
        check(SELECTS, task(0, **place), task(1, well=2, **place))


@pytest.mark.parametrize("reader", [SELECTS, *ONE_IMAGE])
def test_what_is_told_apart_is_left_alone(reader):
    check(reader, task(0, Path="1.tif"), task(1, site=2, Path="2.tif"))  # a file each
    check(reader, task(0, Path="1.tif"), task(1, site=2, Path="1.tif", frames=(2,)))
    check(reader, task(0, Path="1.tif"), task(1, Path="1.tif"))  # the same image again
    check(reader, task(0), task(1, site=2), task(2, well=2))  # the locator has their places
    plate = {"URL": "https://host/plate.zarr"}
    check(reader, task(0, **plate), task(1, site=2, **plate), task(2, well=2, **plate))


def test_a_preprocessor_of_ones_own_is_asked_nothing():
    rows = task(0, Path="a.tif"), task(1, site=2, Path="a.tif")
    check_selectors(BasePreprocessor(), rows)
