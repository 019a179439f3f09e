from __future__ import annotations

import gzip
import logging
from pathlib import Path

import pandas as pd
import pytest

from idrstream import make_downloader, table_from_idr
from idrstream.cli.main import main
from idrstream.errors import ConfigError, TableError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.screen import read_table, tasks_from_table

ARCHIVE = "/uod/idr/filesets"
PLATES, ANNOTATION = "idr0004-screenA-plates.tsv", "idr0004-screenA-annotation.csv"
# Lines of idr0013's screen B as the archive has them.
SCREEN_B = (
    "LTValidMitosisSon384Plate01_01\t../screens/"
    "LTValidMitosisSon384Plate01_01--ex2009_03_20--sp2009_01_26--tt17--c4.screen\n"
    "LTValidMitosisSon384Plate07_06\t../screens/"
    "LTValidMitosisSon384Plate07_06--ex2009_04_08--sp2009_01_30--tt17--c4.screen\n"
)


def test_a_study_of_screen_files(study, caplog):
    caplog.set_level(logging.WARNING)
    table = table_from_idr(study / PLATES, study / ANNOTATION, frames=[1, 3])
    rows = table[["Plate", "Well", "Well Number", "Site"]].agg(" ".join, axis=1).tolist()
    assert rows == [
        "P101 A2 2 1", "P101 A2 2 2", "P101 B1 13 1", "P101 H12 96 1", "P101 H12 96 2",
        "p120 A1 1 1", "p120 A2 2 1",
    ]  # fmt: skip
    assert set(table["Frames"]) == {"1,3"}
    assert table["Path"][0] == f"{ARCHIVE}/idr0004-thorpe-rad52/Rad52_old/P101/a2.ch5"
    assert table["Gene Symbol"].tolist() == ["RAD52", "RAD52", "WT", "SGS1", "SGS1", "WT", "WT"]
    assert "1 annotated well without an image: P101 C1" in caplog.text
    tasks = tasks_from_table(table)
    assert [task.well_number for task in tasks] == [2, 2, 13, 96, 96, 1, 2]
    # two wells that share a file name it alike
    assert tasks[-1].metadata["Path"] == tasks[-2].metadata["Path"]


def test_the_choice(study):
    def chosen(**options):
        table = table_from_idr(study / PLATES, study / ANNOTATION, **options)
        return table[["Plate", "Well", "Site"]].agg(" ".join, axis=1).tolist()

    controls = {"Control Type": "negative control"}
    assert chosen(where=controls) == ["P101 B1 1", "p120 A1 1", "p120 A2 1"]
    assert chosen(where={**controls, "Gene Symbol": ["WT", "RAD52"]}, plates=["P101"]) == [
        "P101 B1 1"
    ]
    assert chosen(where={"Control Type": [""]}, sites=2) == ["P101 A2 2", "P101 H12 2"]
    assert chosen(plates="p120") == ["p120 A1 1", "p120 A2 1"]


def test_without_annotation(study):
    table = table_from_idr(study / PLATES)
    assert len(table) == 7
    assert list(table.columns) == [
        "Plate", "Well", "Frames", "Well Number", "Site", "Path", "Source",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="give annotation_csv"):
        table_from_idr(study / PLATES, where={"a": "b"})


@pytest.mark.parametrize(
    ("frames", "movie_frames", "text"),
    [
        (50, None, "50"), ([1, 5], None, "1,5"), ("1-9:2", None, "1-9:2"), ("all", 93, "1-93:1"),
        ("every 10", 93, "1-93:10"), ("all", None, "all"), ("every 3", None, "all:3"),
    ],
)  # fmt: skip
def test_frames(study, frames, movie_frames, text):
    table = table_from_idr(study / PLATES, frames=frames, movie_frames=movie_frames)
    assert set(table["Frames"]) == {text}
    tasks_from_table(table)


@pytest.mark.parametrize("frames", ["", "every 0", "every x", 0, [], "column Nothing", "x"])
def test_wrong_frames(study, frames):
    with pytest.raises(ConfigError, match="frames"):
        table_from_idr(study / PLATES, frames=frames)


