"""A screen by its accession, from a real web server in the place of IDR's."""

from __future__ import annotations

import functools
import http.server
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from idrstream import table_from_idr
from idrstream.archive import Sources, find_screen, screen_table
from idrstream.archive.published import Published
from idrstream.cli.main import main
from idrstream.errors import ConfigError, DownloadError, TableError
from idrstream.screen import read_table, tasks_from_table

STUDY = "idr0901-somebody-something"
ROOT = f"/uod/idr/filesets/{STUDY}/2020-ftp"
HEADER = (
    "Study\tContainer\tIntroduced\tInternal ID\tSets\tWells\tExperiments\tTargets\tAcquisitions\t"
    "5D Images\tPlanes\tSize (TB)\tSize\t# of Files\tavg. size (MB)\tAvg. Image Dim (XYZCT)\n"
)
ROUTES = (
    "idrid\timage_id\tdata_location\tis_zarr\tdownload_url\treplace_this\twith_this\tclient_path\t"
    "bia_ngff_id\tbia_url\texternal_info\t\r\n"
)
PUBLIC = "https://ftp.ebi.ac.uk/pub/databases/IDR"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def published(tmp_path) -> Path:
    """IDR's metadata: a study with two screens, and one of experiments."""
    root = tmp_path / "idr"
    line = f"{STUDY}\t%s\tprod1\t1\t2\t192\t1\t1\t2\t8\t40\t0.1\t123456789\t9\t1\t"
    write(
        root / "website" / "studies.tsv",
        HEADER
        + line % "screenA" + "696 x 520 x 1 x 2 x 1\n"
        + line % "screenB" + "\n"
        + "idr0902-other-thing\texperimentA" + "\t" * 14 + "\n",
    )  # fmt: skip
    write(
        root / "website" / "download_urls.tsv",
        ROUTES + f"idr0901\t1\tIDR\tFalse\t{PUBLIC}/{STUDY}\tnfs/drop\t{PUBLIC}\tx\t\t\t\t\r\n",
    )
    study = root / "studies" / STUDY
    write(
        study / "screenA" / "idr0901-screenA-plates.tsv",
        f"P1\t../screens/P1.screen\nP2\t/uod/idr/metadata/{STUDY}/screens/P2.screen\n",
    )
    for name in ("P1", "P2"):
        write(
            study / "screens" / f"{name}.screen",
            f"[Plate]\nName = {name}\nRows = 8\nColumns = 12\nFields = 2\n[Well 0]\nRow = 0\n"
            "Column = 0\nAxisTypes = C\nChannelNames = Hoechst,Mito\n"
            f"Field_0 = {ROOT}/{name}-<1,2>.tif\nField_1 = /nfs/drop/{STUDY}/{name}-<a,b>.tif\n",
        )
    write(
        study / "screenA" / "idr0901-screenA-annotation.csv",
        "Plate,Well,Gene Symbol\nP1,A1,G1\nP2,A1,G2\nP2,A2,G3\n",
    )
    write(study / "screenB" / "idr0901-screenB-plates.tsv", f"Q1\t/nfs/drop/{STUDY}/Q1.HTD\n")
    write(study / "screenC" / "idr0901-screenC-plates.tsv", f"Q1\t{ROOT}/C/Q1.HTD\n")
    return root


class Quiet(http.server.SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def log_message(self, *_):
        self.asked.append(self.path)


@pytest.fixture
def server(published):
    """Return the server's address and the paths that it was asked for."""
    asked: list[str] = []
    handler = type("Handler", (Quiet,), {"asked": asked})
    serving = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(published))
    )
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{serving.server_port}"
    yield address, asked, serving
    serving.shutdown()
    serving.server_close()


