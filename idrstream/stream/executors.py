"""Makes the executor that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from idrstream.cluster.layout import ClusterFolder
from idrstream.cluster.processes import Processes, check_workers
from idrstream.cluster.queues import Resources

if TYPE_CHECKING:
    from distributed import Client

    from idrstream.cluster.jobs import JobArrays
    from idrstream.cluster.work import Executor
    from idrstream.config import ClusterSettings

_CORES_OF_A_JOB = 4


def make_executor(settings: ClusterSettings, output: Path) -> Executor | None:
    """Return what the settings name; None for this process.

    Parameters
    ----------
    settings : ClusterSettings
        The settings.
    output : Path
        The output folder.

    Raises
    ------
    UserError
        If it cannot be had.
    """
    shared: dict[str, Any] = {
        "connections": settings.connections,
        "tmp_dir": settings.worker_tmp_dir,
    }
    kind = settings.executor
    if kind == "this" and (settings.dask or settings.scheduler_file):
        kind = "dask"
    if kind == "this":
        return None
    if kind == "processes":
        return Processes(
            settings.workers, threads=settings.worker_cores, gpus=settings.worker_gpus, **shared
        )
    if kind == "jobs":
        return make_arrays(settings, output)
    from idrstream.cluster import dask_clusters
    from idrstream.cluster.dasks import Dask

    check_workers(settings.workers, settings.connections)
    if kind == "dask":
        client = dask_clusters.connect(settings.dask, settings.scheduler_file)
        return Dask(client, settings.workers, **shared)
    if kind == "dask-local":
        client = dask_clusters.start_local(settings.workers, settings.worker_cores)
    else:
        client = dask_clusters.start_jobs(
            settings.queue_system,
            resources_of(settings),
            settings.workers,
            ClusterFolder(output).root / "dask",
            settings.interface,
        )
    return Dask(client, settings.workers, owned=True, **shared)


def as_executor(given: Executor | Client | None) -> Executor | None:
    """Return an executor for a client of Dask; others stay as they are.

    Raises
    ------
    ConfigError
        If its cluster has no workers yet.
    """
    if given is None or not type(given).__module__.startswith("distributed."):
        return cast("Executor | None", given)
    from idrstream.cluster.dasks import Dask
    from idrstream.cluster.work import CONNECTIONS

    client: Any = given
    there = len(client.scheduler_info(n_workers=-1)["workers"])
    return Dask(client, min(there, CONNECTIONS))


def make_arrays(settings: ClusterSettings, output: Path, **modes: Any) -> JobArrays:
    """Return the executor of job arrays; `modes` are those of `JobArrays`."""
    from idrstream.cluster.jobs import JobArrays

    return JobArrays(
        settings.queue_system,
        resources_of(settings),
        ClusterFolder(output),
        workers=settings.workers,
        batches_per_job=settings.batches_per_job,
        connections=settings.connections,
        tmp_dir=settings.worker_tmp_dir,
        **modes,
    )


def resources_of(settings: ClusterSettings) -> Resources:
    """Return what the settings ask for each job."""
    return Resources(
        cores=settings.worker_cores or _CORES_OF_A_JOB,
        gpus=settings.worker_gpus,
        memory=settings.worker_memory,
        duration=settings.duration,
        partition=settings.partition,
        account=settings.account,
        qos=settings.qos,
        prologue=settings.prologue,
    )
