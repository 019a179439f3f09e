import contextlib
import gzip
import zipfile

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idrstream.errors import TableError
from idrstream.screen import parse_frames, read_table, tasks_from_table


def table(**columns):
    base = {"Plate": ["LT0001_02"], "Well": ["A4"], "Frames": ["50"]}
    return pd.DataFrame({**base, **columns})


@given(st.lists(st.integers(1, 9999), min_size=1, unique=True))
def test_frames_keep_their_order(numbers):
    assert parse_frames(",".join(map(str, numbers))) == tuple(numbers)


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        (50, (50,)),
        ("50.0", (50,)),
        (" 1, 50 ,93", (1, 50, 93)),
        ("7,7", (7,)),
        ("1-3", (1, 2, 3)),
        ("50, 1 - 93:40", (50, 1, 41, 81)),
    ],
)
def test_frames_are_read_as_people_write_them(text, frames):
    assert parse_frames(text) == frames


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "a", "1,,2", "5-1", "1-5:0", "1-", "nan"])
def test_wrong_frames(text):
    with pytest.raises(ValueError, match="frame numbers"):
        parse_frames(text)


@given(st.text())
def test_frames_of_any_text_never_crash(text):
    with contextlib.suppress(ValueError):
        assert all(number >= 1 for number in parse_frames(text))


def test_a_row_becomes_a_task():
    (task,) = tasks_from_table(
        table(**{"Control Type": ["positive control"], "Well Number": [4], "Site": [1]})
    )
    assert (task.plate, task.well, task.well_number) == ("LT0001_02", "A4", 4)
    assert (task.frames, task.site) == ((50,), 1)
    assert task.metadata == {"Control Type": "positive control"}


def test_what_can_be_derived_may_be_missing():
    (by_name,) = tasks_from_table(table())
    (by_number,) = tasks_from_table(table(**{"Well Number": [4.0]}).drop(columns="Well"))
    assert (by_name.well_number, by_number.well) == (4, "A4")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"Plate": [""]}, "row 1, column Plate: empty"),
        ({"Plate": [None]}, "row 1, column Plate: empty"),
        ({"Plate": ["../x"]}, "cannot become a file name"),
        ({"Plate": ["-rf"]}, "cannot become a file name"),
        ({"Plate": ["a\nb"]}, "cannot become a file name"),
        ({"Well": ["Z99"]}, "row 1, column Well: "),
        ({"Well": [""]}, "row 1, column Well: empty"),
        ({"Well Number": [5]}, "column Well Number: 5, but well A4 is number 4"),
        ({"Well Number": ["four"]}, "column Well Number: 'four' is not a whole number"),
        ({"Frames": ["0"]}, "row 1, column Frames: '0'"),
        ({"Site": ["x"]}, "column Site"),
    ],
)
def test_a_wrong_cell_is_named(columns, message):
    with pytest.raises(TableError) as error:
        tasks_from_table(table(**columns))
    assert message in str(error.value)


@pytest.mark.parametrize("column", ["Plate", "Frames", "Well"])
def test_a_missing_column_is_named(column):
    with pytest.raises(TableError, match=f"lacks the column {column}"):
        tasks_from_table(table().drop(columns=column))


def test_a_repeated_column_is_refused():
    doubled = pd.concat([table(), table()[["Plate"]]], axis=1)
    with pytest.raises(TableError, match="Plate more than once"):
        tasks_from_table(doubled)


def test_a_frame_asked_for_twice_names_both_rows():
    rows = pd.concat([table(), table(Well=["A5"]), table(Frames=["1,50"])])
    with pytest.raises(
        TableError, match=r"row 3, column Frames: frame 50 .* in row 1, which differs"
    ):
        tasks_from_table(rows)


def test_only_the_first_ten_problems_are_told():
    with pytest.raises(TableError, match="and 5 more"):
        tasks_from_table(pd.concat([table(Frames=["x"])] * 15))


def test_an_empty_table():
    with pytest.raises(TableError, match="no rows"):
        tasks_from_table(table().iloc[:0])


@pytest.mark.parametrize(
    ("name", "separator"), [("t.tsv", "\t"), ("t.csv", ","), ("t.csv.gz", ",")]
)
def test_a_file_is_read_as_text(tmp_path, name, separator):
    path = tmp_path / name
    pd.DataFrame(table(Gene=["NA"])).to_csv(path, sep=separator)
    assert read_table(path).to_dict("list") == {
        "Plate": ["LT0001_02"], "Well": ["A4"], "Frames": ["50"], "Gene": ["NA"],
    }  # fmt: skip


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\ufeffPlate,Well,Frames\nP,A1,1\n", encoding="utf-8")
    assert list(read_table(path).columns) == ["Plate", "Well", "Frames"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'a,b\n"1,2\n', b"a,b\n1,2,3,4\n5\n"])
