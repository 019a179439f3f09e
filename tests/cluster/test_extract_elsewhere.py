"""Planes extracted by workers elsewhere: the same bytes on every executor, and after kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from extraction import files_of, settings_of

from idrstream import IdrStream, ScreenSpec, read_table, simulate_screen
from idrstream.cli.main import main
from idrstream.folder.locks import holder
from idrstream.stream.executors import make_executor

ON = {
    "workers": "2", "worker_cores": "1", "worker_memory": "600MB", "duration": "00:10:00",
    "batches_per_job": "2",
}  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """Return a screen of two plates with three wells each, all frames whole."""
    spec = ScreenSpec(
        plates=2, wells_per_plate=3, frames=40, height=96, width=128, nuclei_per_frame=6,
        invalid_frames=(), empty_wells=(), wanted_frames=(1, 2),
    )  # fmt: skip
    return simulate_screen(tmp_path_factory.mktemp("screen"), spec)


def extract(screen, folder, **options):
    settings = settings_of(screen, folder, **ON, **options)
    stream = IdrStream.from_settings(settings)
    table = read_table(screen.table_path)
    executor = make_executor(settings.cluster, folder / "out")
    result = stream.extract(table, batch_size=1, progress=False, executor=executor)
    assert not result.rerun_batches
    assert stream.extracted(table).whole == 6
    assert stream.verify().is_good
    return files_of(folder)


@pytest.fixture(scope="module")
def here(screen, tmp_path_factory):
    """Return what this process extracts."""
    return extract(screen, tmp_path_factory.mktemp("here"))


def test_dask_on_this_machine(screen, here, tmp_path):
    pytest.importorskip("distributed")
    assert extract(screen, tmp_path, executor="dask-local") == here


def test_arrays_of_jobs(slurm, screen, here, tmp_path):
    assert extract(screen, tmp_path, executor="jobs") == here


@pytest.mark.parametrize("executor", ["processes", "dask-local"])
def test_killed_half_way_with_its_workers_it_goes_on_to_the_same_bytes(
    screen, here, tmp_path, executor
):
    """The coordinator is killed; its workers leave or are killed with it."""
    config, out = tmp_path / "stream.toml", tmp_path / "out"
    config.write_text(
        f'[stream]\ntable = "{screen.table_path}"\nfinal_data_dir = "{out}"\n'
        f'tmp_dir = "{tmp_path / "tmp"}"\nbatch_size = 1\nprogress = false\n'
        f'[download]\nmethod = "local"\nroot = "{screen.folder}"\n'
        f'screens_path = "{screen.screens_path}"\n'
        f'[cluster]\nexecutor = "{executor}"\nworkers = 2\nworker_cores = 1\n'
    )
    before = {path: path.read_bytes() for path in screen.folder.rglob("*.ch5")}
    command = [sys.executable, "-m", "idrstream", "extract", str(config), "--delete"]
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 600
    while not any(out.glob("batch_*.csv.gz")) and time.monotonic() < until:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    assert running.wait(30) == -signal.SIGKILL
    assert 0 < len(list(out.glob("batch_*.csv.gz"))) < 6
    assert holder(out) is None
    assert {path: path.read_bytes() for path in before} == before
    assert main(["resume", str(out)]) == 0
    assert files_of(tmp_path) == here
    assert {path: path.read_bytes() for path in before} == before
    for name in ("inbox", "staging", "workers"):
        assert not list((out / "cluster" / name).iterdir())
