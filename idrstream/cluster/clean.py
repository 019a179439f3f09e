"""Cancels the jobs of an output folder and deletes what workers left there."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from idrstream.cluster.beats import live_workers
from idrstream.cluster.jobs import Job, JobBook
from idrstream.cluster.layout import ClusterFolder
from idrstream.cluster.receipts import attempts
from idrstream.cluster.systems import queue_system
from idrstream.errors import ClusterError
from idrstream.folder.locks import folder_lock
from idrstream.opening import refuse_links

_PATIENCE_S = 40.0


def clean_folder(output: Path) -> list[Job]:
    """Cancel the jobs of an output folder and delete what workers left; return the jobs.

    Results that nobody has taken yet stay, until they are collected.

    Parameters
    ----------
    output : Path
        The output folder.

    Raises
    ------
    LockedError
        If a stream runs in the folder.
    ClusterError
        If workers are still at work.
    """
    folder = ClusterFolder(output)
    with folder_lock(output, "final_data_dir"):
        refuse_links(
            output, *(p.relative_to(output).as_posix() for p in (folder.root, folder.jobs))
        )
        book = JobBook(folder)
        jobs = [job for job in book.open if job.array]
        for system, array in {(job.system, job.array) for job in jobs}:
            numbers = [job.number for job in jobs if (job.system, job.array) == (system, array)]
            queue_system(system).cancel(array, numbers)
        deadline = time.monotonic() + _PATIENCE_S
        while jobs and any(s and s.phase == "running" for _, s, _ in book.states()):
            if time.monotonic() > deadline:
                msg = "jobs are cancelled but still run; try again when they have ended"
                raise ClusterError(msg)
            time.sleep(0.5)
        cancelled = {job.worker for job in jobs}
        if others := [one for one in live_workers(folder) if one.worker not in cancelled]:
            msg = f"worker {others[0].worker} on {others[0].host} is still at work"
            raise ClusterError(msg)
        for path in (folder.jobs, folder.workers, folder.staging, folder.root / "dask"):
            shutil.rmtree(path, ignore_errors=True)
        folder.deaths.unlink(missing_ok=True)
        if not attempts(folder.inbox):
            shutil.rmtree(folder.root, ignore_errors=True)
    return jobs
