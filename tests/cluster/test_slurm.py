"""Jobs of a real SLURM with two nodes on loopback."""

from __future__ import annotations

import re
import time

import pytest

from idrstream.cluster.jobs import JobArrays
from idrstream.cluster.layout import ClusterFolder
from idrstream.cluster.queues import Resources
from idrstream.errors import ClusterError

SMALL = Resources(cores=1, memory="600MB", duration="00:10:00")


def arrays(folder, recipe, **options):
    cluster = ClusterFolder(folder / "out")
    return JobArrays(
        "slurm", options.pop("resources", SMALL), cluster, batches_per_job=2, recipe=recipe,
        interval_s=0.5, **options,
    )  # fmt: skip


def test_an_array_of_jobs_makes_the_same_bytes(slurm, parts, screen, wanted, recipe, tmp_path):
    stream = parts.make_stream(screen, tmp_path)
    table = parts.table_of(screen)
    result = stream.run_stream(table, 1, progress=False, executor=arrays(tmp_path, recipe()))
    assert not result.failed_batches
    assert not result.remaining_batches
    assert parts.results(tmp_path / "out") == wanted
    cluster = ClusterFolder(tmp_path / "out")
    assert not list(cluster.inbox.iterdir())
    until = time.monotonic() + 60
    while list(cluster.staging.iterdir()) and time.monotonic() < until:
        time.sleep(0.1)  # the last job is still leaving
    assert not list(cluster.staging.iterdir())


@pytest.mark.slow
def test_cancelled_jobs_are_replaced_and_their_batches_are_not_blamed(
    slurm, parts, screen, wanted, recipe, tmp_path
):
    stream = parts.make_stream(screen, tmp_path)
    cancelled = []

    def cancel(event):
        if type(event).__name__ == "BatchFinished" and not cancelled:
            cancelled.extend(slurm.run("squeue", "-h", "-r", "-o", "%i").split())
            slurm.run("scancel", *cancelled)

    executor = arrays(tmp_path, recipe(slow_s=0.2))
    result = stream.run_stream(
        parts.table_of(screen), 1, progress=False, executor=executor, listeners=[cancel]
    )
    assert cancelled
    assert not result.failed_batches
    assert not result.remaining_batches
    assert parts.results(tmp_path / "out") == wanted
    assert any(job.ended.startswith("lost") for job in executor.book.jobs.values())


@pytest.mark.slow
def test_memory_over_the_limit_of_a_job_is_told_as_such(slurm, parts, screen, recipe, tmp_path):
    stream = parts.make_stream(screen, tmp_path)
    executor = arrays(tmp_path, recipe(), resources=Resources(cores=1, memory="60MB"))
    try:  # workers die at batches, which fail, or before they begin one, and the run ends
        result = stream.run_stream(parts.table_of(screen), 1, progress=False, executor=executor)
        said = result.failures()["Reason"].tolist()
        assert len(result.failed_batches) == len(result.plan.numbers)
    except ClusterError as error:
        said = [str(error)]
    assert said
    for reason in said:
        assert re.search("OUT_OF_MEMORY|memory limit|no memory left", reason), reason


@pytest.mark.slow
def test_workers_of_dask_in_jobs_make_the_same_bytes_though_all_are_cancelled(
    slurm, parts, screen, wanted, recipe, listening, tmp_path
):
    pytest.importorskip("dask_jobqueue")
    from idrstream.cluster.dask_clusters import start_jobs
    from idrstream.cluster.dasks import Dask

    client = start_jobs("slurm", SMALL, 2, tmp_path / "dask")
    assert client.scheduler.address.startswith("tls://127.0.0.1")
    cancelled, new = [], set()

    def cancel(event):
        new.update(listening())
        if type(event).__name__ == "BatchFinished" and not cancelled:
            cancelled.extend(slurm.run("squeue", "-h", "-o", "%i").split())
            slurm.run("scancel", *cancelled)

    stream = parts.make_stream(screen, tmp_path)
    executor = Dask(client, 2, owned=True, recipe=recipe(slow_s=0.2))
    result = stream.run_stream(
        parts.table_of(screen), 1, progress=False, executor=executor, listeners=[cancel]
    )
    assert cancelled
    assert not result.failed_batches
    assert not result.remaining_batches
    assert parts.results(tmp_path / "out") == wanted
    assert len(new) > 2
    assert not {one for one in new if not one.startswith("127.")}
    keys = [path for path in (tmp_path / "dask").rglob("*") if "key" in path.name]
    assert not [path for path in keys if path.stat().st_mode & 0o077]
