"""Workers on a Dask cluster, in processes beside its own: no results pass through it.

A task of Dask only carries a piece of work to a machine and tells how it ended. The models are in a
process of ours beside Dask's worker (`WorkerChild`), which lives as long as that does: what keeps
Python's lock busy there does not make Dask's worker seem dead, and a kill of ours is told from one
of Dask's.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from idrstream.cluster.dask_clusters import CONNECT_S, jobs_of, replace_ended
from idrstream.cluster.layout import file_digest
from idrstream.cluster.processes import DEADLINE, WorkerChild, check_workers
from idrstream.cluster.queues import duration_s, run_command
from idrstream.cluster.slurm import Slurm
from idrstream.cluster.work import CONNECTIONS, Ended, EndKind, Executor, Recipe, Work
from idrstream.errors import ClusterError, ConfigError, MissingToolError

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

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
            except KeyError as error:  # all that is known of a scheduler that is gone
                raise self._lost("its connection is lost") from error
            except (OSError, TimeoutError) as error:
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
            replace_ended(self._client.cluster, self.workers)
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
