"""A worker that is a job of a queue system: it does one piece of work and leaves.

python -m idrstream.stream.job_worker STREAM.json DIGEST --index 3 --duration 21600 ...
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from idrstream.cluster.beats import read_state
from idrstream.cluster.jobs import Job, JobBook
from idrstream.cluster.layout import ClusterFolder, StreamFile
from idrstream.cluster.work import EndKind
from idrstream.errors import IdrStreamError
from idrstream.stream.worker import Worker
from idrstream.stream.worker_parts import job_here

_RESERVE_S = 60.0  # for the signal before the limit, and the last files
OK, FAILED = 0, 1


def main(arguments: list[str] | None = None) -> int:
    """Do the work of a job; return the exit code."""
    parser = argparse.ArgumentParser(prog="idrstream.stream.job_worker")
    parser.add_argument("stream_file", type=Path)
    parser.add_argument("digest")
    parser.add_argument("--system", required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--started", type=float, default=None)
    parser.add_argument("--duration", type=float, default=None, help="seconds")
    given = parser.parse_args(arguments)
    started = time.time() if given.started is None else given.started
    deadline = None if given.duration is None else started + given.duration - _RESERVE_S
    try:
        return run_job(given.stream_file, given.digest, given.system, given.index, deadline)
    except IdrStreamError as error:
        sys.stderr.write(f"idrstream: {error}\n")
        return FAILED


def run_job(
    stream_file: Path, digest: str, system: str, number: int, deadline: float | None = None
) -> int:
    """Do the work of a job of an output folder in this process; return the exit code.

    Parameters
    ----------
    stream_file : Path
        What a worker needs to know.
    digest : str
        Its digest when the job was made.
    system : str
        The queue system; empty if the job is run outside it.
    number : int
        Number of the job.
    deadline : float, optional
        When it must have left, in seconds since 1970.

    Raises
    ------
    ClusterError
        If there is no such job.
    """
    file = StreamFile.load(stream_file, digest)
    folder = ClusterFolder(Path(file.output))
    work = JobBook(folder).read_work(number)
    name = Job(number, work.id, system=system).worker
    before = read_state(folder, name)  # the system may start a job again
    done = frozenset(before.done) if before is not None and before.work == work.id else frozenset()
    shutil.rmtree(folder.staging / name, ignore_errors=True)
    with Worker(file, name, job=job_here(), deadline=deadline) as worker:
        kind, message = worker.do(work, skip=done)
        worker.ended = f"{kind}: {message}" if message else str(kind)
    if message:
        sys.stderr.write(f"idrstream: job {number} {worker.ended}\n")
    return FAILED if kind is EndKind.REFUSED else OK


if __name__ == "__main__":
    sys.exit(main())