def test_a_screen_from_a_web_server(server, tmp_path):
    address, asked, _ = server
    sources = Sources.at(address, tmp_path / "cache")
    found = screen_table("IDR0901", "a", idr_data=sources)
    table = found.study.table
    assert table[["Plate", "Well", "Site", "Gene Symbol"]].agg(" ".join, axis=1).tolist() == [
        "P1 A1 1 G1", "P1 A1 2 G1", "P2 A1 1 G2", "P2 A1 2 G2",
    ]  # fmt: skip
    assert table["Path Mito"][0] == f"{ROOT}/P1-2.tif"
    assert table["Path Mito"][1] == f"/uod/idr/filesets/{STUDY}/P1-b.tif"  # by IDR's own routes
    assert str(found).splitlines() == [
        f"{STUDY} screenA: 2 plates; 192 wells; 8 images; X 696, Y 520, Z 1, C 2, T 1; 123.5 MB",
        "table: 2 plates, 2 wells, 4 images, up to 2 fields of a well",
        "channels: Hoechst, Mito",
        f"route: files over HTTPS or FTP, {PUBLIC}/{STUDY} (download.idr_index_name = '{STUDY}')",
        "2 of 2 plates, 4 of 4 images, 2 of 3 lines of the annotation",
        "1 annotated well without an image: P2 A2",
    ]
    tasks_from_table(table)
    before = len(asked)
    again = table_from_idr("idr0901", screen="screenA", channels="DNA=Hoechst", idr_data=sources)
    assert again["Path"].tolist()[0] == f"{ROOT}/P1-1.tif"
    assert [path for path in asked[before:] if "samples" not in path] == []  # all kept


def test_without_a_network_what_was_fetched_is_used(server, tmp_path, caplog):
    address, _, serving = server
    cache = tmp_path / "cache"
    sources = replace(Sources.at(address, cache), max_age_s=0)
    first = screen_table("idr0901", "A", idr_data=sources)
    serving.shutdown()
    serving.server_close()
    caplog.set_level(logging.WARNING)
    path = Published(sources).file("website", "studies.tsv")
    assert path is not None
    assert "is used" in caplog.text
    with pytest.raises(DownloadError, match=r"Without a network give a copy .*--idr-data FOLDER"):
        screen_table("idr0901", "A", idr_data=Sources.at(address, tmp_path / "empty"))
    assert len(first.study.table) == 4


def test_a_web_page_is_no_table(server, published, tmp_path):
    address, _, _ = server
    write(published / "website" / "studies.tsv", "<!DOCTYPE html><html>moved</html>")
    with pytest.raises(DownloadError, match="answers with a web page"):
        screen_table("idr0901", "A", idr_data=Sources.at(address, tmp_path / "cache"))
    assert not [path for path in tmp_path.glob("cache/**/*") if path.is_file()]


def test_zarr_where_idr_lists_it(published):
    zarrs = "https://host/idr0901"
    write(published / "ngff" / "idr0901_samples.csv", f"url,x\n{zarrs}/P1.ome.zarr,1\n")
    assert "files over" in screen_table("idr0901", "A", idr_data=published).route
    with pytest.raises(ConfigError, match=r"OME-Zarr lack \['P2'\]"):
        screen_table("idr0901", "A", route="zarr", idr_data=published)
    one = screen_table("idr0901", "A", idr_data=published, plates=["P1"])
    assert set(one.study.table["URL"]) == {f"{zarrs}/P1.ome.zarr"}
    assert set(one.study.table["Path"]) == {""}
    assert one.route.startswith(f"OME-Zarr, {zarrs}/P1.ome.zarr")
    write(published / "ngff" / "idr0901_samples.csv", f"{zarrs}/p-1.zarr\n{zarrs}/P2.zarr/\n")
    both = screen_table("idr0901", "A", idr_data=published)
    assert set(both.study.table["Source"]) == {"zarr"}
    assert len(tasks_from_table(both.study.table)) == 4
    assert "files over" in screen_table("idr0901", "A", route="files", idr_data=published).route


def test_what_is_not_there(published):
    for arguments, message in (
        (("idr0901",), r"several screens: choose one of screenA, screenB"),
        (("idr0901", "D"), r"no screen D: choose one of screenA, screenB"),
        (("idr0902",), "has no screen, only experimentA"),
        (("idr0903",), r"no idr0903; did you mean idr090"),
    ):
        with pytest.raises(ConfigError, match=message):
            screen_table(*arguments, idr_data=published)
    assert find_screen(Published(Sources.at(published)), STUDY, "C").plates is None
    with pytest.raises(ConfigError, match="no annotation: where"):
        screen_table("idr0901", "B", idr_data=published, where={"a": "b"})
    with pytest.raises(ConfigError, match="annotation_csv and screen_files come from IDR"):
        table_from_idr("idr0901", "a.csv", idr_data=published)
    with pytest.raises(ConfigError, match="are for an accession"):
        table_from_idr("plates.tsv", screen="A")
    with pytest.raises(TableError, match=rf"{PUBLIC}/{STUDY}/Q1\.HTD"):
        table_from_idr("idr0901", screen="B", idr_data=published)
    (published / "studies" / STUDY / "screens" / "P2.screen").unlink()
    with pytest.raises(TableError, match=r"P2\.screen is not here"):
        table_from_idr("idr0901", screen="A", idr_data=published)


