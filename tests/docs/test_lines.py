"""What the pages tell to type works in real output folders."""

import importlib
import re
import shutil
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
LIBRARIES = ("pandas", "pyarrow.dataset", "polars", "duckdb")


@pytest.fixture(scope="module")
def folders(quick, tmp_path_factory):
    """Return a folder with the same stream in both formats, reported on and collected."""
    folder = tmp_path_factory.mktemp("lines")
    screen = quick.make_screen(folder / "screen", plates=1)
    rows = set()
    for place, output_format in (("csv", "csv.gz"), ("parquet", "parquet")):
        stream = quick.make_stream(screen, folder / place, out=folder / place / "features")
        result = stream.run_stream(
            quick.table_of(screen), 2, output_format=output_format, progress=False
        )
        rows.add(result.nuclei)
        stream.report(features=False)
        stream.collect(normalize="none")
        assert stream.verify().is_good
        stream.close()
    (count,) = rows
    return folder, count


def blocks(page, word):
    """Return the Python code of a page that has a word."""
    found = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    return [code for code in found if word in code]


def known():
    names = {}
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        first = name.partition(".")[0]
        names[first] = importlib.import_module(first)
    return names


def test_csv_tables(folders, monkeypatch):
    folder, count = folders
    monkeypatch.chdir(folder / "csv")
    (code,) = blocks("output.md", "batch_*.csv.gz")
    names = {}
    exec(code, names)
    assert len(names["cells"]) == count


@pytest.mark.parametrize(("page", "word"), [
    ("output.md", "features/cells"), ("after-the-stream.md", "features_collected/cells"),
])  # fmt: skip
def test_parquet_tables(folders, monkeypatch, page, word):
    folder, count = folders
    monkeypatch.chdir(folder / "parquet")
    (code,) = blocks(page, word)
    names = known()
    assert {"pandas", "pyarrow"} <= names.keys()
    for line in code.replace(", columns=[...]", "").splitlines():
        if line.partition(".")[0] not in names:
            continue
        found = eval(line, names)
        rows = found.count_rows() if hasattr(found, "count_rows") else len(found)
        assert rows == count, line


def test_a_folder_that_an_earlier_version_began_goes_on_where_its_tables_are(quick, tmp_path):
    screen = quick.make_screen(tmp_path / "screen", plates=1)
    stream = quick.make_stream(screen, tmp_path, out=tmp_path / "features")
    table = quick.table_of(screen)
    options = {"output_format": "parquet", "progress": False}
    stream.run_stream(table, 2, batch_nums=[0], **options)
    out = tmp_path / "features"
    as_before(out)
    stream.run_stream(table, 2, **options)
    assert sorted(path.name for path in out.glob("batch_*")) == [
        "batch_0.parquet", "batch_1.parquet", "batch_2.parquet",
    ]  # fmt: skip
    assert not (out / "cells").exists()
    assert stream.verify().is_good
    stream.close()


def as_before(out):
    """Make an output folder what version 1.0.0 left: Parquet tables beside the journal."""
    import sqlite3
    from contextlib import closing

    for path in (out / "cells").iterdir():
        shutil.move(path, out / path.name)
    (out / "cells").rmdir()
    with closing(sqlite3.connect(out / "journal.sqlite")) as journal, journal:
        journal.execute("UPDATE batches SET file = replace(file, 'cells/', '')")
