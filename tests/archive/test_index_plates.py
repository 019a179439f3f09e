"""Studies whose plates file names microscopes' indexes and folders, at a server in IDR's layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tifffile
from local_servers import nginx
from plates import CHANNELS, WRITERS, Key, harmony, metaxpress, number_of

from idrstream import table_from_idr
from idrstream.archive import Sources, screen_table
from idrstream.cli.main import main
from idrstream.config import DownloadSettings
from idrstream.download import make_downloader
from idrstream.errors import DownloadError, MovieError, TableError
from idrstream.screen import tasks_from_table
from idrstream.screen.indexes.companion import read_companion

STUDY = "idr0901-somebody-something"
HEADER = "Study\tContainer\tSets\tWells\t5D Images\tSize\tAvg. Image Dim (XYZCT)\n"


class Archive:
    """IDR's published tables and its archive in one folder, at nginx."""

    def __init__(self, served, cache: Path) -> None:
        self.root, self.address, self.home = served.root, served.address.rstrip("/"), served.home
        self.cache = cache
        self.files = self.root / "archive" / STUDY / "2020-ftp"
        self.plates: list[str] = []
        self.write(
            "website/studies.tsv", f"{HEADER}{STUDY}\tscreenA\t1\t6\t12\t1\t32 x 24 x 2 x 2 x 1\n"
        )
        self.write("website/download_urls.tsv", "idrid\tdownload_url\treplace_this\twith_this\n")

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def add(self, plate: str, target: str) -> None:
        """Add a plate whose index or folder is `target` in the study's folder of the archive."""
        self.sources = Sources.at(self.address, self.cache / str(len(self.plates)))
        self.plates.append(f"{plate}\t/uod/idr/filesets/{STUDY}/2020-ftp/{target}\n")
        folder = f"studies/{STUDY}/screenA/idr0901-screenA"
        self.write(f"{folder}-plates.tsv", "".join(self.plates))
        names = [line.partition("\t")[0] for line in self.plates]
        wells = "".join(f"{name},{well}\n" for name in names for well in ("A1", "B03", "H12"))
        self.write(f"{folder}-annotation.csv", f"Plate,Well\n{wells}")

    def downloader(self):
        root = f"{self.address}/archive"
        return make_downloader(
            DownloadSettings(method="https", https_root=root, idr_index_name=STUDY)
        )

    def asked(self) -> list[str]:
        lines = (self.home / "access.log").read_text().splitlines()
        return [line.split('"')[1].split()[1] for line in lines]

    def table(self, **options):
        return screen_table("idr0901", idr_data=self.sources, **options)


@pytest.fixture
def archive(tmp_path):
    with nginx(tmp_path / "server") as served:
        yield Archive(served, tmp_path / "cache")


@pytest.mark.parametrize("kind", WRITERS)
def test_rows_of_single_files_that_the_stream_downloads(kind, archive, tmp_path):
    folder = f"Plate 1 [{kind}]#"
    archive.add("P1", f"{folder}/{WRITERS[kind](archive.files / folder)}")
    found = archive.table(plane=2, channels=["DNA=hoechst", "Actin"])
    table, balance = found.study.table, found.study.balance
    assert table[["Plate", "Well", "Site"]].agg(" ".join, axis=1).tolist() == [
        "P1 A1 1", "P1 A1 2", "P1 B3 1", "P1 B3 2",
    ]  # fmt: skip
    assert (balance.images.named, balance.images.used) == (12, 4)
    assert balance.lines.without_image == ("P1 H12",)
    assert len(balance.images.not_annotated) == 8
    assert found.study.channels == CHANNELS
    downloader = archive.downloader()
    for task in tasks_from_table(table):
        movie = downloader.download(task, tmp_path / f"movie{task.row}")
        for channel, name in enumerate(("DNA", "Actin")):
            key = Key("AB".index(task.well[0]), int(task.well[1:]) - 1, task.site, channel, 1)
            assert tifffile.imread(movie.channels[name].path)[0, 0] == number_of(key)
    before = len(archive.asked())
    archive.table()
    assert [path for path in archive.asked()[before:] if path.startswith("/archive")] == []


