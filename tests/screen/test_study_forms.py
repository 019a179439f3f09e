"""Plates files, annotations and names in every form that real studies have."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from idrstream.errors import ConfigError, TableError
from idrstream.screen import tasks_from_table
from idrstream.screen.study.channel_files import channel_files, choose_channels, wanted_channels
from idrstream.screen.study.join import any_well_position
from idrstream.screen.study.plate_names import file_name, match_names, name_of_path
from idrstream.screen.study.plates_file import read_plates_file
from idrstream.screen.study.study_table import study_table

ROOT = "/uod/idr/filesets/idr0000-x"


@pytest.mark.parametrize(
    ("text", "plates"),
    [
        (f"P 1\t{ROOT}/p 1.HTD\n", [("P 1", f"{ROOT}/p 1.HTD", "key file")]),
        (f"{ROOT}/a/1093.wpi\t1093\n", [("1093", f"{ROOT}/a/1093.wpi", "key file")]),
        (f"{ROOT}/a/Images\tD/1\n", [("D_1", f"{ROOT}/a/Images", "directory")]),
        (f"{ROOT}/a/1100.wpi\r{ROOT}/b/Images\r", [
            ("1100", f"{ROOT}/a/1100.wpi", "key file"), ("b", f"{ROOT}/b/Images", "directory"),
        ]),
        ("/uod/idr/metadata/idr0000-x/screens/1.1.screen\n", [
            ("1.1", "/uod/idr/metadata/idr0000-x/screens/1.1.screen", "screen"),
        ]),
        (f"Plate name\tPath\r\nP1\t{ROOT}/p1.companion.ome\r\n", [
            ("P1", f"{ROOT}/p1.companion.ome", "key file"),
        ]),
        (f"P1   {ROOT}/a b/p1\n", [("P1", f"{ROOT}/a b/p1", "directory")]),
        (f"Screen:name:idr0000/screenA\t{ROOT}/p1.xdce\tP1\n", [
            ("P1", f"{ROOT}/p1.xdce", "key file"),
        ]),
        ("A/B\t../screens/A_B.screen\n", [("A_B", "../screens/A_B.screen", "screen")]),
        ("P1\t/ngff/idr0125/P1.ome.zarr\n", [("P1", "/ngff/idr0125/P1.ome.zarr", "zarr")]),
        (f"P1\t{ROOT}/1.pattern\np1\t{ROOT}/2.pattern\nP1\t{ROOT}/1.pattern\n", [
            ("P1", f"{ROOT}/1.pattern", "pattern"), ("p1 (2)", f"{ROOT}/2.pattern", "pattern"),
        ]),
        (f"# old\nP1\n../x\t{ROOT}/1.HTD\n", [("__x", f"{ROOT}/1.HTD", "key file")]),
    ],
)  # fmt: skip
def test_plates_files(tmp_path, text, plates):
    path = tmp_path / "plates.tsv"
    path.write_bytes(text.encode())
    found = read_plates_file(path)
    assert [(entry.plate, entry.target, entry.kind) for entry in found.entries] == plates
    assert len(found.entries) + found.no_plate == found.lines


def test_what_is_no_plate_is_said(tmp_path):
    path = tmp_path / "plates.tsv"
    path.write_text(f"# old\nP1\nP2\t{ROOT}/2.HTD\nP2\t{ROOT}/2.HTD\nP/3\t{ROOT}/3.HTD\n")
    assert list(read_plates_file(path).notes) == [
        "line 1 is a remark: # old",
        "line 2 has no file or folder: P1",
        "line 4 repeats line 3",
        "1 plate with a name that comes twice or that files cannot have: P/3 is P_3",
    ]
    path.write_text("Plate,Well\nP1,A1\n")
    with pytest.raises(TableError, match=r"plates\.tsv, line 1: expected '<plate> TAB"):
        read_plates_file(path)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("LT0001_02", "LT0001_02"), ("200972429 TOG[2702]", "200972429 TOG[2702]"),
        ("WS/Meas_01", "WS_Meas_01"), ("-1", "_-1"), ("a..b", "a_b"), ("é" * 90, "é" * 56),
        (" a  b ", "a b"), ("P.", "P_"), ("#N/A", "#N_A"),
    ],
)  # fmt: skip
def test_names_that_files_can_have(name, safe):
    assert file_name(name) == safe


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/190129.screen", "190129"), ("/a/P1/Index.idx.xml", "P1"), ("/a/P1/Images", "P1"),
        ("/a/P2/Meas_01(2014-03-11_18-41-38)", "P2"), ("/a/x.companion.ome", "x"),
        ("/a/1.1.screen", "1.1"), ("/a/P1", "P1"), ("/a/P3/MeasurementIndex.ColumbusIDX.xml", "P3"),
    ],
)  # fmt: skip
def test_names_of_paths(path, name):
    assert name_of_path(path) == name


def test_names_that_differ_in_case_or_punctuation():
    plates = {"P_1": "P/1", "a-02": "a-02", "B": "B", "x": "x", "X y": "X y", "twice (2)": "twice"}
    wanted = ["P/1", "A_2", "b", "X-Y", "x.y", "twice", "other"]
    assert match_names(plates, wanted) == {
        "P_1": "P/1", "a-02": "A_2", "B": "b", "twice (2)": "twice",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("A1", (0, 0)), ("a01", (0, 0)), ("H12", (7, 11)), ("1/11", (0, 10)), ("R2C03", (1, 2)),
        ("B-4", (1, 3)), ("AB 1", (27, 0)), ("", None), ("A", None), ("A0", None), ("x1y", None),
        ("900/1", None),
    ],
)  # fmt: skip
def test_wells(text, position):
    assert any_well_position(text) == position


class TestAnnotation:
    """One small plate with three wells, B1 without annotation."""

    @pytest.fixture
    def plates(self, tmp_path, write_screen):
        wells = {(0, 0): ["/uod/idr/filesets/s/1.tif"], (0, 10): ["/uod/idr/filesets/s/2.tif"]}
        wells[1, 0] = ["/uod/idr/filesets/s/3.tif"]
        write_screen(tmp_path / "P 1.screen", rows=8, columns=12, wells=wells)
        path = tmp_path / "plates.tsv"
        path.write_text("P/1\tP 1.screen\n")
        return path

    TEXT = "Plate,Well,Gene\np-1,1/1,é\np-1,a11,B\n"

    @pytest.mark.parametrize("form", ["csv", "tsv", "cr", "gz", "zip", "cp1252", "utf-16"])
    def test_forms(self, plates, form):
        content = self.TEXT.encode()
        if form == "tsv":
            content = content.replace(b",", b"\t")
        elif form == "cr":
            content = content.replace(b"\n", b"\r")
        elif form == "gz":
            content = gzip.compress(content)
        elif form == "zip":
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                archive.writestr("a/annotation.csv", content)
                archive.writestr("__MACOSX/a/._annotation.csv", b"x")
            content = packed.getvalue()
        elif form in ("cp1252", "utf-16"):
            content = self.TEXT.encode(form)
        path = plates.parent / "annotation"
        path.write_bytes(content)
        study = study_table(plates, path)
        assert study.table[["Plate", "Well", "Gene", "Plate Name"]].to_numpy().tolist() == [
            ["P_1", "A1", "é", "P/1"], ["P_1", "A11", "B", "P/1"],
        ]  # fmt: skip
        assert study.balance.plates.renamed == {"P_1": "p-1"}
        assert study.balance.images.not_annotated == ("P_1 B1 site 1",)
        tasks_from_table(study.table)

    def test_a_zip_of_two_tables_is_refused(self, plates):
        path = plates.parent / "annotation.csv.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.csv", self.TEXT)
            archive.writestr("b.csv", self.TEXT)
        with pytest.raises(TableError, match=r"zip has 2 tables \('a\.csv', 'b\.csv'\)"):
            study_table(plates, path)
        path.write_bytes(path.read_bytes()[:40])
        with pytest.raises(TableError, match=r"annotation\.csv\.zip cannot be unpacked"):
            study_table(plates, path)

    def test_several_lines_of_a_well_are_joined_and_named(self, plates):
        path = plates.parent / "annotation.csv"
        path.write_text(
            "Plate,Well,Gene,Dose\nP/1,A1,G,1\nP/1,A01,G,2\nP/1,B1,H,\nP/1,B1,H,\n"
            "P/1,C1,,\nP/1,X,,\n,,x,\nQ,A1,,\n"
        )
        study = study_table(plates, path, where={"Gene": ["G", "H", "", "x"]})
        assert study.table[["Well", "Gene", "Dose"]].to_numpy().tolist() == [
            ["A1", "G", "1 | 2"], ["B1", "H", ""],
        ]  # fmt: skip
        lines = study.balance.lines
        assert lines.differing == ("P/1 A1 (lines 2, 3)",)
        assert lines.without_image == ("P/1 C1",)
        assert lines.unusable == ("line 7 (P/1 X)",)
        assert (lines.used, lines.merged, lines.of_other_plates, lines.read) == (2, 2, 2, 8)
        assert study.balance.plates.only_annotated == ("Q",)
        text = str(study.balance)
        assert "1 of 1 plates, 2 of 3 images, 2 of 8 lines of the annotation" in text
        assert "1 plate only in the annotation: Q" in text

    def test_what_is_not_chosen_is_counted(self, plates, write_screen):
        write_screen(plates.parent / "q.screen", rows=1, columns=1, wells={(0, 0): ["a.tif"]})
        plates.write_text(plates.read_text() + "q\tq.screen\n")
        path = plates.parent / "annotation.csv"
        path.write_text("Plate,Well,Gene\nP/1,A1,G\nP/1,A11,H\nq,A1,G\n")
        study = study_table(plates, path, where={"Gene": "G"}, plates="P/1")
        balance = study.balance
        assert balance.plates.used == ("P_1",)
        assert balance.plates.not_chosen == ("q",)
        assert (balance.lines.used, balance.lines.not_chosen, balance.lines.read) == (1, 2, 3)
        assert (balance.images.used, balance.images.not_chosen, balance.images.named) == (1, 1, 3)
        none = study_table(plates, path, sites=2).balance
        assert (none.images.used, none.images.not_chosen) == (0, 4)
        assert none.plates.not_chosen == ("P_1", "q")


class TestChannels:
    """Channels in files of their own."""

    UUIDS = "/s/p-<Hoechst/a_w1AA-BB-01,Mito/a_w5CC-DD-02>.tif"

    def test_names_come_from_the_screen_file(self, tmp_path):
        screen = (
            "[Plate]\nName = P\nRows = 1\nColumns = 2\nFields = 1\n"
            f"[Well 0]\nRow = 0\nColumn = 0\nAxisTypes = C\nChannelNames = Hoechst, Mito\n"
            f"Field_0 = {self.UUIDS}\n"
            "[Well 1]\nRow = 0\nColumn = 1\nChannelNames = Hoechst, Mito\n"
            "Field_0 = /s/q-<Hoechst/x,Mito/y>.tif\n"
        )
        (tmp_path / "P.screen").write_text(screen)
        (tmp_path / "plates.tsv").write_text("P\tP.screen\n")
        table = study_table(tmp_path / "plates.tsv").table
        assert table["Path"].tolist() == ["", ""]
        assert table["Path Mito"].tolist() == ["/s/p-Mito/a_w5CC-DD-02.tif", "/s/q-Mito/y.tif"]
        one = study_table(tmp_path / "plates.tsv", channels=["DNA=hoechst"]).table
        assert one["Path"].tolist() == ["/s/p-Hoechst/a_w1AA-BB-01.tif", "/s/q-Hoechst/x.tif"]
        two = study_table(tmp_path / "plates.tsv", channels=["Mito", "DNA=0"]).table
        assert list(two.filter(like="Path ").columns) == ["Path Mito", "Path DNA"]
        assert two["Path DNA"].tolist() == one["Path"].tolist()
        with pytest.raises(TableError, match=r"line 11: .*no channel 'DAPI'; .* Hoechst, Mito"):
            study_table(tmp_path / "plates.tsv", channels=["DAPI"])

    def test_without_names_values_or_positions_name_them(self, tmp_path, write_screen):
        wells = {(0, 0): ["a_ch0<0,2,3>.tif"], (0, 1): ["b_ch0<0-2>.tif"]}
        write_screen(tmp_path / "p.screen", rows=1, columns=2, wells=wells)
        (tmp_path / "plates.tsv").write_text("p\tp.screen\n")
        table = study_table(tmp_path / "plates.tsv").table
        assert table[["Path C0", "Path C2"]].to_numpy().tolist() == [
            ["a_ch00.tif", "a_ch03.tif"], ["b_ch00.tif", "b_ch02.tif"],
        ]  # fmt: skip
        write_screen(tmp_path / "p.screen", rows=1, columns=1, wells={(0, 0): ["a<dapi,gfp>.tif"]})
        table = study_table(tmp_path / "plates.tsv").table
        assert list(table.filter(like="Path ").columns) == ["Path dapi", "Path gfp"]

    @pytest.mark.parametrize(
        ("pattern", "names", "axes", "message"),
        [
            ("a_z<1-3>_c<1-2>.tif", (), "", "blocks are Z, C"),
            ("a_<1-3>.tif", (), "T", "blocks are T"),
            ("a_z<1-3>.tif", (), "", "blocks are Z"),
            ("a_<x,y>.tif", ("A",), "C", "has 2 channels, but ChannelNames are A"),
        ],
    )
    def test_what_is_no_channel_is_refused(self, pattern, names, axes, message):
        with pytest.raises(ValueError, match=message):
            channel_files(pattern, names, axes)

    def test_one_file_has_no_name(self):
        assert [f.path for f in channel_files("a_<7>.tif")] == ["a_7.tif"]

    def test_a_name_comes_before_a_position(self):
        found = channel_files("a_<2,1,0>.tif")
        assert [f.path for f in choose_channels(found, wanted_channels("2"))] == ["a_2.tif"]
        named = channel_files("a_<x,y>.tif", ["A", "B"])
        assert [f.path for f in choose_channels(named, wanted_channels(["Y", "D=0"]))] == [
            "a_y.tif", "a_x.tif",
        ]  # fmt: skip
        for wrong in (["=A"], ["A="], ["A", "A=B"]):
            with pytest.raises(ConfigError, match="channel"):
                wanted_channels(wrong)
