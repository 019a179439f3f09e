"""Clusters of Dask: those that run already, of this machine, of jobs of a queue system."""

from __future__ import annotations

import ipaddress
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from idrstream.cluster.queues import Resources, run_command
from idrstream.errors import ClusterError, MissingToolError
from idrstream.opening import read_regular
from idrstream.text import parse_json
from idrstream.workers.threads import all_processors

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

CONNECT_S = 8.0


def connect(
    address: str = "", scheduler_file: Path | None = None, *, timeout_s: float | None = None
) -> Client:
    """Connect to a Dask scheduler that runs already.

    Parameters
    ----------
    address : str
        Its address, for example ``tls://10.0.0.1:8786``; certificates are those of Dask's
        configuration (``distributed.comm.tls``).
    scheduler_file : Path, optional
        The file that it writes its address into, instead.
    timeout_s : float, optional
        How long to wait for the file and the answer.

    Returns
    -------
    distributed.Client
        Connected.

    Raises
    ------
    ClusterError
        If there is no file, or nobody answers.
    MissingToolError
        If Dask is not installed.
    """
    kind = _distributed().Client
    deadline = time.monotonic() + (CONNECT_S if timeout_s is None else timeout_s)
    if scheduler_file is not None:
        while not scheduler_file.is_file():
            if time.monotonic() > deadline:
                msg = f"there is no scheduler file {scheduler_file}: start dask scheduler with it"
                raise ClusterError(msg)
            time.sleep(0.1)
        try:
            address = str(parse_json(read_regular(scheduler_file, 1 << 20))["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{scheduler_file} is no scheduler file of Dask: {error}"
            raise ClusterError(msg) from error
    if not address.startswith("tls://") and not is_loopback(address):
        log.warning(
            "%s is not encrypted, and whoever reaches it can run programs as you: start scheduler "
            "and workers with TLS certificates and give tls://…, or let idrstream start them",
            address,
        )
    try:
        left_s = max(1.0, deadline - time.monotonic())
        client: Client = kind(address, timeout=left_s, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        msg = f"no Dask scheduler answers at {address}: {error}"
        raise ClusterError(msg) from error
    return client


def start_local(workers: int, threads: int | None = None) -> Client:
    """Start a Dask cluster of this machine, on its loopback interface; return its client.

    Raises
    ------
    MissingToolError
        If Dask is not installed.
    """
    distributed = _distributed()
    cluster = distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=threads or max(1, all_processors() // workers),
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        security=_temporary_security(),
        silence_logs=logging.ERROR,
    )
    client: Client = distributed.Client(cluster, set_as_default=False)
    return client


def start_jobs(
    system: str, resources: Resources, workers: int, folder: Path, interface: str = ""
) -> Client:
    """Start a Dask cluster whose workers are jobs of a queue system; return its client.

    Scheduler and workers talk by TLS, with certificates for this run alone, which lie in the
    output folder where only this user can read them. The dashboard is on loopback only.

    Parameters
    ----------
    system : {"slurm", "pbs", "lsf"}
        The queue system.
    resources : Resources
        What each worker's job asks for.
    workers : int
        How many jobs.
    folder : Path
        Folder for certificates and what jobs write to their terminal, seen by all machines.
    interface : str
        Network interface that scheduler and workers listen on, for example ``ib0``.

    Raises
    ------
    ConfigError
        If the interface is missing or there is none of that name.
    ClusterError
        If the cluster cannot be started.
    """
    distributed = _distributed()
    try:
        import dask
        import dask_jobqueue
    except ImportError as error:
        raise _missing("dask-jobqueue") from error
    kinds = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}
    where: dict[str, Any] = {"interface": interface} if interface else {}
    listens = {"dashboard_address": "127.0.0.1:0"} | ({} if interface else {"host": "127.0.0.1"})
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    extra = [f"--gpus-per-node={resources.gpus}"] if resources.gpus and system == "slurm" else []
    extra += [f"--qos={resources.qos}"] if resources.qos and system == "slurm" else []
    names = {"slurm": ("account",), "pbs": ("account",), "lsf": ("project",)}[system]
    named = {name: resources.account for name in names if resources.account}
    options = {
        "queue": resources.partition or None, "cores": resources.cores, "processes": 1,
        "memory": f"{resources.megabytes}MiB", "walltime": resources.duration,
        "job_script_prologue": list(resources.prologue), "job_extra_directives": extra,
        "worker_extra_args": ["--dashboard-address", "127.0.0.1:0"], "log_directory": str(folder),
        "shared_temp_directory": str(folder), "security": _temporary_security(),
        "protocol": "tls", "python": sys.executable, "n_workers": workers, **named, **where,
        "scheduler_options": listens,
    }  # fmt: skip
    if not interface:
        options["worker_extra_args"] += ["--host", "127.0.0.1"]
    try:
        with dask.config.set({"distributed.deploy.lost-worker-timeout": "3s"}):
            cluster = getattr(dask_jobqueue, kinds[system])(**options)
        client: Client = distributed.Client(cluster, set_as_default=False, timeout=CONNECT_S)
    except (OSError, TimeoutError, RuntimeError, ValueError) as error:
        msg = f"a Dask cluster of {system} jobs cannot be started: {error}"
        raise ClusterError(msg) from error
    return client


def is_loopback(address: str) -> bool:
    """Return whether an address is of this machine's loopback interface."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or address.startswith("inproc://")


def _temporary_security() -> Any:
    try:
        security: Any = _distributed().Security
        return security.temporary()
    except ImportError as error:
        raise _missing("cryptography") from error


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise _missing("distributed") from error
    return distributed


def _missing(name: str) -> MissingToolError:
    return MissingToolError(f"Dask clusters need {name}: pip install idrstream[cluster]")


def replace_ended(cluster: Any, wanted: int) -> None:
    """Ask for workers in the place of those whose jobs ended."""
    names = {str(job): name for name, job in jobs_of(cluster).items()}
    if names:
        said = run_command(["squeue", "-h", "-o", "%i", "-j", ",".join(names)], may_fail=True)
        for job in set(names) - set(said.split()):
            cluster.workers.pop(names[job], None)
    cluster.scale(wanted)


def jobs_of(cluster: Any) -> dict[str, str]:
    """Return the SLURM jobs of a cluster by the names of its workers; empty for other kinds."""
    found = {name: getattr(job, "job_id", None) for name, job in dict(cluster.workers).items()}
    slurm = type(cluster).__name__ == "SLURMCluster"
    return {str(name): str(job) for name, job in found.items() if slurm and job}
