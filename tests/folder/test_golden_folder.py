"""An output folder written by an earlier version: every command still works on it."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from idrstream import ScreenSpec, simulate_screen
from idrstream.cli.main import main
from idrstream.demo import config_for

GOLDEN = Path(__file__).parent / "golden"
# As in make_folder.py; the same seed gives the same movies.
SPEC = ScreenSpec(
    plates=1, wells_per_plate=3, frames=1, height=128, width=128, nuclei_per_frame=4, seed=7
)
TABLES = ("batch_0.csv.gz", "batch_1.csv.gz")


def unpacked(name, tmp_path):
    """Unpack a folder where it was not made."""
    with tarfile.open(GOLDEN / f"{name}.tar.gz") as packed:
        packed.extractall(tmp_path)
    return tmp_path / "features"


@pytest.fixture(params=["folder_v1", "folder_v2"])
def folder(request, tmp_path):
    return unpacked(request.param, tmp_path)


def resume(capsys, folder, tmp_path, *options):
    screen = simulate_screen(tmp_path / "screen", SPEC)
    config = config_for(SPEC.height, SPEC.width, tmp_path)
    code = main(
        [*map(str, (
            "resume", folder, "--json", "--tmp-dir", tmp_path / "tmp", "--root", screen.folder,
            "--screens-path", screen.screens_path, "--dp-config", config, *options,
        ))]
    )  # fmt: skip
    shutil.rmtree(screen.folder)
    return code, capsys.readouterr()


def contents(folder):
    return {name: (folder / name).read_bytes() for name in TABLES}


def run(capsys, *arguments):
    code = main([*map(str, arguments)])
    return code, capsys.readouterr().out


def test_status_and_verify(folder, capsys):
    before = contents(folder)
    code, out = run(capsys, "status", folder, "--json")
    status = json.loads(out)
    assert (code, status["state"]) == (0, "stopped")
    assert (status["batches"], status["batches_done"], status["images_done"]) == (3, 2, 2)
    assert "2 of 3 done" in run(capsys, "status", folder)[1]
    code, out = run(capsys, "verify", folder, "--json")
    found = json.loads(out)
    assert code == 1
    assert (found["proven"], found["left"], found["problems"]) == (2, [2], [])
    assert contents(folder) == before


def test_report_and_collect(folder, capsys):
    code, out = run(capsys, "report", folder, "--json")
    assert code == 0
    assert "2 of 3" in Path(json.loads(out)["path"]).read_text()
    arguments = ["--partial", "--normalize", "none", "--json"]
    code, out = run(capsys, "collect", folder, *arguments)
    collected = json.loads(out)
    assert code == 0
    assert collected["source"]["missing_batches"] == [2]
    assert collected["profiles"]["wells"] == 2


@pytest.mark.models
def test_resume_finishes_the_missing_batch(tmp_path, capsys):
    folder = unpacked("folder_v2", tmp_path)
    before = contents(folder)
    code, said = resume(capsys, folder, tmp_path)
    assert code == 0, said.err
    status = json.loads(said.out)
    assert (status["run"], status["state"]) == ([2], "done")
    assert contents(folder) == before
    code, out = run(capsys, "verify", folder)
    assert (code, out.split(",")[0]) == (0, "3 of 3 batches verified")


@pytest.mark.models
def test_features_of_other_weights_are_not_mixed_with_those_of_a_folder(tmp_path, capsys):
    folder = unpacked("folder_v1", tmp_path)  # of the profiler before this one
    before = contents(folder)
    code, said = resume(capsys, folder, tmp_path)
    assert code == 7
    assert "profiler.checkpoint_sha256 was" in said.err
    assert contents(folder) == before
    code, said = resume(capsys, folder, tmp_path, "--force")
    assert code == 0, said.err
    assert json.loads(said.out)["state"] == "done"
    assert contents(folder)["batch_0.csv.gz"] != before["batch_0.csv.gz"]
    code, out = run(capsys, "verify", folder)
    assert (code, out.split(",")[0]) == (0, "3 of 3 batches verified")
