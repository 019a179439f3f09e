"""Workers in arrays of jobs of a queue system, which need not reach each other or anybody.

Each piece of work is a job with a number, counted from 1 and never used twice in an output folder.
``cluster/jobs/<number>.json`` is its work, ``book.json`` says which job is in which array. Jobs
outlive the coordinator: another one finds them there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from idrstream.cluster.beats import WorkerState, read_state
from idrstream.cluster.layout import ClusterFolder, file_digest
from idrstream.cluster.queues import Account, JobState, QueueSystem, Resources, job_script
from idrstream.cluster.systems import queue_system
from idrstream.cluster.work import CONNECTIONS, Ended, EndKind, Executor, Recipe, Work
from idrstream.errors import ClusterError
from idrstream.files import atomic_file
from idrstream.opening import open_regular, read_regular
from idrstream.text import parse_json

_MOST_BYTES = 1 << 28
_UNKNOWN_S = 30.0  # a job that its system does not know may be on its way


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a queue system.

    Attributes
    ----------
    number : int
        Its number in the output folder.
    work : str
        Name of its work.
    batches : tuple of int
        Its batches; empty for the illumination of a plate.
    plate : str
        The plate.
    system, array : str
        Queue system, and number of its array there; empty until it is submitted.
    submitted : float
        When, in seconds since 1970.
    ended : str
        How it ended; empty before.
    """

    number: int
    work: str
    batches: tuple[int, ...] = ()
    plate: str = ""
    system: str = ""
    array: str = ""
    submitted: float = 0.0
    ended: str = ""

    @property
    def worker(self) -> str:
        """Name of its worker."""
        return f"{self.system or 'here'}-{self.number}"