def test_one_request_for_each_plate_and_a_folder_by_its_index_or_names(archive):
    for plate in ("P1", "P2"):
        archive.add(plate, f"{plate}/{harmony(archive.files / plate)}")
    archive.table()
    assert len([path for path in archive.asked() if path.startswith("/archive")]) == 2
    archive.add("P3", "P3/Images")
    harmony(archive.files / "P3")
    archive.add("P4", "P4")
    harmony(archive.files / "P4")
    (archive.files / "P4" / "Images" / "Index.idx.xml").unlink()
    by_index, by_names = (archive.table(plates=[plate]).study for plate in ("P3", "P4"))
    assert len(by_index.table) == len(by_names.table) == 4
    assert by_index.channels == CHANNELS
    assert by_names.channels == ("1", "2")
    assert "Opera Phenix" in str(by_names.balance)
    assert set(by_index.table["Path Actin"].str.replace("P3", "P4")) == set(
        by_names.table["Path 2"]
    )
    assert (by_index.table["Planes"] == "2").all()


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [*(("removed", kind) for kind in WRITERS),
     *((wrong, "Harmony") for wrong in ("cut", "page", "entities", "outside"))],
)  # fmt: skip
def test_one_bad_index_ends_in_a_sentence_and_the_others_go_on(wrong, kind, archive, capsys):
    archive.add("Good", f"Good/{harmony(archive.files / 'Good')}")
    target = WRITERS[kind](archive.files / "Bad")
    index = archive.files / "Bad" / target
    text = index.read_bytes()
    if wrong == "removed":
        index.unlink()
    elif wrong == "cut":
        index.write_bytes(text[: len(text) // 3])
    elif wrong == "page":
        index.write_text("<!DOCTYPE html><html>moved</html>")
    elif wrong == "entities":
        index.write_bytes(b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    else:
        archive.add("Out", "../../../website/studies.tsv/x.wpi")
    if wrong != "outside":
        archive.add("Bad", f"Bad/{target}")
    found = archive.table()
    bad = "Out" if wrong == "outside" else "Bad"
    plates = found.study.balance.plates
    assert plates.used == ("Good",)
    assert list(plates.unread) == list(plates.reasons) == [bad]
    assert len(found.study.table) == 4
    assert found.study.balance.lines.of_unread == 0 or bad in plates.unread
    assert plates.listed == 2
    with pytest.raises(TableError, match=f"the index of plate {bad} cannot be used: "):
        table_from_idr("idr0901", idr_data=archive.sources, plates=[bad])
    assert main(["table", "idr0901", "--idr-data", str(archive.address), "--plate", bad]) == 0
    assert "whose index or folder has to be read" in capsys.readouterr().out


def test_a_server_that_does_not_answer(archive):
    archive.add("P1", f"P1/{harmony(archive.files / 'P1')}")
    archive.table()  # all but the archive is kept
    gone = replace(archive.sources, archive="http://127.0.0.1:9/archive")
    found = screen_table("idr0901", idr_data=gone)
    assert list(found.study.balance.plates.reasons) == ["P1"]
    with pytest.raises(DownloadError, match="IDR's metadata cannot be had"):
        screen_table("idr0901", idr_data=Sources.at("http://127.0.0.1:9", archive.home / "new"))


def test_planes_in_files_of_their_own_are_one_movie(archive, tmp_path):
    archive.add("P1", metaxpress(archive.files))  # its planes have the same name
    table = archive.table(channels="DNA=Actin").study.table
    assert table["Planes"].tolist() == ["2"] * 4
    downloader = archive.downloader()
    task = tasks_from_table(table)[3]
    movie = downloader.download(task, tmp_path / "movie")
    assert movie.path.name == "00015_02.companion.ome"
    index = read_companion(
        b"<OME><Well Row='1' Column='2'><WellSample><ImageRef ID='Image:0'/></WellSample></Well>"
        + movie.path.read_bytes().partition(b'06">')[2]
    )
    assert [tifffile.imread(movie.path.parent / file.path)[0, 0] for file in index.files] == [
        number_of(Key(1, 2, 2, 1, z)) for z in (0, 1)
    ]
    first = archive.files / "TimePoint_1" / "ZStep_1" / "P1_B03_s2_w2.TIF"
    assert downloader.size(task) == 2 * first.stat().st_size
    first.write_bytes(b"no image")
    with pytest.raises(MovieError, match="does not begin as TIFF does"):
        archive.downloader().download(task, tmp_path / "again")
    one = {"Path": "x.tif", "Planes": "1", "Pages": "0,x"}
    with pytest.raises(DownloadError, match="column Pages: 'x' is no page"):
        downloader.download(replace(task, metadata=one), tmp_path / "pages")
    wrong = replace(task, metadata={**task.metadata, "Planes": "3"})
    with pytest.raises(DownloadError, match=r"Planes is '3', but there are 2 files or pages"):
        downloader.download(wrong, tmp_path / "wrong")


def test_a_plate_with_an_ome_zarr_needs_no_index(archive):
    archive.add("P1", f"P1/{harmony(archive.files / 'P1')}")
    zarr = "https://host/idr0901/P1.ome.zarr"
    archive.write("ngff/idr0901_samples.csv", f"{zarr}\n")
    with_index = archive.table().study.table
    assert with_index["URL"].tolist() == [zarr] * 4
    assert with_index["Site"].tolist() == ["1", "2"] * 2
    assert "Planes" not in with_index
    archive.add("P2", "P2/Index.idx.xml")
    archive.write("ngff/idr0901_samples.csv", f"{zarr}\n{zarr.replace('P1', 'P2')}\n")
    without = archive.table(plates=["P2"]).study
    assert without.table["URL"].tolist() == [zarr.replace("P1", "P2")] * 3  # the annotated wells
    assert without.balance.plates.reasons == {}
