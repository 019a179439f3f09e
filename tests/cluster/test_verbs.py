"""``idrstream cluster``: jobs that wait in a real queue, without a worker that loads models."""

from __future__ import annotations

import json
import sqlite3

import pytest

from idrstream.cli.main import main
from idrstream.cluster.jobs import JobBook
from idrstream.cluster.layout import ClusterFolder

TOML = """
[stream]
table = "{table}"
final_data_dir = "{folder}/out"
tmp_dir = "{folder}/tmp"
log = "{folder}/stream.log"
[download]
method = "local"
root = "{root}"
screens_path = "{screens}"
[cluster]
executor = "jobs"
batches_per_job = 2
worker_cores = 1
worker_memory = "600MB"
"""


@pytest.fixture
def config(slurm, screen, tmp_path):
    path = tmp_path / "stream.toml"
    path.write_text(
        TOML.format(
            table=screen.table_path, folder=tmp_path, root=screen.folder,
            screens=screen.screens_path,
        )
    )  # fmt: skip
    return path


def test_jobs_from_init_to_cleanup(slurm, config, tmp_path, capsys):
    folder = str(tmp_path / "out")
    assert main(["cluster", "init", str(config), "--batch-size", "1"]) == 0
    assert "3 jobs with 6 batches" in capsys.readouterr().out
    asked = ["--duration", "1-00:00:00", "--partition", "short", "--prologue", "true # module"]
    assert main(["cluster", "submit", folder, "--dry-run", *asked]) == 0
    script = capsys.readouterr().out
    assert "#SBATCH --time=1-00:00:00\n" in script
    assert "\ntrue # module\n" in script
    assert slurm.run("squeue", "-h", "-u", "root", "-p", "short") == ""
    # The partition allows five minutes: the jobs wait for ever, and only the queue says why.
    assert main(["cluster", "submit", folder, "--detach", *asked]) == 0
    assert "Jobs 1-3 are submitted" in capsys.readouterr().out
    assert main(["cluster", "info", folder, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in rows] == ["waiting"] * 3
    assert all(row["reason"].startswith("Partition") for row in rows)
    assert [row["batches"] for row in rows] == [[0, 1], [2, 3], [4, 5]]
    assert main(["cluster", "info", folder, "--job", "2"]) == 0
    assert "job 2: waiting, batches 2-3" in capsys.readouterr().out
    assert main(["cluster", "info", folder, "--job", "9"]) == 11
    # Nothing has come, and nothing is given twice.
    assert main(["cluster", "collect", folder]) == 1
    assert main(["cluster", "resubmit", folder, "--detach"]) == 0
    assert len(JobBook(ClusterFolder(tmp_path / "out")).jobs) == 3
    capsys.readouterr()
    assert main(["cluster", "log", folder, "--phase", "init"]) == 0
    assert "The plan is first" in capsys.readouterr().out
    assert main(["cluster", "cleanup", folder]) == 0
    assert "3 jobs are cancelled" in capsys.readouterr().out
    assert slurm.run("squeue", "-h", "-p", "short") == ""
    assert not (tmp_path / "out" / "cluster").exists()
    with sqlite3.connect(tmp_path / "out" / "journal.sqlite") as journal:
        states = journal.execute("SELECT DISTINCT state FROM batches").fetchall()
    assert states == [("planned",)]


def test_without_a_queue_system_it_is_told(screen, config, tmp_path, capsys, monkeypatch):
    assert main(["cluster", "init", str(config), "--batch-size", "1"]) == 0
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["cluster", "submit", str(tmp_path / "out")]) == 4
    assert "sbatch is not there" in capsys.readouterr().err


@pytest.mark.slow
def test_a_scheduler_file_that_is_missing_is_told(config, tmp_path, capsys):
    missing = str(tmp_path / "scheduler.json")
    given = ["--executor", "dask", "--scheduler-file", missing, "--progress", "false"]
    assert main(["run", str(config), *given]) == 11
    assert missing in capsys.readouterr().err