def test_frames_and_gene_from_columns(study):
    path = study / "a.csv.gz"
    lines = 'Plate,Well Number,When,Gene Symbol\nP101,2,7,RAD52\nP101,13,"1,9",WT\n'
    path.write_bytes(gzip.compress(lines.encode()))
    table = table_from_idr(
        study / PLATES, path, frames="column When", gene_column="Gene Symbol", sites=1
    )
    assert table["Frames"].tolist() == ["7", "1,9"]
    assert table["Original Gene Target"].tolist() == ["RAD52", "WT"]
    with pytest.raises(ConfigError, match="gene_column is 'Gene'"):
        table_from_idr(study / PLATES, path, gene_column="Gene")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (PLATES, "/p120.", "/p121.", r"line 2, column 2: \.\./screens/p121\.screen is not here"),
        (ANNOTATION, "Plate,", "Platte,", r"annotation\.csv, line 1: lacks the column Plate"),
        (ANNOTATION, "Gene Symbol", "Well", r"line 1: has the column Well more than once"),
        (ANNOTATION, "SGS1,", "SGS1,,,,,", r"annotation\.csv cannot be read"),
        ("../screens/P101.screen", "Rows = 8", "Rows = x", r"P101\.screen, line 3: Rows is 'x'"),
        ("../screens/P101.screen", "Rows = 8\n", "", r"line 1: \[Plate\] lacks the key Rows"),
        ("../screens/P101.screen", "[Plate]", "[Plates]", r"has no section \[Plate\]"),
        ("../screens/P101.screen", "[Well 5]", "[Well 4]", r"\[Well 4\] is already in line"),
        ("../screens/P101.screen", "Column = 5", "Column = 4", r"is the well of \[Well 4\]"),
        ("../screens/P101.screen", "Column = 5", "Column = 12", r"Column is '12', expected 0 to"),
        ("../screens/P101.screen", "Fields = 2", "Fields = 1", r"line \d+: Field_1, but \[Plate\]"),
        ("../screens/P101.screen", "Row = 0", "Row", r"line 8: expected '\[section\]' or"),
        ("../screens/P101.screen", "Row = 0", "Row = 0\nRow = 1", r"line 9: Row comes twice"),
    ],
)
def test_errors_name_file_and_line(study, file, old, new, message):
    path = study / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(TableError, match=message):
        table_from_idr(study / PLATES, study / ANNOTATION)


def test_errors_say_what_there_is(study):
    files = study / PLATES, study / ANNOTATION
    with pytest.raises(TableError, match=r"no column 'Control type'.*'Control Type'"):
        table_from_idr(*files, where={"Control type": "x"})
    with pytest.raises(TableError, match="column Control Type: no row has 'negative'; there are"):
        table_from_idr(*files, where={"Control Type": ["negative"]})
    with pytest.raises(TableError, match="no row with"):
        table_from_idr(*files, where={"Control Type": "negative control", "Gene Symbol": "SGS1"})
    with pytest.raises(TableError, match="has no plate 'P999'"):
        table_from_idr(*files, plates=["P999"])
    with pytest.raises(TableError, match="none of its plates"):
        table_from_idr(*files, sites=9)
    with pytest.raises(ConfigError, match="count from 1"):
        table_from_idr(*files, sites=0)
    with pytest.raises(TableError, match="no file or folder"):
        table_from_idr(*files, screen_files=study / "nothing")
    other = study / "other.csv"
    other.write_text("Plate,Well\nQ1,A1\n")
    with pytest.raises(TableError, match="column Plate: has none of the plates, but Q1"):
        table_from_idr(study / PLATES, other)


def test_repeated_annotation_lines_count_once(study):
    path = study / ANNOTATION
    path.write_text(path.read_text() + "P101,B1,WT,negative control\n")
    assert len(table_from_idr(study / PLATES, path)) == 7


def test_screen_files_elsewhere(study, tmp_path):
    (study / ".." / "screens").rename(tmp_path / "elsewhere")
    with pytest.raises(TableError, match="give it, or the folder it is in, as screen_files"):
        table_from_idr(study / PLATES)
    elsewhere = tmp_path / "elsewhere"
    assert len(table_from_idr(study / PLATES, screen_files=elsewhere)) == 7
    files = sorted(elsewhere.iterdir())
    assert len(table_from_idr(study / PLATES, screen_files=files)) == 7


def test_every_image_has_the_chosen_frames(study):
    table = table_from_idr(study / PLATES, study / ANNOTATION, frames=5)
    assert [task.frames for task in tasks_from_table(table)] == [(5,)] * 7


