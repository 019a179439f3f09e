"""Real models, six batches, illumination by plate: the same bytes wherever they are computed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from idrstream import IdrStream, ScreenSpec, load_settings, read_table, simulate_screen
from idrstream.cluster import Processes
from idrstream.demo import config_for
from idrstream.folder.verify import verify_folder
from idrstream.stream.executors import make_executor

HEIGHT, WIDTH = 256, 320
SETTINGS = {
    "batch_size": "1", "method": "local", "illumination_context": "plate", "diameter": "17",
    "cores": "1", "threads": "1", "progress": "false", "worker_cores": "1", "workers": "2",
    "worker_memory": "1900MB", "duration": "01:00:00", "batches_per_job": "3",
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.models, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def run(parts, tmp_path_factory):
    """Return a function that runs a stream in a folder of its own; it returns its results."""
    pytest.importorskip("cellpose")
    pytest.importorskip("basicpy")
    root = tmp_path_factory.mktemp("real")
    spec = ScreenSpec(
        plates=2, wells_per_plate=3, frames=4, height=HEIGHT, width=WIDTH, nuclei_per_frame=20,
        invalid_frames=(), empty_wells=(), wanted_frames=(1, 2),
    )  # fmt: skip
    screen = simulate_screen(root / "mirror", spec)

    def start(name, make):
        folder = root / name
        folder.mkdir()
        settings = load_settings(
            None, environment={},
            options=SETTINGS | {
                "table": str(screen.table_path), "root": str(screen.folder),
                "screens_path": str(screen.screens_path), "final_data_dir": str(folder / "out"),
                "tmp_dir": str(folder / "tmp"),
                "dp_config": str(config_for(HEIGHT, WIDTH, folder)),
            },
        )  # fmt: skip
        stream = IdrStream.from_settings(settings)
        result = stream.run_stream(
            read_table(screen.table_path), 1, progress=False, pictures="50MB", cores=1,
            executor=make(settings.cluster, folder / "out"),
        )  # fmt: skip
        assert not result.failed_batches
        assert not result.remaining_batches
        assert verify_folder(folder / "out").is_good
        stream.close()
        return parts.results(folder / "out")

    return start


@pytest.fixture(scope="module")
def here(run):
    """Return the results of a stream in this process."""
    found = run("here", lambda *_: None)
    assert len([name for name in found if name.startswith("batch_")]) == 6
    assert len([name for name in found if name.startswith("illumination/")]) == 2
    return found


def test_processes(run, here):
    assert run("processes", lambda *_: Processes(2, threads=1)) == here


def test_dask_on_this_machine(run, here):
    pytest.importorskip("distributed")
    found = run("local", lambda s, out: make_executor(replace(s, executor="dask-local"), out))
    assert found == here


def test_a_client_of_dask(run, here):
    pytest.importorskip("distributed")
    from idrstream.cluster.dask_clusters import start_local

    client = start_local(1, threads=1)
    try:
        assert run("client", lambda *_: client) == here
    finally:
        client.close()
        client.cluster.close()


def test_dask_in_jobs(slurm, run, here):
    pytest.importorskip("dask_jobqueue")
    found = run("dask", lambda s, out: make_executor(replace(s, executor="dask-jobs"), out))
    assert found == here


def test_arrays_of_jobs(slurm, run, here):
    found = run("jobs", lambda s, out: make_executor(replace(s, executor="jobs"), out))
    assert found == here
