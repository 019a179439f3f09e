"""What a worker is doing, in a small file that it replaces every few seconds."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from idrstream.cluster.layout import ClusterFolder
from idrstream.files import atomic_file
from idrstream.folder.live import read_small, write_small

BEAT_S = 5.0
"""Seconds between two states of a worker."""
STALE_S = 60.0
"""Seconds after which a worker without a new one counts as gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """What a worker is doing.

    Attributes
    ----------
    worker : str
        Its name.
    host, pid, job : str, int, str
        Where it runs; number of the job in its queue system, if it is in one.
    started : float
        When, in seconds since 1970.
    work : str
        The work it does; empty between two.
    todo : tuple of int
        All batches of this work.
    batches : tuple of int
        Batches in progress.
    done : tuple of int
        Batches of this work that have a result.
    longest_s : float
        Duration of the longest batch so far.
    loading_s : float
        How long it took to make and load the components.
    memory_bytes, peak_bytes : int
        Memory of the process, now and at most.
    threads : int
        Processor cores that it uses.
    gpus : str
        GPUs that it sees.
    tmp : str
        Where it keeps its intermediates.
    ended : str
        How it ended; empty while it is there.
    """

    worker: str
    host: str = ""
    pid: int = 0
    job: str = ""
    started: float = 0.0
    work: str = ""
    todo: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()
    done: tuple[int, ...] = ()
    longest_s: float = 0.0
    loading_s: float = 0.0
    memory_bytes: int = 0
    peak_bytes: int = 0
    threads: int = 0
    gpus: str = ""
    tmp: str = ""
    ended: str = ""

    def save(self, folder: ClusterFolder) -> None:
        """Replace the worker's file."""
        write_small(state_path(folder, self.worker), asdict(self))


def state_path(folder: ClusterFolder, worker: str) -> Path:
    """Return the file of a worker."""
    return folder.workers / f"{worker}.json"


def read_state(folder: ClusterFolder, worker: str) -> WorkerState | None:
    """Return what a worker wrote last; None if it wrote nothing that can be read."""
    content = read_small(state_path(folder, worker))
    try:
        for name in ("todo", "batches", "done"):
            content[name] = tuple(int(number) for number in content[name])
        return WorkerState(**content)
    except (KeyError, TypeError, ValueError):
        return None


def all_states(folder: ClusterFolder) -> Iterator[WorkerState]:
    """Yield the state of every worker that has a file."""
    for path in sorted(folder.workers.glob("*.json")):
        if (state := read_state(folder, path.stem)) is not None:
            yield state


def batches_of(folder: ClusterFolder, work: str, worker: str = "") -> tuple[int, ...]:
    """Return the batches that were in progress of a piece of work.

    Parameters
    ----------
    folder : ClusterFolder
        Where the workers' files are.
    work : str
        The work.
    worker : str
        Its worker, if that is known.
    """
    one = read_state(folder, worker) if worker else None
    states = all_states(folder) if one is None else iter([one])
    return next((state.batches for state in states if state.work == work), ())


def live_workers(folder: ClusterFolder) -> list[WorkerState]:
    """Return the workers that wrote their state lately and have not ended.

    Ages are by the clock of the file system, whatever the clocks of the machines say.
    """
    now = _file_time(folder)
    found = []
    for state in all_states(folder):
        with suppress(FileNotFoundError):
            written = state_path(folder, state.worker).stat().st_mtime
            if not state.ended and now - written < STALE_S and not _is_dead_here(state):
                found.append(state)
    return found


def forget_ended(folder: ClusterFolder, *, states: bool = True) -> None:
    """Delete what workers left that are gone: staging, intermediates on this machine, `states`."""
    alive = {state.worker for state in live_workers(folder)}
    for state in list(all_states(folder)):
        if state.worker in alive:
            continue
        if state.tmp and state.host == os.uname().nodename:
            tmp = Path(state.tmp)
            if tmp.name == state.worker and not tmp.is_symlink():
                shutil.rmtree(tmp, ignore_errors=True)
                with suppress(OSError):
                    tmp.parent.rmdir()
        if states:
            state_path(folder, state.worker).unlink(missing_ok=True)
    for path in folder.workers.glob(".*"):  # parts of files whose writers were killed
        if not any(worker in path.name for worker in alive):
            path.unlink(missing_ok=True)
    if folder.staging.is_dir():
        for path in folder.staging.iterdir():
            if path.name not in alive:
                shutil.rmtree(path, ignore_errors=True)


def _is_dead_here(state: WorkerState) -> bool:
    """Return whether a worker of this machine has no process any more."""
    if state.host != os.uname().nodename:
        return False
    try:
        os.kill(state.pid, 0)
        stat = Path(f"/proc/{state.pid}/stat").read_text()
    except ProcessLookupError:
        return True
    except FileNotFoundError:  # gone meanwhile, unless this is no Linux
        return Path("/proc/self/stat").exists()
    except OSError:  # of another user
        return False
    return stat.rpartition(") ")[2].startswith("Z")  # ended, but nobody has asked how


def _file_time(folder: ClusterFolder) -> float:
    """Return the time of the file system that the folder is on."""
    probe = folder.workers / f".{os.getpid()}.clock"
    try:
        with atomic_file(probe, durable=False) as file:
            file.write(b"")
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        probe.unlink(missing_ok=True)