class TestPatterns:
    """Plates and fields made of files that belong together, as idr0010's."""

    @pytest.fixture
    def plates(self, tmp_path) -> Path:
        root = f"{ARCHIVE}/idr0010-doil-dnadamage/20150501-original/Restored GW screen/1-23"
        (tmp_path / "1-23.pattern").write_text(f"{root}/001-23 <dapi,53bp1>.stk")
        path = tmp_path / "idr0010-screenA-plates.tsv"
        path.write_text(f"1-23\t{root}/1-23.pattern\n")
        (tmp_path / "annotation.csv").write_text("Plate,Well\n1-23,A1\n1-23,A2\n")
        return path

    def test_a_plate_of_a_pattern(self, plates):
        annotation = plates.parent / "annotation.csv"
        table = table_from_idr(plates, annotation, pattern_values=["dapi"])
        assert set(table["Path"]) == {
            f"{ARCHIVE}/idr0010-doil-dnadamage/20150501-original/Restored GW screen/1-23/"
            "001-23 dapi.stk"
        }
        assert set(table["Source"]) == {"pattern"}
        table = table_from_idr(plates, annotation)
        assert [table["Path"][0], *table.filter(like="Path ").columns] == [
            "", "Path dapi", "Path 53bp1",
        ]  # fmt: skip
        with pytest.raises(TableError, match=r"line 1: .* 2 files; choose .* 'dapi', '53bp1'"):
            table_from_idr(plates, annotation, pattern_values=["Hoechst"])
        with pytest.raises(TableError, match="does not name its wells: give the study's"):
            table_from_idr(plates, pattern_values=["dapi"])

    def test_a_pattern_that_is_not_there(self, plates):
        (plates.parent / "1-23.pattern").unlink()
        with pytest.raises(TableError, match=r"1-23: .*/1-23/1-23\.pattern"):
            table_from_idr(plates)
        table = table_from_idr(plates, plates.parent / "annotation.csv")
        assert set(table["Source"]) == {"key file"}
        plates.write_text("1-23\t1-23.pattern\n")
        with pytest.raises(TableError, match=r"line 1: the pattern file .* is not here"):
            table_from_idr(plates)

    def test_a_field_of_a_pattern(self, tmp_path, write_screen):
        wells = {(0, 0): ["/uod/idr/filesets/s/a_z0_c<1-2>.ch5"], (0, 1): ["pats/b.pattern"]}
        write_screen(tmp_path / "p.screen", rows=1, columns=2, wells=wells)
        (tmp_path / "pats").mkdir()
        (tmp_path / "pats" / "b.pattern").write_text("b_c<1-2>.ch5\n")
        (tmp_path / "plates.tsv").write_text("p\tp.screen\n")
        table = table_from_idr(tmp_path / "plates.tsv", pattern_values=["2"])
        assert table["Path"].tolist() == ["/uod/idr/filesets/s/a_z0_c2.ch5", "pats/b_c2.ch5"]
        (tmp_path / "pats" / "b.pattern").write_text("b_.*.ch5\n")
        with pytest.raises(TableError, match=r"b\.pattern, line 1: .* regular expression"):
            table_from_idr(tmp_path / "plates.tsv", pattern_values=["2"])


