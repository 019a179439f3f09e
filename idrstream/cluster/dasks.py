"""Workers on a Dask cluster, in processes beside its own: no results pass through it.

A task of Dask only carries a piece of work to a machine and tells how it ended. The models are in a
process of ours beside Dask's worker (`WorkerChild`), which lives as long as that does: what keeps
Python's lock busy there does not make Dask's worker seem dead, and a kill of ours is told from one
of Dask's.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from idrstream.cluster.layout import file_digest
from idrstream.cluster.processes import DEADLINE, WorkerChild, check_workers
from idrstream.cluster.queues import Resources, Slurm, duration_s, run_command
from idrstream.cluster.work import CONNECTIONS, Ended, EndKind, Executor, Recipe, Work
from idrstream.errors import ClusterError, ConfigError, MissingToolError
from idrstream.opening import read_regular
from idrstream.text import parse_json
from idrstream.workers.threads import all_processors

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

CONNECT_S = 8.0
_LOOK_S = 1.0
_REPLACE_S = 5.0
_NOBODY_S = 60.0
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Dask(Executor):
    """Workers on a Dask cluster, one beside each of Dask's.

    Parameters
    ----------
    client : distributed.Client
        Connected to the cluster.
    workers : int
        How many of its workers to use at most; so many are asked for if the cluster is `owned`.
    owned : bool
        Whether client and cluster end with the run, and ended workers are replaced by scaling.
    recipe, connections, tmp_dir
        See `Processes`.

    Raises
    ------
    ConfigError
        If there were more workers than connections.
    """

    def __init__(
        self,
        client: Client,
        workers: int,
        *,
        owned: bool = False,
        recipe: Recipe | None = None,
        connections: int = CONNECTIONS,
        tmp_dir: str = "",
    ) -> None:
        check_workers(workers, connections)
        self.workers = workers
        self.recipe = recipe
        self.connections = connections
        self.tmp_dir = tmp_dir
        self._client: Any = client  # much of it is untyped
        self._owned = owned
        self._busy: dict[str, tuple[Work, Any]] = {}  # by address of Dask's worker
        self._rests: dict[str, float] = {}
        self._ended: SimpleQueue[str] = SimpleQueue()
        self._seen: tuple[str, ...] = ()
        self._looked = self._replaced = 0.0
        self._jobs: dict[str, str] = {}  # of SLURM, by address
        self._seen_last = time.monotonic()

    def capacity(self) -> int:
        """Return how many of Dask's workers have nothing to do."""
        return len(self._free())

    def give(self, work: Work, stream_file: Path) -> None:
        """Have one of Dask's workers do a piece of work."""
        address = self._free()[0]
        future = self._client.submit(
            do_work, str(stream_file), file_digest(stream_file), work.as_json(),
            key=f"idrstream-{work.id}", workers=[address], allow_other_workers=False, pure=False,
            retries=0,
        )  # fmt: skip
        self._busy[address] = (work, future)
        future.add_done_callback(lambda _: self._ended.put(address))

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """Return the work that ended, also because its worker is gone."""
        found: list[Ended] = []
        while True:
            try:
                address = self._ended.get(timeout=0 if found else timeout_s)
            except Empty:
                break
            if (given := self._busy.pop(address, None)) is not None:
                found.append(self._end_of(address, *given))
        here = set(self._look())
        for address in [one for one in self._busy if one not in here]:
            work, future = self._busy.pop(address)
            future.cancel()
            found.append(self._gone(address, work))
        return found

    def close(self) -> None:
        """Ask the workers to leave, and end the cluster if it is ours."""
        try:
            if self._client.status == "running":
                self._client.run(stop_worker)
                deadline = time.monotonic() + 20
                while self._busy and time.monotonic() < deadline:
                    self.wait(0.2)
        except (OSError, TimeoutError) as error:
            log.warning("Workers could not be asked to leave: %s", error)
        if self._owned:
            cluster = self._client.cluster
            self._client.close()
            if cluster is not None:
                cluster.close()

    def waiting(self) -> str:
        """Return how many workers are not there yet."""
        lacking = self.workers - len(self._seen)
        return f"{lacking} of {self.workers} Dask workers are not there" if lacking > 0 else ""

    def _free(self) -> list[str]:
        now = time.monotonic()
        room = self.workers - len(self._busy)
        free = [
            one for one in self._look() if one not in self._busy and self._rests.get(one, 0) < now
        ]
        return free[: max(0, room)]

    def _look(self) -> tuple[str, ...]:
        """Return the addresses of Dask's workers; replace those that ended, if we may."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            try:
                here = self._client.scheduler_info(n_workers=-1)["workers"]
            except (OSError, TimeoutError, KeyError) as error:
                raise self._lost(error) from error
            if self._client.status not in ("running", "connecting"):
                raise self._lost(self._client.status)
            self._looked, self._seen = now, tuple(sorted(here))
            jobs = jobs_of(self._client.cluster) if self._owned else {}
            self._jobs |= {
                one: jobs[str(info["name"])]
                for one, info in here.items()
                if str(info["name"]) in jobs
            }
        if self._seen:
            self._seen_last = now
        elif not self._owned and now - self._seen_last > _NOBODY_S:
            msg = (
                f"the Dask scheduler has had no worker for {_NOBODY_S:.0f} s: start some and go on "
                "with idrstream resume"
            )
            raise ClusterError(msg)
        if self._owned and len(self._seen) < self.workers and now - self._replaced > _REPLACE_S:
            self._replaced = now
            _replace(self._client.cluster, self.workers)
        return self._seen

    def _gone(self, address: str, work: Work) -> Ended:
        """Return the end of work whose worker is gone, by what SLURM says of its job if it can."""
        message, job = f"Dask's worker {address} is gone", self._jobs.get(address)
        state = None if job is None else Slurm().job_state(job)
        if state is None or state.phase != "ended":
            return Ended(work, EndKind.DIED, message=message)
        return Ended(work, state.kind, message=f"{message}: job {job} {state.reason}")

    def _lost(self, why: object) -> ClusterError:
        address = getattr(self._client.scheduler, "address", "")
        return ClusterError(
            f"the Dask scheduler {address} does not answer any more ({why}). What is done is kept: "
            "start it again and go on with idrstream resume"
        )

    def _end_of(self, address: str, work: Work, future: Any) -> Ended:
        try:
            if future.status != "finished":
                return Ended(work, EndKind.DIED, message=_why(future, address))
            reply: Mapping[str, str] = future.result(timeout=CONNECT_S)
        except (OSError, TimeoutError) as error:
            return Ended(work, EndKind.LOST, message=f"Dask's worker {address}: {error}")
        kind = EndKind(reply["kind"])
        if kind not in (EndKind.FINISHED, EndKind.RETURNED):
            self._rests[address] = time.monotonic() + 2.0
        return Ended(work, kind, reply["worker"], reply["message"])


def _why(future: Any, address: str) -> str:
    if future.status == "error":
        return f"Dask's worker {address}: {future.exception()}"
    return f"Dask's worker {address} is gone"


def do_work(stream_file: str, digest: str, content: Mapping[str, Any]) -> dict[str, str]:
    """Do a piece of work in a process beside Dask's worker; runs there."""
    from distributed import get_worker

    work, worker = Work.of_json(content), get_worker()
    held: _Beside = worker.__dict__.setdefault("idrstream_beside", _Beside())
    with held.lock:  # a coordinator before may have left a task here
        try:
            child = held.child_for(Path(stream_file), digest, worker.state.nthreads)
        except OSError as error:
            message = f"{error}: workers need the output folder"
            return {"kind": EndKind.REFUSED, "worker": "", "message": message}
        ended = child.do(work)
    return {"kind": ended.kind, "worker": ended.worker, "message": ended.message}


def stop_worker(dask_worker: Any) -> None:
    """Ask the process beside Dask's worker to leave; runs there."""
    held: _Beside | None = dask_worker.__dict__.get("idrstream_beside")
    if held is not None and held.child is not None:
        held.child.stop()


class _Beside:
    """The process beside one of Dask's workers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.child: WorkerChild | None = None

    def child_for(self, stream_file: Path, digest: str, threads: int) -> WorkerChild:
        """Return a living worker of a stream."""
        if self.child is None or not self.child.serves(stream_file, digest):
            if self.child is not None:
                self.child.end()
            environment = dict.fromkeys(_THREADS, str(threads))  # Dask sets them to 1
            if deadline := deadline_here():
                environment[DEADLINE] = str(deadline)
            self.child = WorkerChild(stream_file, environment, digest)
        return self.child


def deadline_here() -> float | None:
    """Return when the job that this process is in will end, in seconds since 1970, if known."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job.isdigit():
        return None
    try:
        left = run_command(["squeue", "-h", "-j", job, "-o", "%L"], may_fail=True).strip()
        return time.time() + duration_s(left)
    except (ConfigError, MissingToolError):
        return None


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


def _replace(cluster: Any, wanted: int) -> None:
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
