"""Workers beside those of a real Dask cluster on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from idrstream.cluster import Processes
from idrstream.cluster.layout import ClusterFolder
from idrstream.errors import ClusterError

distributed = pytest.importorskip("distributed")

from idrstream.cluster.dask_clusters import connect, is_loopback, start_local  # noqa: E402
from idrstream.cluster.dasks import Dask  # noqa: E402


def test_a_local_cluster_makes_the_same_bytes_though_a_worker_is_killed(
    parts, screen, wanted, recipe, listening, tmp_path
):
    client = start_local(2, threads=1)
    executor = Dask(client, 2, owned=True, recipe=recipe(slow_s=0.1))
    new, struck = set(), []
    assert client.scheduler.address.startswith("tls://127.0.0.1")
    with pytest.raises(ClusterError):  # strangers have no certificate
        connect(client.scheduler.address.replace("tls", "tcp"), timeout_s=2)

    def kill_one(event):
        new.update(listening())
        if type(event).__name__ == "BatchFinished" and not struck:
            infos = client.scheduler_info(n_workers=-1)["workers"]
            struck.append(infos[min(infos)]["id"])
            pids = client.run(os.getpid)
            os.kill(pids[min(pids)], signal.SIGKILL)

    stream = parts.make_stream(screen, tmp_path)
    result = stream.run_stream(
        parts.table_of(screen), 1, progress=False, executor=executor, listeners=[kill_one]
    )
    assert struck
    assert not result.failed_batches
    assert not result.remaining_batches
    assert parts.results(tmp_path / "out") == wanted
    assert len(new) > 2
    assert not {one for one in new if not one.startswith(("127.", "[::1]"))}
    cluster = ClusterFolder(tmp_path / "out")
    assert not list(cluster.inbox.iterdir())
    assert not list(cluster.staging.iterdir())


@pytest.fixture
def scheduler(tmp_path):
    """Start Dask's scheduler and worker as users do; return the scheduler's file and process."""
    file = tmp_path / "scheduler.json"
    words = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    here = ["--host", "127.0.0.1", "--scheduler-file", str(file)]
    processes = [
        subprocess.Popen([*words, "scheduler", *here, "--port", "0", "--no-dashboard"], **quiet),
        subprocess.Popen([*words, "worker", *here, "--nthreads", "1", "--no-dashboard"], **quiet),
    ]
    yield file, processes[0]
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(20)


@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_told_and_resume_goes_on(
    parts, screen, wanted, recipe, tmp_path, scheduler
):
    file, process = scheduler
    client = connect(scheduler_file=file)
    stream = parts.make_stream(screen, tmp_path)

    def kill(event):
        if type(event).__name__ == "BatchFinished":
            process.kill()

    executor = Dask(client, 1, recipe=recipe(slow_s=0.3))
    began = time.monotonic()
    with pytest.raises(ClusterError, match=r"scheduler.*resume"):
        stream.run_stream(
            parts.table_of(screen), 1, progress=False, executor=executor, listeners=[kill]
        )
    assert time.monotonic() - began < 60
    client.close()
    result = stream.resume(progress=False, executor=Processes(1, recipe=recipe()))
    assert not result.remaining_batches
    assert parts.results(tmp_path / "out") == wanted


def test_a_missing_scheduler_is_told_within_seconds(tmp_path):
    began = time.monotonic()
    with pytest.raises(ClusterError, match="no scheduler file"):
        connect(scheduler_file=tmp_path / "scheduler.json", timeout_s=1)
    with pytest.raises(ClusterError, match="no Dask scheduler answers at tcp://127"):
        connect("tcp://127.0.0.1:9", timeout_s=1)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://127.0.0.1:8786", True), ("tls://[::1]:1", True), ("tcp://localhost:1", True),
        ("tcp://10.0.0.1:8786", False), ("tcp://0.0.0.0:1", False), ("tcp://node7:8786", False),
    ],
)  # fmt: skip
def test_which_addresses_are_loopback(address, expected):
    assert is_loopback(address) is expected
