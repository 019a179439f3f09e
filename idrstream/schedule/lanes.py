"""Lanes: a few threads each, that do the jobs of one stage and hand the outcome back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from idrstream.workers.threads import limit_threads, torch_is_there

log = logging.getLogger(__name__)

Message = Callable[[], None]
Inbox = SimpleQueue[Message]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes
    ----------
    value : object
        What it returned; None when it failed.
    error : BaseException or None
        What it raised.
    seconds : float
        Wall-clock time it took.
    """

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
        Jobs it can do at once.
    jobs : int
        Jobs done.
    busy_s : float
        Seconds of work of all workers together.
    share : float
        Busy seconds per worker and second of the stream, 0 to 1.
    """

    name: str
    workers: int
    jobs: int
    busy_s: float
    share: float


class Lane:
    """Threads that do the jobs of one stage in the order they are given.

    Only the thread that owns the inbox may call its methods. Threads start with the first job.

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
        Threads that a job's own libraries (torch) may use; None leaves them alone.
    """

    def __init__(
        self, name: str, workers: int, inbox: Inbox, *, ahead: int = 0, threads: int | None = None
    ) -> None:
        self.name = name
        self.workers = workers
        self.running = 0
        self._ahead = ahead
        self._inbox = inbox
        self._threads = threads
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Callable[[Outcome], None]] | None] = (
            SimpleQueue()
        )
        self._pool: list[threading.Thread] = []
        self._done = 0
        self._busy_s = 0.0
        self._since: dict[int, float] = {}

    @property
    def has_room(self) -> bool:
        """Whether another job may be given to it."""
        return self.running < self.workers + self._ahead

    def submit(self, call: Callable[[], Any], done: Callable[[Outcome], None]) -> None:
        """Give it a job; `done` is put into the inbox with the outcome, whatever happens."""
        self.running += 1
        if len(self._pool) < min(self.running, self.workers):
            name = f"idrstream-{self.name}-{len(self._pool) + 1}"
            # Not waited for at the interpreter's end: a second Ctrl-C must end the process.
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._pool.append(thread)
            thread.start()
        self._jobs.put((call, done))

    def report(self, wall_s: float) -> LaneReport:
        """Return how busy the lane was in `wall_s` seconds."""
        now = time.monotonic()
        busy = self._busy_s + sum(now - since for since in list(self._since.values()))
        share = busy / (wall_s * self.workers) if wall_s > 0 else 0.0
        return LaneReport(self.name, self.workers, self._done, busy, min(share, 1.0))

    def drop_waiting(self) -> None:
        """Forget the jobs that no thread has begun; nobody is told."""
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return
            if job is not None:
                self.running -= 1

    def close(self) -> None:
        """Tell the threads to end after the job they are at."""
        for _ in self._pool:
            self._jobs.put(None)

    def join(self, deadline: float) -> bool:
        """Wait for the threads until a time of the monotonic clock; tell whether all ended."""
        for thread in self._pool:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._pool)

    def _work(self) -> None:
        own_threads_set = False
        while (job := self._jobs.get()) is not None:
            own_threads_set = own_threads_set or _limit_threads(self._threads)
            call, done = job
            started = self._since[threading.get_ident()] = time.monotonic()
            value, error = None, None
            try:
                value = call()
            # The border of a thread: everything, an interrupt too, goes to the owner.
            except BaseException as raised:
                error = raised
            del self._since[threading.get_ident()]
            outcome = Outcome(value, error, time.monotonic() - started)
            self._inbox.put(lambda done=done, outcome=outcome: self._hand_over(done, outcome))  # type: ignore[misc]
            del (
                job,
                call,
                done,
                value,
                error,
                outcome,
            )  # frames must not live on in a waiting thread

    def _hand_over(self, done: Callable[[Outcome], None], outcome: Outcome) -> None:
        self.running -= 1
        self._done += 1
        self._busy_s += outcome.seconds
        done(outcome)


def _limit_threads(count: int | None) -> bool:
    """Limit torch's threads for the calling thread; tell whether that is settled."""
    if count is None:
        return True
    if not torch_is_there():
        return False
    limit_threads(count)
    return True


_ADVICE = {
    "download": 'more downloads_at_once, fetch = "frames" or a nearer mirror make it faster',
    "preprocess": "more preprocess_workers or another illumination_context make it faster",
    "illumination": "fewer plate_wells make it faster",
    "segment": "a GPU, a given diameter or fewer frames make it faster",
    "profile": "a GPU or larger batches make it faster",
    "compile": 'output_format = "parquet" makes it faster',
    "write": "a faster disk for tmp_dir makes it faster",
}
_BUSY = 0.6


def bottleneck(lanes: Sequence[LaneReport]) -> str:
    """Return the sentence that says which lane limits a stream, and what to change.

    Parameters
    ----------
    lanes : sequence of LaneReport
        The lanes of the stream.
    """
    if not lanes or not any(lane.jobs for lane in lanes):
        return ""
    first = max(lanes, key=lambda lane: lane.share)
    shares = ", ".join(f"{lane.name} {lane.share:.0%}" for lane in lanes if lane.jobs)
    if first.share < _BUSY:
        return (
            f"No lane is busy for more than {first.share:.0%} of the time: they wait for each "
            f"other; larger batches or more batches_in_flight help ({shares})"
        )
    return (
        f"Busy {first.share:.0%}: {first.name} limits this stream; "
        f"{_ADVICE.get(first.name, '')} ({shares})"
    )
