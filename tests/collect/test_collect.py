"""An output folder to one dataset, from Python and the command line."""

import json
import shutil
import sqlite3

import numpy as np
import pandas as pd
import pytest

from idrstream.cli.main import main
from idrstream.collect import CollectOptions, collect_folder
from idrstream.collect.cells import _regrouped
from idrstream.compile import WRITERS
from idrstream.compile.readers import table_pieces
from idrstream.errors import CollectError, StorageError
from idrstream.run.reproduce import load_provenance

QUICK = CollectOptions(feature_select=("variance_threshold", "drop_na_columns"))


@pytest.fixture
def copied(streamed, tmp_path):
    return shutil.copytree(streamed, tmp_path / "features")


def record_of(folder):
    return json.loads((folder / "provenance.json").read_text())["collect"]


def published(folder):
    return pd.concat(
        [
            pd.read_csv(path, index_col=0, float_precision="round_trip")
            for path in sorted(folder.glob("batch_*.csv.gz"))
        ],
        ignore_index=True,
    )


def test_a_stream_becomes_one_dataset(streamed, tmp_path):
    before = published(streamed)
    made = collect_folder(streamed, tmp_path / "all", CollectOptions(anndata=True, rows_at_once=25,
        feature_select=QUICK.feature_select))  # fmt: skip
    wanted, found = published(streamed), pd.read_parquet(made.cells_path)
    pd.testing.assert_frame_equal(wanted, before)
    features = [name for name in wanted if name.startswith("efficientnet_")]
    assert len(found) == len(wanted) > 50
    np.testing.assert_array_equal(found[features], wanted[features].astype(np.float32))
    for name in ("Object_Outline", "Location_Center_X", "Location_Center_Y", "Metadata_Gene"):
        assert found[name].tolist() == wanted[name].tolist(), name
    numbers = found["Metadata_Well_Number"].astype(str) + "_" + found["Metadata_Frame"].astype(str)
    assert numbers.tolist() == wanted["Metadata_Well"].tolist()
    assert set(found["Metadata_Control_Type"]) == {"negative control", "positive control"}
    profiles = made.profiles()
    assert len(profiles) == 10
    assert profiles["Metadata_Object_Count"].sum() == len(wanted)

    import anndata

    cells, wells = (anndata.read_h5ad(made.folder / f"{name}.h5ad") for name in ("cells", "wells"))
    np.testing.assert_array_equal(cells.X, found[features])
    np.testing.assert_array_equal(
        cells.obsm["spatial"], found[["Location_Center_X", "Location_Center_Y"]]
    )
    names = [name for name in profiles if name in features]
    np.testing.assert_array_equal(wells.X, profiles[names])
    assert wells.obs_names[0] == f"{profiles.Metadata_Plate[0]}_{profiles.Metadata_Well[0]}"
    assert record_of(made.folder) == made.record
    # With the stream's own, and the table that is needed to run it again.
    stream, here = (load_provenance(path) for path in (streamed, made.folder))
    assert {name: here.content[name] for name in stream.content} == stream.content
    assert here.table.read_bytes() == stream.table.read_bytes()


def test_the_command(streamed, tmp_path, capsys):
    out = tmp_path / "out"
    call = ["collect", str(streamed), "--out", str(out), "--feature-select", "none"]
    assert main([*call, "--normalize-by", "screen"]) == 0
    text = capsys.readouterr().out
    assert "10 wells with 1280 features" in text
    assert main(call) == 10
    assert "--replace" in capsys.readouterr().err
    assert main([*call, "--replace", "--json", "--negative-control", "Positive control"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["options"]["negative_controls"] == ["Positive control"]
    assert main([*call, "--replace", "--control-column", "Treatment"]) == 10
    assert "Metadata_Control_Type" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
    assert record_of(out) == record
    (out / "provenance.json").unlink()
    assert main([*call, "--replace"]) == 10
    assert "not a collection" in capsys.readouterr().err
    assert main([*call, "--feature-select", "magic"]) == 2
    assert "feature_select is 'magic'" in capsys.readouterr().err


def test_missing_batches_are_refused_unless_told(copied, tmp_path):
    with sqlite3.connect(copied / "journal.sqlite") as journal:
        journal.execute("UPDATE batches SET state = 'failed' WHERE number = 1")
    with pytest.raises(CollectError, match=r"1 of 3 batches .* \(1\).*--partial"):
        collect_folder(copied, tmp_path / "all", QUICK)
    some = CollectOptions(partial=True, normalize_by="screen", feature_select=())
    made = collect_folder(copied, tmp_path / "all", some)
    assert made.record["source"]["partial"]
    assert made.record["source"]["missing_batches"] == [1]
    assert "Partial: 1 batches are missing" in str(made)
    assert set(pd.read_parquet(made.cells_path)["Metadata_Stream_Batch"]) == {0, 2}


def test_a_changed_table_is_refused_and_leaves_nothing(copied, tmp_path):
    path = copied / "batch_2.csv.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CollectError, match=r"batch_2.csv.gz was changed"):
        collect_folder(copied, tmp_path / "all", QUICK)
    assert [item.name for item in tmp_path.iterdir()] == ["features"]


def test_a_folder_that_cannot_be_written_is_named(streamed, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/all cannot be written"):
        collect_folder(streamed, tmp_path / "file" / "all", QUICK)


@pytest.mark.parametrize("rows", [0, 1, 5000])
def test_both_formats_read_the_same(tmp_path, rows):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "Location_Center_X": rng.uniform(size=rows),
            "Metadata_Plate": np.array(["P, 1\nof 2"] * rows, dtype=object),
            "Metadata_Note": np.array([""] * rows, dtype=object),
            "efficientnet_0": rng.normal(size=rows).astype(np.float32),
            "efficientnet_1": np.full(rows, np.nan, dtype=np.float32),
        }
    )
    read = []
    for end, writer in WRITERS.items():
        writer(table, tmp_path / f"batch_0.{end}")
        pieces = list(_regrouped(table_pieces(tmp_path / f"batch_0.{end}"), 700))
        assert sum(map(len, pieces)) == rows
        assert max(map(len, pieces)) <= 700
        read.append(pd.concat([piece.to_pandas() for piece in pieces]))
    pd.testing.assert_frame_equal(read[0], read[1], check_exact=True)
    pd.testing.assert_frame_equal(read[0].reset_index(drop=True), table, check_exact=True)