def test_what_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(TableError):
        tasks_from_table(read_table(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TableError, match=r"no table at .*nothing\.tsv"):
        read_table(tmp_path / "nothing.tsv")


def test_a_damaged_gzip(tmp_path):
    path = tmp_path / "t.csv.gz"
    content = gzip.compress(b"Plate,Well,Frames\n" + b"P,A1,1\n" * 999)
    for damaged in (content[:-9], content[:30] + b"xx" + content[32:]):
        path.write_bytes(damaged)
        with pytest.raises(TableError, match="cannot be read"):
            read_table(path)


def test_the_first_streams_own_table(shared_data):
    tasks = tasks_from_table(read_table(shared_data / "idr" / "data_to_process.tsv"))
    assert len(tasks) == 6743
    assert tasks[0].metadata["Original Gene Target"] == "ENSG00000149503"
    assert {task.frames for task in tasks} == {(50,)}


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf Plate , well,FRAMES \r\n P1 ,A4\xc2\xa0,50\r\n",
        b"Plate;Well;Frames\nP1;A4;50\n",
        b"Plate\tWell\tFrames\rP1\tA4\t50\r",
        b'Plate,Well,Frames\n="P1",\'A4,="50"\n',
        "Plate,Well,Frames\nP1,A4,50.0\n".encode("utf-16"),
        b"\n\nPlate,Well_Number,Frames\nP1,4.0,50\n",
    ],
)
def test_what_people_and_spreadsheets_write(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    (task,) = tasks_from_table(read_table(path))
    assert (task.plate, task.well, task.well_number, task.frames) == ("P1", "A4", 4, (50,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"PK\x03\x04rest", "is a spreadsheet: save it as"),
        (b"Plate,Well\nP1,\xe9\n", "line 2: not text in UTF-8"),
        (b"Plate,Well\nP1,\x00\n", "line 2: has a zero byte"),
        (b"Plate,Well,Plate\nP1,A1,P1\n", "line 1: has the column Plate more than once"),
        (b"Plate,Well\nP1,A1,x\n", "cannot be read"),
    ],
)
def test_files_that_are_no_tables_are_named(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=message):
        read_table(path)


def test_rows_that_repeat_count_once(caplog):
    rows = pd.concat([table(), table(Well=["A5"]), table(), table()])
    tasks = tasks_from_table(rows)
    assert [(task.well, task.row) for task in tasks] == [("A4", 0), ("A5", 1)]
    assert "2 rows of the table repeat earlier ones and are left out: 3, 4" in caplog.text


@pytest.mark.parametrize("other", ["lt0001_02", "LT0001_02".replace("L", "\uff2c")])
def test_plates_that_a_disk_may_not_keep_apart(other):
    rows = pd.concat([table(), table(Plate=[other])])
    with pytest.raises(TableError, match=r"row 2, column Plate: .* differ only in case or form"):
        tasks_from_table(rows)


def test_one_name_in_two_unicode_forms_is_one_plate():
    rows = pd.concat([table(Plate=["caf\u00e9"]), table(Plate=["cafe\u0301"], Well=["A5"])])
    assert {task.plate for task in tasks_from_table(rows)} == {"caf\u00e9"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"Plate": ["x" * 121]}, "longer than 120 bytes"),
        ({"Plate": ["#REF!"]}, "error of the spreadsheet"),
        ({"Plate": ["x."]}, "ends with a dot"),
        ({"Plate": ["~root"]}, "cannot become a file name"),
        ({"Plate": ["a\u2028b"]}, "control character"),
        ({"Frames": ["05-Jan"]}, "looks like a date: has a spreadsheet changed it"),
        ({"Frames": ["1-9999999"]}, "more than 100,000 frames"),
    ],
)
def test_more_wrong_cells(columns, message):
    with pytest.raises(TableError, match=message):
        tasks_from_table(table(**columns))