@dataclass(slots=True)
class JobBook:
    """The jobs of an output folder, in a file.

    Parameters
    ----------
    folder : ClusterFolder
        Its folder.
    """

    folder: ClusterFolder
    jobs: dict[int, Job] = field(default_factory=dict)
    _changed: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the file."""
        try:
            content = parse_json(read_regular(self._path, _MOST_BYTES))
            for one in content["jobs"]:
                job = Job(**{**one, "batches": tuple(one["batches"])})
                self.jobs[job.number] = job
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{self._path} is damaged: {error}"
            raise ClusterError(msg) from error

    @property
    def _path(self) -> Path:
        return self.folder.jobs / "book.json"

    def save(self) -> None:
        """Write the file, if anything in it changed."""
        if not self._changed:
            return
        content = {"jobs": [asdict(job) for job in self.jobs.values()]}
        with atomic_file(self._path, mode=0o644) as file:
            file.write(json.dumps(content).encode())
        self._changed = False

    def add(self, work: Work) -> Job:
        """Make a job of a piece of work; it is not saved yet."""
        number = max(self.jobs, default=0) + 1
        job = Job(number, work.id, tuple(work.batches), work.plate)
        with atomic_file(self.work_path(number), durable=False, mode=0o644) as file:
            file.write(json.dumps(work.as_json()).encode())
        self.jobs[number] = job
        self._changed = True
        return job

    def work_path(self, number: int) -> Path:
        """Return the file with the work of a job."""
        return self.folder.jobs / f"{number}.json"

    def read_work(self, number: int) -> Work:
        """Return the work of a job.

        Raises
        ------
        ClusterError
            If there is no such job.
        """
        try:
            return Work.of_json(parse_json(read_regular(self.work_path(number), _MOST_BYTES)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"there is no job {number} in {self.folder.jobs}: {error}"
            raise ClusterError(msg) from error

    def update(self, number: int, **changes: Any) -> None:
        """Change what is known of a job; it is not saved yet."""
        self.jobs[number] = replace(self.jobs[number], **changes)
        self._changed = True

    @property
    def open(self) -> list[Job]:
        """Jobs that have not ended."""
        return [job for job in self.jobs.values() if not job.ended]

    def accounts(self) -> dict[int, Account]:
        """Return what the accounting of the queue systems has of the jobs, if there is one."""
        arrays = {(job.system, job.array) for job in self.jobs.values() if job.array}
        found: dict[int, Account] = {}
        for system, array in sorted(arrays):
            found |= queue_system(system).accounts(array)
        return found

    def states(self) -> Iterator[tuple[Job, JobState | None, WorkerState | None]]:
        """Yield every submitted job that has not ended, what its system and its worker say."""
        arrays: dict[tuple[str, str], list[Job]] = {}
        for job in self.open:
            if job.array:
                arrays.setdefault((job.system, job.array), []).append(job)
        for (system, array), jobs in arrays.items():
            found = queue_system(system).states(array, [job.number for job in jobs])
            for job in jobs:
                yield job, found.get(job.number), read_state(self.folder, job.worker)


class JobArrays(Executor):
    """Workers in arrays of jobs.

    Parameters
    ----------
    system : str
        ``slurm``, ``pbs`` or ``lsf``.
    resources : Resources
        What each job asks for.
    folder : ClusterFolder
        Of the output folder.
    workers : int
        Jobs that may run at once.
    batches_per_job : int
        Batches in a job, at most.
    submits, gives : bool
        Whether jobs are submitted, and whether work that is in no job becomes one.
    detached : bool
        Whether to leave once all is given.
    interval_s : float
        Seconds between two questions to the queue system.
    recipe, connections, tmp_dir
        See `Processes`.
    """

    outlives = True

    def __init__(
        self,
        system: str,
        resources: Resources,
        folder: ClusterFolder,
        *,
        workers: int = 2,
        batches_per_job: int = 20,
        submits: bool = True,
        gives: bool = True,
        detached: bool = False,
        interval_s: float = 10.0,
        recipe: Recipe | None = None,
        connections: int = CONNECTIONS,
        tmp_dir: str = "",
    ) -> None:
        from idrstream.cluster.processes import check_workers

        check_workers(workers, connections)
        self.workers, self.connections = workers, connections
        self.recipe, self.tmp_dir, self.detached = recipe, tmp_dir, detached
        self._system: QueueSystem = queue_system(system)
        self._resources = resources
        self._folder = folder
        self._batches_per_job = batches_per_job
        self._submits, self._gives = submits, gives
        self._interval_s = interval_s
        self._book: JobBook | None = None
        self._asked = 0.0
        self._waiting = ""

    @property
    def book(self) -> JobBook:
        """The jobs of the output folder."""
        if self._book is None:
            self._book = JobBook(self._folder)
        return self._book

    def slice_size(self, n_left: int) -> int:  # noqa: ARG002
        """Return how many batches a job gets."""
        return self._batches_per_job

    def capacity(self) -> int:
        """Return how many jobs may be made: the queue system makes them wait."""
        return 1 << 30 if self._gives else 0

    def give(self, work: Work, stream_file: Path) -> None:  # noqa: ARG002
        """Make a job of a piece of work; it is submitted with the others."""
        self.book.add(work)

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """Submit the jobs that are not, and return the work of those that ended."""
        if self._submits:
            self.submit()
        else:
            self.book.save()
        left_s = self._asked + self._interval_s - time.monotonic()
        if left_s > 0 and not self.detached:
            time.sleep(min(left_s, timeout_s))
            return []
        self._asked = time.monotonic()
        ends = [end for entry in self.book.states() if (end := self._end_of(*entry)) is not None]
        if ends:
            self.book.save()
        return ends

    def submit(self) -> list[Job]:
        """Submit all jobs that are not; return them."""
        jobs = [job for job in self.book.open if not job.array]
        self.book.save()
        if not jobs:
            return []
        script = self._folder.jobs / f"{self._system.name}.sh"
        with atomic_file(script, mode=0o600) as file:
            file.write(self.script().encode())
        array = self._system.submit(script, [job.number for job in jobs], self.workers)
        for job in jobs:
            self.book.update(
                job.number, array=array, system=self._system.name, submitted=time.time()
            )
        self.book.save()
        return jobs

    def script(self) -> str:
        """Return the script of the jobs."""
        command = [
            sys.executable, "-m", "idrstream.stream.job_worker", str(self._folder.stream),
            file_digest(self._folder.stream), "--system", self._system.name,
            "--duration", str(self._resources.seconds),
        ]  # fmt: skip
        return job_script(self._system, self._resources, self._folder.logs, command)

    def adopted(self) -> Sequence[Work]:
        """Return the work of all jobs that have not ended."""
        return [self.book.read_work(job.number) for job in self.book.open]

    def waiting(self) -> str:
        """Return which jobs wait, and why."""
        return self._waiting

    def close(self) -> None:
        """Leave; jobs go on."""
        self.book.save()

    def _last_words(self, job: Job) -> str:
        """Return the last line that a job wrote to its terminal."""
        for path in self._folder.logs.glob(f"*{job.array}_{job.number}.out"):
            with suppress(OSError), open_regular(path) as file:
                file.seek(max(0, path.stat().st_size - 2000))
                if lines := file.read().decode("utf-8", "replace").split("\n")[:-1]:
                    return f"; it said: {lines[-1]}"
        return ""

    def _end_of(self, job: Job, state: JobState | None, worker: WorkerState | None) -> Ended | None:
        """Return the end of a job's work; None if it waits or runs."""
        if worker is not None and worker.ended and worker.work in ("", job.work):
            said, _, message = worker.ended.partition(": ")
            kind = EndKind(said) if said in list(EndKind) else EndKind.LOST
        elif state is None and time.time() - job.submitted < _UNKNOWN_S:
            return None
        elif state is None:
            kind, message = EndKind.LOST, f"{job.system} does not know it any more"
        elif state.phase != "ended":
            if state.phase == "waiting":
                self._waiting = f"job {job.number} and others wait: {state.reason}"
            return None
        else:
            kind, message = state.kind, state.reason + self._last_words(job)
        self.book.update(job.number, ended=f"{kind}: {message}" if message else str(kind))
        text = f"job {job.number} ({job.array}_{job.number}): {message or kind}"
        return Ended(self.book.read_work(job.number), kind, job.worker, text)
