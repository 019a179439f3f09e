"""A table of anybody's folder of images: on this machine, over HTTP, FTP and in S3."""

from __future__ import annotations

import io
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
from local_servers import ftp, nginx, s3

from idrstream import table_from_files
from idrstream.archive import files_table
from idrstream.cli.main import main
from idrstream.config import DownloadSettings
from idrstream.download.downloader import TransportDownloader
from idrstream.download.transports.local import LocalTransport
from idrstream.errors import ConfigError, DownloadError, TableError
from idrstream.screen import read_table, tasks_from_table

NAMES = [
    f"r{row:02}c{column:02}f{site:02}p01-ch{channel}sk1fk1fl1.tiff"
    for row in (1, 2)
    for column in (1, 2, 3)
    for site in (1, 2)
    for channel in (1, 2)
]
FIELDS = "r{row:02}c{column}f{site}p{z}-ch{channel}*.tiff"
PLATE = "Plate 1 [x]#2"


def content(name: str) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.ones((2, 2), "u1"), description=name, metadata=None)
    return file.getvalue()


@contextmanager
def server(kind, home):
    """Yield the address of a folder of plates on a server, and settings for it."""
    if kind == "local":
        put(home, lambda path, data: write(home / path, data))
        yield str(home), DownloadSettings()
    elif kind == "ftp":
        with ftp(home) as served:
            put(home, served.put)
            yield served.address.rstrip("/"), DownloadSettings()
    elif kind == "s3":
        with s3("plates") as served:
            put(home, served.put)
            yield "s3://plates", DownloadSettings(s3_endpoint=served.address)
    else:
        with nginx(home) as served:
            put(home, served.put)
            yield served.address.rstrip("/"), DownloadSettings()


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def put(home, put_file):
    for name in NAMES:
        put_file(f"screen/{PLATE}/Images/{name}", content(name))
    put_file(f"screen/{PLATE}/Images/odd.tiff", b"x")
    put_file("screen/other/readme.txt", b"x")


@pytest.mark.parametrize("kind", ["local", "http", "ftp", "s3"])
def test_a_folder_is_listed_and_its_files_are_found_again(kind, tmp_path):
    with server(kind, tmp_path / "home") as (address, settings):
        pattern = f"{address}/screen/{{plate}}/Images/{FIELDS}"
        made = files_table(pattern, settings=settings, channels=["DNA=2", "ER=1"])
        folder = f"{address}/screen/{PLATE}"
        if kind in ("http", "ftp"):
            folder = folder.replace(" ", "%20").replace("#", "%23")
        by_preset = files_table(folder, settings=settings, sites=2)
        table = made.table
        assert table["Plate"].unique().tolist() == [PLATE]
        assert table["Well"].tolist() == [
            w for w in ("A1", "A2", "A3", "B1", "B2", "B3") for _ in "12"
        ]
        assert [note for note in made.balance.notes if "odd.tiff" in note]
        assert len(by_preset.table) == 6
        assert by_preset.balance.images.not_chosen == 6
        assert "Opera Phenix" in str(by_preset.balance)
        downloader = TransportDownloader(LocalTransport(tmp_path), None, settings)
        for task in tasks_from_table(table)[5:7]:
            movie = downloader.download(task, tmp_path / f"got{task.row}")
            row, column = "AB".index(task.well[0]) + 1, int(task.well[1:])
            for name, channel in (("DNA", 2), ("ER", 1)):
                want = f"r{row:02}c{column:02}f{task.site:02}p01-ch{channel}sk1fk1fl1.tiff"
                assert movie.channels[name].path.read_bytes() == content(want)
        with pytest.raises(DownloadError, match="there is no"):
            files_table(f"{address}/nowhere/{{well}}.tif", settings=settings)
        with pytest.raises(DownloadError, match=r"no index, and 1 file such as readme\.txt"):
            files_table(f"{address}/screen/other", settings=settings)


def test_planes_and_times_in_files_of_their_own(tmp_path):
    for t in (1, 2):
        for z in (1, 2, 3):
            for c in (1, 2):
                write(tmp_path / "P" / f"x_A01_T{t:04}F001L01A01Z{z:02}C{c:02}.tif", b"x")
    all_planes = files_table(tmp_path / "P").table
    assert all_planes["Path 01"].tolist() == [
        f"{tmp_path}/P/x_A01_T000<1F001L01A01Z01,1F001L01A01Z02,1F001L01A01Z03,"
        "2F001L01A01Z01,2F001L01A01Z02,2F001L01A01Z03>C01.tif"
    ]
    assert all_planes["Planes"].tolist() == ["3"]
    write(tmp_path / "Q" / "x_A01_T0001F001L01A01Z02C01.tif", b"x")
    write(tmp_path / "Q" / "x_A01_T0001F001L01A01Z03C01.tif", b"x")
    one = files_table(tmp_path / "Q", plane=2).table
    assert one["Path"].tolist() == [f"{tmp_path}/Q/x_A01_T0001F001L01A01Z03C01.tif"]
    assert "Planes" not in one
    with pytest.raises(ConfigError, match=r"plane is 3; .* a plate with 2 plane"):
        files_table(tmp_path / "Q", plane=3)