class TestRealFiles:
    """The studies' files as the archive has them."""

    def test_idr0013_screen_a(self, shared_data, tmp_path):
        files = shared_data / "idr"
        used = read_table(files / "data_to_process.tsv")
        annotation = tmp_path / "annotation.csv"
        used[["Plate", "Well", "Control Type", "Original Gene Target"]].to_csv(
            annotation, index=False
        )
        table = table_from_idr(
            files / "idr0013-screenA-plates.tsv", annotation, files, frames=50,
            where={"Control Type": ["positive control", "negative control"]},
        )  # fmt: skip
        # One plate has its .screen file here: its wells without movie are left out.
        first = table[table["Plate"] == "LT0001_02"]
        assert set(first["Source"]) == {"file"}
        assert set(table["Source"]) == {"file", "layout"}
        assert len(used) - 10 < len(table) <= len(used)
        own = set(zip(used["Plate"], used["Well"], used["Well Number"], strict=True))
        assert set(zip(table["Plate"], table["Well"], table["Well Number"], strict=True)) <= own
        tasks = tasks_from_table(table)
        movie = "mitocheck/LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3/hdf5/00004_01.ch5"
        assert tasks[0].metadata["Path"].endswith(movie)
        fetched = make_downloader(method="local", root=shared_data / "movies").download(
            tasks[0], tmp_path / "new"
        )
        assert fetched.path.name == "00004_01_00004_01.ch5"
        assert CellH5Reader().info(fetched.path).n_frames == 30

    def test_idr0013_screen_file_and_layout_agree(self, shared_data, tmp_path):
        files = shared_data / "idr"
        plates = tmp_path / "idr0013-screenA-plates.tsv"
        plates.write_text((files / plates.name).read_text())
        stated = table_from_idr(plates, screen_files=files, plates="LT0001_02")
        built = table_from_idr(plates, plates="LT0001_02")
        assert len(built) == 384
        assert len(stated) > 300
        columns = ["Well", "Well Number", "Site", "Path"]
        known = set(map(tuple, built[columns].to_numpy()))
        assert set(map(tuple, stated[columns].to_numpy())) <= known

    def test_idr0013_screen_b(self, tmp_path, write_screen):
        path = tmp_path / "idr0013-screenB-plates.tsv"
        path.write_text(SCREEN_B)
        table = table_from_idr(path, frames=[1, 93])
        assert len(table) == 768
        assert table["Path"][4] == (
            f"{ARCHIVE}/idr0013-neumann-mitocheck/20150916-mitocheck-analysis/analysis/mitocheck/"
            "LTValidMitosisSon384Plate01_01--ex2009_03_20--sp2009_01_26--tt17--c4/hdf5/"
            "00005_01.ch5"
        )
        name = "LTValidMitosisSon384Plate07_06--ex2009_04_08--sp2009_01_30--tt17--c4"
        root = f"{ARCHIVE}/idr0013-neumann-mitocheck/20150916-mitocheck-analysis/analysis/mitocheck"
        wells = {(0, 2): [f"{root}/{name}/hdf5/00003_01.ch5"]}
        write_screen(tmp_path / "screens" / f"{name}.screen", rows=16, columns=24, wells=wells)
        table = table_from_idr(path, screen_files=tmp_path / "screens")
        assert len(table) == 385
        assert table.iloc[-1]["Path"] == wells[0, 2][0]

    @pytest.fixture
    def condensation(self, tmp_path) -> Path:
        """Plates file of idr0002, as the archive has it: key files of whole plates."""
        root = f"{ARCHIVE}/idr0002-heriche-condensation/20150401-original/chr_cond_screen"
        names = ["plate1_1_013", "plate1_2_006", "plate3_11_007"]
        path = tmp_path / "idr0002-screenA-plates.tsv"
        path.write_text(
            "".join(f"{name}\t{root}/{name}/experiment_descriptor.xml\n" for name in names)
        )
        return path

    def test_idr0002(self, shared_data, condensation, caplog):
        caplog.set_level(logging.WARNING)
        annotation = shared_data / "idr" / "idr0002-screenA-annotation.csv"
        table = table_from_idr(
            condensation, annotation, gene_column="Gene Symbol",
            where={"Quality Control": "pass", "Control Type": ["negative control", ""]},
        )  # fmt: skip
        truth = pd.read_csv(annotation, dtype=str, keep_default_na=False)
        wanted = truth[
            truth["Plate"].isin(["plate1_1_013", "plate1_2_006", "plate3_11_007"])
            & (truth["Quality Control"] == "pass")
            & truth["Control Type"].isin(["negative control", ""])
        ]
        assert len(table) == len(wanted) > 100
        assert table["Path"].nunique() == 3
        assert set(table["Source"]) == {"key file"}
        assert "3 plates whose index or folder has to be read" in caplog.text
        assert table["Original Gene Target"].tolist() == wanted["Gene Symbol"].tolist()
        with pytest.raises(TableError, match=r"column Source: .*descriptor\.xml is a key"):
            tasks_from_table(table)
        table["Path"] = "converted/" + table["Plate"] + "/" + table["Well"] + ".ch5"
        table["Source"] = "file"
        tasks = tasks_from_table(table)  # 96 wells: B1 is number 13
        numbers = {task.well: task.well_number for task in tasks}
        assert numbers["B1"] == 13

    def test_idr0002_as_screen_files(self, shared_data, tmp_path, write_screen):
        """The same study with one CellH5 movie for each well, as a user converts it."""
        truth = pd.read_csv(shared_data / "idr" / "idr0002-screenA-annotation.csv", dtype=str)
        plate = truth["Plate"][0]
        wells = {divmod(n, 12): [f"converted/{plate}/{n:03d}.ch5"] for n in range(96) if n != 5}
        write_screen(tmp_path / f"{plate}.screen", rows=8, columns=12, wells=wells)
        (tmp_path / "plates.tsv").write_text(f"{plate}\t{plate}.screen\n")
        table = table_from_idr(
            tmp_path / "plates.tsv", shared_data / "idr" / "idr0002-screenA-annotation.csv"
        )
        assert len(table) == 95
        assert table["Well Number"].tolist() == [str(n + 1) for n in range(96) if n != 5]
        assert table["Path"][0] == f"converted/{plate}/000.ch5"


