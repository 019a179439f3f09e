from __future__ import annotations

import builtins
import gzip
import hashlib
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from idrstream.compile import WRITERS, publish, write_csv_gz, write_parquet
from idrstream.errors import MissingToolError, StorageError
from idrstream.records import Published


def table(rows=3, text="[[1,2],[3,4]]"):
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "Object_Outline": np.array([text] * rows, dtype=object),
            "Location_Center_X": rng.random(rows),
            "Metadata_Plate": np.array(["LT0001_02"] * rows, dtype=object),
            "efficientnet_0": rng.random(rows, dtype=np.float32),
        }
    )


def test_csv_has_a_leading_column_of_row_numbers(tmp_path):
    write_csv_gz(table(), tmp_path / "a.csv.gz")
    lines = gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).decode().splitlines()
    assert lines[0] == ",Object_Outline,Location_Center_X,Metadata_Plate,efficientnet_0"
    assert lines[1].startswith('0,"[[1,2],[3,4]]",0.')
    back = pd.read_csv(tmp_path / "a.csv.gz", index_col=0, float_precision="round_trip")
    pd.testing.assert_frame_equal(
        back, table().astype({"efficientnet_0": float}), check_exact=False
    )


def test_csv_bytes_depend_on_nothing_but_the_table(tmp_path, monkeypatch):
    write_csv_gz(table(), tmp_path / "a.csv.gz")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    write_csv_gz(table(), tmp_path / "other name.csv.gz")
    first = (tmp_path / "a.csv.gz").read_bytes()
    assert first == (tmp_path / "other name.csv.gz").read_bytes()
    assert first[4:8] == (1).to_bytes(4, "little")  # the time in the header
    assert first[3] == 0  # no name in the header


@settings(deadline=None, max_examples=30)
@example(numbers=[0.0], text="\n0")
@example(numbers=[0.0], text="a\rb")
@given(
    numbers=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=8),
    text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
)
def test_numbers_and_texts_survive_csv(tmp_path_factory, numbers, text):
    path = tmp_path_factory.mktemp("csv") / "a.csv.gz"
    written = pd.DataFrame(
        {"x": np.array(numbers, np.float32), "t": np.array([text] * len(numbers), object)}
    )
    write_csv_gz(written, path)
    back = pd.read_csv(
        path,
        index_col=0,
        dtype={"t": str},
        keep_default_na=False,
        lineterminator="\n",
        float_precision="round_trip",
    )
    assert np.array_equal(back["x"].to_numpy(np.float32), written["x"].to_numpy())
    if "\r" not in text:
        assert list(back["t"]) == list(written["t"])


def test_parquet_has_one_schema_with_and_without_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_parquet(table(), tmp_path / "a.parquet")
    write_parquet(table(0), tmp_path / "b.parquet")
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert schema == pq.read_schema(tmp_path / "b.parquet")
    assert schema.types == [pa.string(), pa.float64(), pa.string(), pa.float32()]
    assert (
        pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(0).compression == "ZSTD"
    )
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), table())
    assert len(pd.read_parquet(tmp_path)) == 3


def test_parquet_bytes_depend_on_nothing_but_the_table(tmp_path):
    for name in ("a", "b"):
        write_parquet(table(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_missing_pyarrow_is_said(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("pyarrow"):
            raise ImportError("numpy.core.multiarray failed to import")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingToolError, match=r'pip install "pyarrow<26"'):
        write_parquet(table(), tmp_path / "a.parquet")


@pytest.mark.parametrize("ending", WRITERS)
def test_publish_tells_path_rows_and_digest(tmp_path, ending):
    path = tmp_path / "features" / f"batch_0.{ending}"
    published = publish(table(), path, WRITERS[ending])
    names = hashlib.sha256("\n".join(table().columns).encode()).hexdigest()
    assert published == Published(
        path, 3, hashlib.sha256(path.read_bytes()).hexdigest(), len(table().columns), names
    )
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_failed_publish_leaves_nothing(tmp_path):
    def full(table, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match=r"batch_0\.csv\.gz cannot be written: .*No space left"):
        publish(table(), tmp_path / "batch_0.csv.gz", full)
    assert list(tmp_path.iterdir()) == []


def test_the_features_of_a_table_read_back_exactly(tmp_path):
    rng = np.random.default_rng(3)
    features = np.concatenate(
        [
            rng.normal(size=(3000, 3)).astype(np.float32),
            np.array([[np.nan, 1e-9, 1e20], [-0.0, 16777217, 0.1]], np.float32),
        ]
    )
    texts = np.array(['two\nlines, "quoted"', None, "", "a;b"] * 751, object)[: len(features)]
    written = pd.concat(
        [
            pd.DataFrame({"Metadata_Note": texts, "Location_Center_X": rng.random(len(texts))}),
            pd.DataFrame(features, columns=[f"efficientnet_{n}" for n in range(3)]),
        ],
        axis=1,
    )
    write_csv_gz(written, tmp_path / "a.csv.gz")
    back = pd.read_csv(tmp_path / "a.csv.gz", index_col=0, keep_default_na=False, na_values="")
    names = [f"efficientnet_{n}" for n in range(3)]
    assert back[names].to_numpy(np.float32).tobytes() == features.tobytes()
    assert list(back.index) == list(range(len(written)))
    assert list(back["Metadata_Note"].fillna("")) == [text or "" for text in texts]
    assert list(back.columns) == list(written.columns)


def test_files_of_a_stream_are_one_data_set_for_everybody(tmp_path):
    import pyarrow.dataset

    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")

    for number, rows in enumerate((3, 0, 2)):
        write_parquet(table(rows), tmp_path / f"batch_{number}.parquet")
    columns = list(table().columns)
    whole = pd.concat([table(3), table(2)], ignore_index=True)
    arrow = pyarrow.dataset.dataset(tmp_path).to_table()
    assert [str(kind) for kind in arrow.schema.types] == ["string", "double", "string", "float"]
    pattern = str(tmp_path / "batch_*.parquet")
    for read in (
        arrow.to_pandas(),
        pd.read_parquet(tmp_path),
        polars.read_parquet(pattern).to_pandas(),
        duckdb.sql(f"SELECT * FROM '{pattern}'").df(),
    ):
        assert list(read.columns) == columns
        read = read.sort_values("Location_Center_X", ignore_index=True)
        wanted = whole.sort_values("Location_Center_X", ignore_index=True)
        pd.testing.assert_frame_equal(read.astype({"Object_Outline": object}), wanted)
        assert read["efficientnet_0"].dtype == np.float32