def test_wells_of_other_plates_need_a_path_of_their_own():
    wells = {"Plate": ["P"] * 3, "Well": ["A1", "B1", "H12"], "Well Number": [1, 13, 96],
             "Frames": ["1"] * 3}  # fmt: skip
    tasks = tasks_from_table(pd.DataFrame({**wells, "Path": ["a", "b", "c"]}))
    assert [task.well_number for task in tasks] == [1, 13, 96]
    with pytest.raises(TableError, match="row 2, column Well Number: 13, but well B1 is number 25"):
        tasks_from_table(pd.DataFrame(wells))
    wrong = pd.DataFrame({**wells, "Well Number": [1, 13, 95], "Path": ["a", "b", "c"]})
    with pytest.raises(TableError, match=r"row 3, column Well Number: 95, but well H12 is .* 96"):
        tasks_from_table(wrong)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"Plate,Well,Frames\nP,A1,1\nP,A2,1,2\n", r"line 3 has 4 cells, the header 3"),
        ("t.csv", b"Plate,Well,Frames\nP,A1,1,2\n", r'must stand in quotes \("1,50"\)'),
        ("t.csv", b"My screen\n\nPlate,Well,Frames\nP,A1,1\n", "no header; .* in line 3: delete"),
        ("t.tsv", b"# made, by, me\nplate\tWell\tFrames\nP\tA1\t1\n", "no header; .* in line 2"),
        ("t.csv", b"BZh91AY&SY", "packed with bzip2"),
        ("t.csv", b"PAR1", "a Parquet file"),
        ("t.csv.zip", b"PK\x03\x04", "a zip archive: unpack it"),
    ],
)
def test_files_that_are_nearly_tables_are_told_what_to_do(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError, match=message):
        read_table(path)


def test_a_zip_archive_under_another_name(tmp_path):
    path = tmp_path / "t.csv"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("table.csv", "Plate,Well,Frames\nP,A1,1\n")
    with pytest.raises(TableError, match=r"zip archive \(table.csv\): unpack it"):
        read_table(path)


def numbered(numbers, **columns):
    return pd.DataFrame({"Plate": "P", "Well Number": numbers, "Frames": "1", **columns})


@pytest.mark.parametrize("there", [{}, {"Path": "x.ch5"}])
@pytest.mark.parametrize(
    ("wells", "number", "name"), [(96, 13, "B1"), (384, 13, "A13"), (1536, 1536, "AF48")]
)
def test_the_size_of_a_plate_is_stated(wells, number, name, there):
    table = numbered([number], **there)
    (task,) = tasks_from_table(table, plate_format=wells)
    assert (task.well, task.well_number) == (name, number)
    for text in (wells, f"{wells}.0", f"{wells}-well"):
        (task,) = tasks_from_table(table.assign(**{"plate format": text}))
        assert task.well == name
    (task,) = tasks_from_table(numbered([""], Well=name, **there), plate_format=wells)
    assert task.well_number == number


def test_numbers_alone_are_never_guessed_at():
    message = r"13 is B1 on 96 wells, A13 on 384 wells.*--plate-format 96"
    for there in ({}, {"Path": "x.ch5"}):
        with pytest.raises(TableError, match=message):
            tasks_from_table(numbered([1, 13], **there))
    tasks = tasks_from_table(numbered(range(1, 1537)))  # only one size has so many
    assert [tasks[number - 1].well for number in (30, 49, 1536)] == ["A30", "B1", "AF48"]
    with pytest.raises(TableError, match="400 is I16 on 1536 wells; say how many"):
        tasks_from_table(numbered([1, 400]))
    with pytest.raises(TableError, match="outside 1 to 1536"):
        tasks_from_table(numbered([1, 1537]))
    # Wells with both show how the others are numbered.
    known = pd.concat([numbered([13], Well="B1"), numbered([14], Well="")]).assign(Path=["a", "b"])
    assert [task.well for task in tasks_from_table(known)] == ["B1", "B2"]
    with pytest.raises(TableError, match="outside 1 to 96"):
        tasks_from_table(numbered([97]), plate_format=96)
    with pytest.raises(TableError, match="row 1, column Plate Format: 384, but plate_format is 96"):
        tasks_from_table(numbered([1], **{"Plate Format": "384"}), plate_format=96)
    with pytest.raises(TableError, match="row 1, column Plate Format: '100' is none of 6, 12"):
        tasks_from_table(numbered([1], **{"Plate Format": "100"}))


@pytest.mark.parametrize("rows", [8, 16])
def test_numbers_that_count_down_the_columns_are_told(rows):
    names = [f"{'ABCDEFGHIJKLMNOP'[row]}{column + 1}" for column in (0, 1) for row in range(rows)]
    table = numbered(range(1, len(names) + 1), Well=names, Path=names)
    with pytest.raises(TableError, match=r"count down the columns.*leave out the column Well Numb"):
        tasks_from_table(table)
