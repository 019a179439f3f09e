"""What a folder was made from, and making it again from that."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

import quick_parts

from idrstream import ScreenSpec, simulate_screen
from idrstream.cli.main import main
from idrstream.demo import config_for
from idrstream.errors import ConfigError
from idrstream.folder.provenance import known_addresses, read_provenance, save_provenance
from idrstream.run.reproduce import load_provenance

NAME = "provenance.json"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Run a stream of the shipped models from a TOML file, and move its output folder."""
    folder = tmp_path_factory.mktemp("original")
    spec = ScreenSpec(
        plates=1, wells_per_plate=3, frames=3, height=160, width=192, nuclei_per_frame=8
    )
    screen = simulate_screen(folder / "screen", spec)
    settings = folder / "stream.toml"
    settings.write_text(
        f"""
        [stream]
        table = "{screen.table_path}"
        final_data_dir = "features"
        tmp_dir = "tmp"
        batch_size = 2
        extra_metadata = ["object_outlines"]
        [download]
        method = "local"
        root = "{screen.folder}"
        screens_path = "{screen.screens_path}"
        [segment]
        diameter = 17
        [profile]
        dp_config = "{config_for(spec.height, spec.width, folder)}"
        """
    )
    assert main(["run", str(settings), "--progress", "false"]) == 0
    shutil.move(folder / "features", folder / "moved")
    screen.table_path.unlink()
    return folder / "moved"


@pytest.mark.models
def test_a_stream_run_again_gives_the_same_bytes(original, tmp_path, capsys):
    out = tmp_path / "again"
    call = ["run", "--from", str(original / NAME), "--final-data-dir", str(out)]
    call += ["--tmp-dir", str(tmp_path / "tmp"), "--progress", "false"]
    assert main(call) == 0
    assert "results may differ" not in capsys.readouterr().err
    batches = sorted(path.name for path in original.glob("batch_*"))
    assert batches == ["batch_0.csv.gz", "batch_1.csv.gz"]
    for name in [*batches, NAME]:
        assert (out / name).read_bytes() == (original / name).read_bytes(), name

    # Another model is refused before anything is made, and names what is another.
    shutil.rmtree(out)
    content = json.loads((original / NAME).read_text())
    other = shutil.copytree(original, tmp_path / "other") / NAME
    content["identity"]["segmentor"]["flow_threshold"] = 0.1
    content["versions"][-1]["torch"] = "1.0"
    other.write_text(json.dumps(content))
    call[2] = str(other)
    assert main(call) == 7
    error = capsys.readouterr().err
    assert "segmentor.flow_threshold was 0.1, is 0.8" in error
    assert "--accept-differences" in error
    assert not list(out.glob("batch_*"))
    assert main([*call, "--accept-differences"]) == 0
    error = capsys.readouterr().err
    assert "results may differ: torch changed from 1.0 to" in error
    assert "results may differ: this is not the stream" in error
    assert (out / batches[0]).read_bytes() == (original / batches[0]).read_bytes()


def test_what_it_says(original):
    found = load_provenance(original).content
    assert found["plan"]["images"] == 3
    assert [len(digest) for digest in found["identity"]["segmentor"]["model_sha256"]] == [64, 64]
    assert not {"tmp_dir", "final_data_dir", "table"} & found["settings"]["stream"].keys()
    rows = [dict(zip(found["inputs"]["columns"], row, strict=True))
            for row in found["inputs"]["rows"]]  # fmt: skip
    assert rows[0]["file"].endswith("hdf5/00004_01.ch5")
    assert rows[0]["bytes"] > 1000
    assert [(item["file"], len(item["sha256"])) for item in found["outputs"]] == [
        ("batch_0.csv.gz", 64), ("batch_1.csv.gz", 64),
    ]  # fmt: skip
    text = (original / NAME).read_text()
    for word in ('"started"', '"host"', '"pid"', str(original.parent / "tmp")):
        assert word not in text, word


def test_what_cannot_be_run_again_is_told(original, tmp_path, capsys):
    call = ["run", "--from", str(tmp_path / NAME), "--final-data-dir", str(tmp_path / "out")]
    assert main(call) == 2
    assert main(["run"]) == 2
    assert "or --from provenance.json" in capsys.readouterr().err
    shutil.copy(original / NAME, tmp_path)
    assert main(call) == 3
    assert "needs the folder tables beside it" in capsys.readouterr().err
    shutil.copytree(original / "tables", tmp_path / "tables")
    table = next((tmp_path / "tables").iterdir())
    table.write_bytes(table.read_bytes() + b" ")
    assert main(call) == 3
    assert "its digest is not" in capsys.readouterr().err
    content = json.loads((original / NAME).read_text())
    for change in ({"version": 2}, {"format": "x"}, {"plan": {}}):
        (tmp_path / NAME).write_text(json.dumps({**content, **change}))
        assert main(call) == 2
    (tmp_path / NAME).write_text(json.dumps({**content, "settings": None, "again": "build it"}))
    with pytest.raises(ConfigError, match="build it"):
        load_provenance(tmp_path).settings({})


def test_an_interrupted_stream_ends_with_the_same_provenance(tmp_path):
    screen = quick_parts.make_screen(tmp_path / "screen", plates=1, wells=4)
    table = quick_parts.table_of(screen)
    found = []
    for name, batches in (("whole", ["all"]), ("parts", [(1,), "all"])):
        stream = quick_parts.make_stream(screen, tmp_path / name, plate_model=False)
        for numbers in batches:
            stream.run_stream(table, batch_size=2, batch_nums=numbers, progress=False)
        if name == "parts":  # as if the stream had died between its last table and this file
            path = tmp_path / name / "out" / NAME
            path.write_text("{}")
            os.utime(path, (1, 1))
            stream.run_stream(table, batch_size=2, progress=False)
        verified = stream.verify()
        assert verified.is_good
        assert NAME not in verified.others
        stream.close()
        found.append((tmp_path / name / "out" / NAME).read_bytes())
    assert found[0] == found[1]
    content = json.loads(found[0])
    assert content["settings"] is None
    assert "built in Python" in content["again"]
    # Taken from the journal alone it is the same, once the addresses are known.
    out = tmp_path / "whole" / "out"
    save_provenance(tmp_path / NAME, read_provenance(out, known_addresses(out / NAME)))
    assert (tmp_path / NAME).read_bytes() == found[0]


def test_no_secret_is_in_it(tmp_path):
    screen = quick_parts.make_screen(tmp_path / "screen", plates=1, wells=2)
    table = quick_parts.table_of(screen)
    table["URL"] = [
        f"https://anna:hunter2@127.0.0.1:9/{number}.ch5?X-Amz-Signature=abcdef" for number in (1, 2)
    ]
    stream = quick_parts.make_stream(screen, tmp_path, plate_model=False)
    with pytest.raises(ConfigError, match="would be logged"):
        stream.run_stream(table, progress=False)
    stream.close()
    text = (tmp_path / "out" / NAME).read_text()
    assert "https://***@127.0.0.1:9/1.ch5?X-Amz-Signature=***" in text
    assert "hunter2" not in text
    assert "abcdef" not in text
