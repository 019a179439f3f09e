"""An output folder to one dataset, from Python and the command line."""

import inspect
import json
import re
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from idrstream.cli.main import main
from idrstream.collect import CollectOptions, collect_folder
from idrstream.collect.cells import _regrouped
from idrstream.compile import WRITERS
from idrstream.compile.readers import table_pieces
from idrstream.errors import CollectError, ConfigError, StorageError
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
    described = made.features()
    assert described.index.tolist() == features
    assert set(described["object"] + described["family"]) == {"Nucleiefficientnet"}
    assert described["weight"].dropna().index.tolist() == names  # those of the profiles
    for data in (cells, wells):
        kept = described.loc[data.var_names, ["object", "family", "channel", "block"]]
        assert (data.var[list(kept)].astype(str) == kept).all(axis=None)
    np.testing.assert_array_equal(wells.var["weight"], described.loc[names, "weight"])
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
    assert "10 wells with 1,280 features" in text
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
    assert "Partial: 1 batch is missing" in str(made)
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


PLAIN = ["--normalize", "none"]


def test_a_folder_is_collected_from_inside(copied, monkeypatch, capsys):
    monkeypatch.chdir(copied)
    assert main(["collect", ".", *PLAIN]) == 0
    assert (copied.parent / "features_collected" / "cells").is_dir()
    assert main(["collect", ".", *PLAIN, "--out", "."]) == 10
    assert "not a collection" in capsys.readouterr().err


def test_into_the_working_folder(streamed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["collect", str(streamed), *PLAIN, "--out", "."]) == 0
    before = sorted(path.name for path in tmp_path.iterdir())
    assert before == [
        "cells",
        "features.csv",
        "provenance.json",
        "tables",
        "wells_aggregated.parquet",
    ]
    assert main(["collect", str(streamed), *PLAIN, "--out", ".", "--replace"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert Path.cwd() == tmp_path  # and not a folder that is gone


def test_into_a_file(streamed, tmp_path, capsys):
    (tmp_path / "table.csv").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        main(["collect", str(streamed), *PLAIN, "--out", str(tmp_path / "table.csv")])
    assert "table.csv is a file; name a folder" in capsys.readouterr().err
    assert (tmp_path / "table.csv").read_text() == "mine"


def test_options_are_keywords(streamed, tmp_path):
    made = collect_folder(streamed, tmp_path / "all", normalize="none", partial=True)
    assert made.record["options"]["normalize"] == "none"
    with pytest.raises(ConfigError, match="no option 'normalise'; it has aggregate"):
        collect_folder(streamed, tmp_path / "more", normalise="none")


def test_the_hints_of_messages_are_options():
    sources = Path(collect_folder.__code__.co_filename).parent.glob("*.py")
    text = re.sub(r'"\s*\n\s*f?"', "", "".join(path.read_text() for path in sources))
    named = re.findall(r"--([a-z-]+)(?: \w+)? \((\w+)(?:=\w+)?\)", text)
    assert len(named) >= 7
    known = {*inspect.signature(collect_folder).parameters, *CollectOptions.__dataclass_fields__}
    assert {word for _, word in named} <= known


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


def test_a_collection_with_files_of_somebody_else_is_not_replaced(streamed, tmp_path, capsys):
    out = tmp_path / "all"
    call = ["collect", str(streamed), *PLAIN, "--out", str(out)]
    assert main(call) == 0
    for name in ("thesis.txt", "cells/mine.parquet", ".part/thesis.txt"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
        assert main([*call, "--replace"]) == 10
        assert name in capsys.readouterr().err
        assert (out / name).read_text() == "mine"
        (out / name).unlink()
    assert main([*call, "--replace"]) == 0