def test_with_an_annotation_and_by_the_command(tmp_path, capsys):
    put(tmp_path, lambda path, data: write(tmp_path / path, data))
    annotation = tmp_path / "wells.csv"
    annotation.write_text(
        f"Plate,Well,Drug\n{PLATE},A01,DMSO\n{PLATE},B03,taxol\n{PLATE},H12,none\n"
    )
    out = tmp_path / "table.tsv"
    pattern = f"{tmp_path}/screen/{{plate}}/Images/{FIELDS}"
    command = ["table", "--files", pattern, "--annotation", str(annotation), "--channel", "DNA=1"]
    assert main([*command, "--out", str(out), "--site", "1"]) == 0
    shown = capsys.readouterr().out
    assert "1 annotated well without an image" in shown
    assert "1 image file does not fit" in shown
    table = read_table(out)
    assert table[["Well", "Site", "Drug"]].to_numpy().tolist() == [
        ["A1", "1", "DMSO"], ["B3", "1", "taxol"],
    ]  # fmt: skip
    assert table["Path"][0].endswith("r01c01f01p01-ch1sk1fk1fl1.tiff")
    for wrong in ([], ["idr0036", "--files", pattern], ["--files", pattern, "--screen", "A"]):
        assert main(["table", *wrong]) == ConfigError.exit_code
    assert main(["table", "--files", str(tmp_path / "nothing")]) == TableError.exit_code
    assert "no pattern with {fields}" in capsys.readouterr().err


def test_load_data_with_its_own_columns(tmp_path):
    path = tmp_path / "load_data.csv"
    path.write_text(
        "Metadata_Plate,Metadata_Well,Metadata_Site,Metadata_Drug,FileName_DNA,PathName_DNA,"
        "FileName_ER,PathName_ER\nP1,A01,1,DMSO,a.tif,/x,b.tif,/x\nP1,A01,2,taxol,c.tif,/x,d.tif,/x\n"
    )
    table = table_from_files(path)
    assert table[["Well", "Site", "Path DNA", "Path ER", "Drug"]].to_numpy().tolist() == [
        ["A1", "1", "/x/a.tif", "/x/b.tif", "DMSO"],
        ["A1", "2", "/x/c.tif", "/x/d.tif", "taxol"],
    ]


def test_the_real_five_channel_field(shared_data):
    folder = shared_data / "cellpainting" / "nyscf"
    table = table_from_files(
        f"{folder}/r{{row:02}}c{{column:02}}f{{site}}p{{z}}-ch{{channel}}*.tiff"
    )
    assert table[["Plate", "Well", "Site"]].to_numpy().tolist() == [["nyscf", "C3", "1"]]
    assert [table[f"Path {n}"][0] for n in range(1, 6)] == [
        f"{folder}/r03c03f01p01-ch{n}sk1fk1fl1.tiff" for n in range(1, 6)
    ]
    (task,) = tasks_from_table(table)
    assert task.well == "C3"


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (b"<html>nothing</html>", "does not list its folders"),
        (b'<a href="../">up</a><a href="/etc/">x</a><a href="//other/A01.tif">x</a>', "0 file"),
        (b'<a href="a%2F..%2F..%2FA01_s1.tif">x</a><a href="?C=N">N</a>', "0 file"),
    ],
)
def test_pages_that_lead_elsewhere(page, message, tmp_path):
    with nginx(tmp_path) as served:
        served.put("plate/index.html", page)
        with pytest.raises(DownloadError, match=message):
            files_table(f"{served.address}plate")


def test_an_address_of_another_kind():
    with pytest.raises(ConfigError, match="cannot be listed"):
        files_table("gopher://host/{well}.tif")


def test_a_field_that_lacks_something_is_left_out_and_named(tmp_path):
    for well in ("A01", "A02", "A03"):
        for z in (1, 2):
            for c in (1, 2):
                write(tmp_path / f"x_{well}_T0001F001L01A01Z{z:02}C{c:02}.tif", b"x")
    (tmp_path / "x_A02_T0001F001L01A01Z02C02.tif").unlink()
    write(tmp_path / "x_A02_T0002F001L01A01Z01C02.tif", b"x")  # two times and planes, not four
    for z in (1, 2):
        (tmp_path / f"x_A03_T0001F001L01A01Z{z:02}C01.tif").unlink()
    made = files_table(tmp_path, channels=["DNA=01", "ER=02"])
    assert made.table["Well"].tolist() == ["A1"]
    (note,) = (note for note in made.balance.notes if "left out" in note)
    assert "2 fields left out, for lack of" in note
    assert "A2 field 1" in note
    assert "A3 field 1 (there is no channel '01'; there are 02)" in note
    with pytest.raises(TableError, match="there is no channel 'DAPI'; there are 01, 02"):
        files_table(tmp_path, channels="DAPI")
    assert files_table(tmp_path, plane=2, channels="02").table["Well"].tolist() == ["A1", "A3"]
    every = files_table(tmp_path, plane=2).table.set_index("Well")  # a channel keeps its column
    assert every.loc["A2", ["Path", "Path 02"]].tolist() == ["", ""]
    assert every.loc["A2", "Path 01"].endswith("x_A02_T0001F001L01A01Z02C01.tif")
