"""Lanes: a few threads each, which run the jobs of one stage and return the outcomes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from idrstream.schedule.options import LaneSizes
from idrstream.workers.threads import limit_threads, torch_is_there

Message = Callable[[], None]
Inbox = SimpleQueue[Message]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: what it returned or raised, and its wall-clock time."""

    value: Any
    error: BaseException | None
    seconds: float


@dataclass(frozen=True, slots=True)
class LaneReport:
    """How busy a lane was.

    Attributes
    ----------
    name : str
        ``download``, ``preprocess``, ``segment``, ``profile``, ``compile``, ...
    workers : int
        Jobs it can run at once.
    jobs : int
        Jobs done.
    busy_s : float
        Busy seconds of all workers together.
    share : float
        Busy seconds per worker and second of the stream, 0 to 1.
    """

    name: str
    workers: int
    jobs: int
    busy_s: float
    share: float


class Lane:
    """Threads that run the jobs of one stage in the order they are submitted.

    Only the thread that owns the inbox may call its methods. Threads start with the first jobs.

    Parameters
    ----------
    name : str
        Name of the stage.
    workers : int
        Jobs at once.
    inbox : SimpleQueue
        Where outcomes are put, as calls to be made by the owner.
    ahead : int
        Jobs that may wait in the lane, so that it need not wait for its owner.
    threads : int or None
        Threads that a job's own libraries (torch) may use; None does not limit them.
    """

    def __init__(
        self, name: str, workers: int, inbox: Inbox, *, ahead: int = 0, threads: int | None = None
    ) -> None:
        self.name = name
        self.workers = workers
        self.n_jobs = 0
        self._ahead = ahead
        self._inbox = inbox
        self._threads = threads
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Callable[[Outcome], None]] | None] = (
            SimpleQueue()
        )
        self._pool: list[threading.Thread] = []
        self._n_done = 0
        self._busy_s = 0.0
        self._since: dict[int, float] = {}

    @property
    def has_capacity(self) -> bool:
        """Whether it takes another job."""
        return self.n_jobs < self.workers + self._ahead

    def submit(self, call: Callable[[], Any], done: Callable[[Outcome], None]) -> None:
        """Submit a job; the inbox gets a call of `done` with the outcome, whatever happens."""
        self.n_jobs += 1
        if len(self._pool) < min(self.n_jobs, self.workers):
            name = f"idrstream-{self.name}-{len(self._pool) + 1}"
            # A daemon: a second Ctrl-C must end the process.
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._pool.append(thread)
            thread.start()
        self._jobs.put((call, done))

    def report(self, wall_s: float) -> LaneReport:
        """Return how busy the lane was in `wall_s` seconds."""
        now = time.monotonic()
        busy = self._busy_s + sum(now - since for since in list(self._since.values()))
        share = busy / (wall_s * self.workers) if wall_s > 0 else 0.0
        return LaneReport(self.name, self.workers, self._n_done, busy, min(share, 1.0))

    def drop_waiting(self) -> None:
        """Drop the jobs that no thread has started; their `done` is not called."""
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return
            if job is not None:
                self.n_jobs -= 1

    def close(self) -> None:
        """End the threads once their current jobs are done."""
        for _ in self._pool:
            self._jobs.put(None)

    def join(self, deadline: float) -> bool:
        """Wait until a time of the monotonic clock; return whether all threads ended."""
        for thread in self._pool:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._pool)

    def _work(self) -> None:
        n_threads = self._threads
        while (job := self._jobs.get()) is not None:
            if n_threads is not None and torch_is_there():
                limit_threads(n_threads)
                n_threads = None
            self._inbox.put(partial(self._finish, job[1], self._run(job[0])))
            del job  # its frames must not live on in a waiting thread

    def _run(self, call: Callable[[], Any]) -> Outcome:
        started = self._since[threading.get_ident()] = time.monotonic()
        try:
            return Outcome(call(), None, time.monotonic() - started)
        # Everything, an interrupt too, is returned to the owner.
        except BaseException as error:
            return Outcome(None, error, time.monotonic() - started)
        finally:
            del self._since[threading.get_ident()]

    def _finish(self, done: Callable[[Outcome], None], outcome: Outcome) -> None:
        self.n_jobs -= 1
        self._n_done += 1
        self._busy_s += outcome.seconds
        done(outcome)


def make_lanes(sizes: LaneSizes, inbox: Inbox) -> dict[str, Lane]:
    """Return the lanes of a stream by name."""
    threads = sizes.cores or None
    # name: jobs at once, jobs that may wait in it, threads of a job's libraries
    shapes: dict[str, tuple[int, int, int | None]] = {
        "size": (2, 2, None),
        "download": (sizes.downloads_at_once, 0, None),
        "illumination": (1, 1 << 30, threads),
        "preprocess": (sizes.preprocess_workers, 1, 1),
        "segment": (sizes.groups_at_once, 1, threads),
        "profile": (1, 0, threads),
        "compile": (1, 1 << 30, None),
    }
    return {
        name: Lane(name, workers, inbox, ahead=ahead, threads=limit)
        for name, (workers, ahead, limit) in shapes.items()
    }


_ADVICE = {
    "download": 'more downloads_at_once, fetch = "frames" or a nearer mirror make it faster',
    "preprocess": "more preprocess_workers or another illumination_context make it faster",
    "illumination": "fewer plate_wells make it faster",
    "segment": "a GPU, a given diameter or fewer frames make it faster",
    "profile": "a GPU makes it faster",
    "compile": 'output_format = "parquet" makes it faster',
}
_ADVICE_FOR_PLANES = _ADVICE | {"compile": "it compresses and writes planes"}
_BUSY = 0.6


def bottleneck(lanes: Sequence[LaneReport], *, planes: bool = False) -> str:
    """Return the sentence that says which lane limits a stream, and what to change.

    `planes` is for one that extracts planes.
    """
    if not lanes or not any(lane.jobs for lane in lanes):
        return ""
    first = max(lanes, key=lambda lane: lane.share)
    advice = _ADVICE_FOR_PLANES if planes else _ADVICE
    shares = ", ".join(f"{lane.name} {lane.share:.0%}" for lane in lanes if lane.jobs)
    if first.share < _BUSY:
        return (
            f"No lane is busy for more than {first.share:.0%} of the time: they wait for each "
            f"other; larger batches or more batches_in_flight help ({shares})"
        )
    return (
        f"Busy {first.share:.0%}: {first.name} limits this stream; "
        f"{advice.get(first.name, '')} ({shares})"
    )
