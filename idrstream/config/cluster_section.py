"""The section of the settings about workers on this and other machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge
from pydantic import AfterValidator, BeforeValidator
from typing_extensions import Doc

from idrstream.config.options import STRICT, Power, Scope, as_lines, valid_size
from idrstream.config.paths import OptionalFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """``[cluster]``: where the work is done; by default in this process."""

    __pydantic_config__ = STRICT

    executor: Annotated[
        Literal["this", "processes", "dask", "dask-local", "dask-jobs", "jobs"],
        Doc(
            "this: this process; processes: workers on this machine; dask: a scheduler that runs; "
            "dask-local, dask-jobs: one that is started here, with workers on this machine or in "
            "jobs of queue_system; jobs: arrays of jobs of queue_system."
        ),
        Scope.LOCAL,
    ] = "this"
    dask: Annotated[
        str, Doc("Address of a Dask scheduler, such as tls://10.0.0.1:8786."), Scope.LOCAL
    ] = ""
    scheduler_file: Annotated[
        OptionalFile, Doc("File that a Dask scheduler wrote its address into."), Scope.LOCAL
    ] = None
    queue_system: Annotated[
        Literal["slurm", "pbs", "lsf"], Doc("System that jobs are submitted to."), Scope.LOCAL
    ] = "slurm"
    workers: Annotated[
        int, Ge(1), Doc("Workers, or jobs at once; each holds the models."), Scope.LOCAL
    ] = 2
    batches_per_job: Annotated[int, Ge(1), Doc("jobs: batches that one job gets."), Scope.LOCAL] = (
        20
    )
    worker_cores: Annotated[
        int | None,
        Ge(1),
        Doc("Processor cores of a worker; 4 in jobs, else the machine's are divided."),
        Scope.LOCAL,
    ] = None
    worker_memory: Annotated[
        str, AfterValidator(valid_size), Doc("Memory that a worker's job asks for."), Scope.LOCAL
    ] = "16GB"
    worker_gpus: Annotated[
        int, Ge(0), Doc("GPUs that a job asks for, or that workers here divide."), Scope.LOCAL
    ] = 0
    duration: Annotated[str, Doc("Time limit of a job, HH:MM:SS or D-HH:MM:SS."), Scope.LOCAL] = (
        "06:00:00"
    )
    partition: Annotated[str, Doc("Partition or queue of the jobs."), Scope.LOCAL] = ""
    account: Annotated[str, Doc("Account or project that jobs are charged to."), Scope.LOCAL] = ""
    qos: Annotated[str, Doc("Quality of service of the jobs."), Scope.LOCAL] = ""
    prologue: Annotated[
        tuple[str, ...],
        BeforeValidator(as_lines),
        Doc('Lines of shell before the worker of a job, for example "module load cuda".'),
        Scope.LOCAL,
        Power.RUNS,
    ] = ()
    interface: Annotated[
        str,
        Doc("dask-jobs: network interface that scheduler and workers listen on; loopback if none."),
        Scope.LOCAL,
    ] = ""
    connections: Annotated[
        int, Ge(1), Doc("Connections to one server, of all workers together."), Scope.LOCAL
    ] = 16
    worker_tmp_dir: Annotated[
        str,
        Doc(
            "Folder for intermediates on the workers' machines, where variables such as $TMPDIR "
            "are replaced; tmp_dir by default."
        ),
        Scope.LOCAL,
        Power.WRITES,
    ] = ""
