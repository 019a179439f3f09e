"""Cells become text once, by one rule: in files, in DataFrames, in the kept copy."""

import datetime
import decimal
import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idrstream.errors import TableError
from idrstream.screen import read_table, tasks_from_table
from idrstream.screen.table import write_table
from idrstream.screen.text import clean_text, text_table

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
CELLS = st.one_of(
    TEXTS, st.none(), st.integers(), st.floats(), st.floats(width=32).map(np.float32),
    st.booleans(), st.datetimes(), st.dates(), st.decimals(), st.binary(max_size=4).filter(
        lambda cell: b"\x00" not in cell), st.lists(st.integers(), max_size=2),
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.1), "0.1"), (0.1, "0.1"), (1.0, "1"), (np.float64(2.5), "2.5"), (-0.0, "0"),
        (1e300, "1e+300"), (float("inf"), "inf"), (float("nan"), ""), (None, ""), (pd.NA, ""),
        (pd.NaT, ""), (np.datetime64("NaT"), ""), (True, "True"), (np.int8(3), "3"),
        (datetime.date(2020, 1, 2), "2020-01-02"), (pd.Timestamp("2020-01-02"), "2020-01-02"),
        (pd.Timestamp("2020-01-02 03:04"), "2020-01-02 03:04:00"), (b"A4", "A4"),
        (decimal.Decimal("0.10"), "0.10"), ("a\rb\r\nc", "a\nb\nc"), ("=\"'A4\"", "A4"),
        ("cafe\u0301", "caf\u00e9"), ("NA", "NA"), ("1e5", "1e5"), ("0007", "0007"),
    ],
)  # fmt: skip
def test_one_rule_for_every_kind_of_cell(value, text):
    assert clean_text(value) == text


@given(CELLS)
def test_the_text_of_a_text_is_itself(value):
    assert clean_text(clean_text(value)) == clean_text(value)


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        (pd.Series([0.1, 2, None], dtype="float32"), ["0.1", "2", ""]),
        (pd.Series([0.1, 2], dtype="float16"), ["0.1", "2"]),
        (pd.Series([0.1, None], dtype="Float32"), ["0.1", ""]),
        (pd.Series([0.1, None], dtype="float[pyarrow]"), ["0.1", ""]),
        (pd.Series([1, None], dtype="Int64"), ["1", ""]),
        (pd.Series([1, 1.0, True, "1", "x"]), ["1", "1", "True", "1", "x"]),
        (pd.Series(["2020-01-01", None]).pipe(pd.to_datetime), ["2020-01-01", ""]),
        (pd.Series([1.0, None, 1.0], dtype="category"), ["1", "", "1"]),
        (pd.Series([True, False]), ["True", "False"]),
    ],
)  # fmt: skip
def test_columns_follow_the_rule_of_cells(cells, texts):
    assert text_table(pd.DataFrame({"Day": cells}))["Day"].tolist() == texts


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), TEXTS)
def test_a_kept_copy_reads_back_as_the_same(tmp_path_factory, rows, name):
    columns = {"plate": [row[0] for row in rows], "Frames": "1", f"x{name}": [r[1] for r in rows]}
    table = text_table(pd.DataFrame(columns))
    path = tmp_path_factory.mktemp("kept") / "t.csv.gz"
    path.write_bytes(gzip.compress(write_table(table)))
    pd.testing.assert_frame_equal(read_table(path), table)
    pd.testing.assert_frame_equal(text_table(table), table)


def test_columns_without_a_name():
    names = ["Unnamed: 0", "Plate", "Well", "Frames", "", "Unnamed: 5"]
    table = pd.DataFrame([[0, "P", "A1", "1", "", "x"]], columns=names)
    (task,) = tasks_from_table(table)
    assert task.metadata == {"Column 6": "x"}


@pytest.mark.parametrize(("cell", "message"), [("a\x00", "zero byte"), ("\ud800", "half a char")])
def test_a_cell_that_cannot_be_written_is_named(cell, message):
    row = {"Plate": ["P"], "Well": ["A1"], "Frames": ["1"], "Gene": [cell]}
    with pytest.raises(TableError, match=f"row 1, column Gene: .*{message}"):
        tasks_from_table(pd.DataFrame(row))
    with pytest.raises(TableError, match=message):
        tasks_from_table(pd.DataFrame({**row, "Gene": [""], cell: [""]}))