@pytest.mark.parametrize(("source", "path"), [
    ("key file", "/uod/idr/filesets/s/p/x.HTD"), ("directory", "/uod/idr/filesets/s/p"),
])  # fmt: skip
def test_a_row_that_names_a_whole_plate_is_refused_before_anything_is_brought(source, path):
    row = {"Plate": "p", "Well": "A1", "Frames": "1", "Path": path, "Source": source}
    with pytest.raises(TableError, match=rf"row 1, column Source: {path} is a {source} "):
        tasks_from_table(pd.DataFrame([row]))
    for there in ({"Path": "s/p.zarr"}, {"URL": "https://host/x.ch5"}, {"Source": "file"}):
        assert len(tasks_from_table(pd.DataFrame([{**row, **there}]))) == 1


def test_command_line(study, tmp_path, capsys):
    out = tmp_path / "new" / "table.tsv"
    arguments = ["table", str(study / PLATES), "--annotation", str(study / ANNOTATION)]
    code = main(
        [*arguments, "--out", str(out), "--frames", "every 10", "--movie-frames", "30",
         "--where", "Gene Symbol=WT", "--where", "Gene Symbol=SGS1", "--site", "1"]
    )  # fmt: skip
    assert code == 0
    assert (
        "4 images (4 wells of 2 plates) in 3 files; found through: path of its own (4)"
        in capsys.readouterr().out
    )
    tasks = tasks_from_table(read_table(out))
    assert {task.frames for task in tasks} == {(1, 11, 21)}
    assert main([*arguments, "--out", str(out), "--where", "Gene"]) == ConfigError.exit_code
    assert main([*arguments, "--out", str(out), "--plate", "x"]) == TableError.exit_code


@pytest.mark.parametrize("which", [0, 2])
def test_the_command_does_not_write_over_its_input(study, which, capsys):
    arguments = ["table", str(study / PLATES), "--annotation", str(study / ANNOTATION)]
    source = Path(arguments[1 + which])
    before = source.read_bytes()
    same = source.parent / ".." / source.parent.name / source.name
    assert main([*arguments, "--out", str(same)]) == ConfigError.exit_code
    assert "is one of the files that are read" in capsys.readouterr().err
    assert source.read_bytes() == before
    out = study / "table.csv.zip"
    assert main([*arguments, "--out", str(out)]) == ConfigError.exit_code
    assert not out.exists()


def test_the_command_writes_what_is_read(study, tmp_path):
    arguments = ["table", str(study / PLATES), "--annotation", str(study / ANNOTATION)]
    tables = []
    for name in ("t.tsv", "t.csv", "t.csv.gz", "t.tsv.gz"):
        out = tmp_path / name
        for _ in range(2):  # an earlier one may be replaced
            assert main([*arguments, "--out", str(out)]) == 0
        tables.append(read_table(out))
        assert tables[-1].equals(tables[0])


def test_plates_without_annotation_are_told_and_counted(study, caplog, capsys):
    plates, annotation = study / PLATES, study / ANNOTATION
    text = plates.read_text()
    first = text.splitlines()[0].split("\t")
    plates.write_text(text + "\t".join(["P_extra", *first[1:]]) + "\n")
    table = table_from_idr(plates, annotation)
    assert table.attrs["plates_without_annotation"] == ["P_extra"]
    assert "plates have no annotation" in caplog.text
    assert "P_extra" in caplog.text


@pytest.mark.parametrize("number", ["1_0", "\u0661", "\u00b2", "9" * 5000, "S1000000000", "+1", ""])
def test_numbers_of_wells_are_digits(tmp_path, number):
    """Of other spellings some are numbers to Python, and others end it."""
    root = f"{ARCHIVE}/idr0010-doil-dnadamage/20150501-original/1-23"
    (tmp_path / "1-23.pattern").write_text(f"{root}/001-23.stk")
    plates = tmp_path / "plates.tsv"
    plates.write_text(f"1-23\t{root}/1-23.pattern\n")
    annotation = tmp_path / "annotation.csv"
    annotation.write_text(f"Plate,Well Number,Gene\n1-23,{number},a\n")
    with pytest.raises(TableError, match="without a usable well: line 2") as caught:
        table_from_idr(plates, annotation)
    assert len(str(caught.value)) < 1000