@pytest.mark.parametrize("target", ["../../../website/studies.tsv", "../../x/a.screen"])
def test_a_path_that_leads_out_of_the_study_is_no_file(published, target):
    plates = published / "studies" / STUDY / "screenA" / "idr0901-screenA-plates.tsv"
    plates.write_text(f"P1\t{target}\n")
    (plates.parent / "idr0901-screenA-annotation.csv").unlink()
    with pytest.raises(TableError):
        table_from_idr("idr0901", screen="A", idr_data=published)
    assert Published(Sources.at(published)).file("studies", "../website/studies.tsv") is None


def test_the_command_shows_before_it_writes(published, tmp_path, capsys):
    arguments = ["table", "idr0901", "--screen", "A", "--idr-data", str(published)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "channels: Hoechst, Mito" in shown
    assert "1 annotated well without an image: P2 A2" in shown
    out = tmp_path / "table.tsv"
    assert main([*arguments, "--channel", "DNA=hoechst", "--out", str(out)]) == 0
    assert "4 images (2 wells of 2 plates) in 4 files" in capsys.readouterr().out
    assert read_table(out)["Path"].tolist()[2] == f"{ROOT}/P2-1.tif"
    assert main([*arguments, "--channel", "DAPI"]) == TableError.exit_code
    assert "no channel 'DAPI'; there are Hoechst, Mito" in capsys.readouterr().err
    arguments[3] = "B"
    assert main(arguments) == 0
    assert f"Q1: {PUBLIC}/{STUDY}/Q1.HTD" in capsys.readouterr().out
    assert main([*arguments, "--out", str(tmp_path / "b.tsv")]) == TableError.exit_code


def test_idr_own_tables(shared_data):
    folder = shared_data / "idr"
    found = screen_table("idr0036", idr_data=folder)
    assert found.facts.images == 69120
    assert found.study.channels == ("ERSyto", "ERSytoBleed", "Hoechst", "Mito", "Ph_golgi")
    assert len(found.study.table) == 3 * 384 * 9
    assert found.study.table["URL"][0].endswith("/idr0036/20585.ome.zarr")
    assert find_screen(Published(Sources.at(folder)), "idr0013", "B").plates == 28
    newer = screen_table("idr0125-way-cellpainting", idr_data=folder)  # not in the table of studies
    assert len(newer.study.balance.plates.unread) == 3


def test_pattern_files_that_lie_in_the_archive(server, published, tmp_path):
    """One request for each plate; where there is none, its address is named."""
    address, asked, _ = server
    folder = published / "studies" / STUDY / "screenC"
    write(
        folder / "idr0901-screenC-plates.tsv",
        f"Q1\t{ROOT}/Q 1/Q1.pattern\nQ2\t{ROOT}/Q2.pattern\n",
    )
    write(folder / "idr0901-screenC-annotation.csv", "Plate,Well\nQ1,A1\nQ2,A1\n")
    write(published / "archive" / STUDY / "2020-ftp" / "Q 1" / "Q1.pattern", "Q1 <dapi,gfp>.stk\n")
    found = screen_table("idr0901", "C", idr_data=Sources.at(address, tmp_path / "cache")).study
    (row,) = (row for _, row in found.table.iterrows())  # Q2 is in the balance
    assert row["Path dapi"] == f"{ROOT}/Q 1/Q1 dapi.stk"
    assert found.balance.plates.used == ("Q1",)
    assert found.balance.plates.unread == {"Q2": f"{PUBLIC}/{STUDY}/2020-ftp/Q2.pattern"}
    assert len([path for path in asked if path.endswith("Q1.pattern")]) == 1
