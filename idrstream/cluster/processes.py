"""Workers in processes of this machine."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from idrstream.cluster.layout import file_digest
from idrstream.cluster.work import CONNECTIONS, Ended, EndKind, Executor, Recipe, Work
from idrstream.errors import ConfigError
from idrstream.workers.process import DiedError, WorkerProcess
from idrstream.workers.threads import all_processors

DEADLINE = "IDRSTREAM_DEADLINE"
"""Variable with the time at which a worker must have left, in seconds since 1970."""
_LONGEST_S = 20 * 86400.0
_GRACE_S = 25.0
_LONGEST_REST_S = 60.0


class WorkerChild:
    """A worker in a process of its own, which does one piece of work at a time.

    It ends when this process does, however that happens.

    Parameters
    ----------
    stream_file : Path
        What it needs to know of the stream.
    environment : Mapping[str, str]
        Variables beside those of this process.
    digest : str
        Digest of the file; by default of what is there.
    """

    def __init__(self, stream_file: Path, environment: Mapping[str, str], digest: str = "") -> None:
        self.stream_file = stream_file
        self.digest = digest or file_digest(stream_file)
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        command = [sys.executable, "-m", "idrstream.stream.worker", str(stream_file), self.digest]
        self._process = WorkerProcess(
            lambda _: [*command, "--name", self.name], "worker", environment
        )

    def serves(self, stream_file: Path, digest: str) -> bool:
        """Return whether it is alive, and a worker of this stream."""
        same = (stream_file, digest) == (self.stream_file, self.digest)
        return same and self._process.alive

    def do(self, work: Work) -> Ended:
        """Do a piece of work; return how it ended."""
        try:
            reply, _ = self._process.ask(work.as_json(), _LONGEST_S)
            return Ended(work, EndKind(reply["kind"]), self.name, str(reply["message"]))
        except (DiedError, KeyError, ValueError) as error:
            return Ended(work, EndKind.DIED, self.name, f"worker {self.name} {error}")

    def stop(self) -> None:
        """Ask it to leave at its next safe point."""
        if self._process.alive:
            os.kill(self._process.pid, signal.SIGTERM)

    def end(self, grace_s: float = _GRACE_S) -> None:
        """Let it leave; end it if it has not in time."""
        self.stop()
        deadline = time.monotonic() + grace_s
        while self._process.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        self._process.kill()
        self._process.end()


@dataclass(slots=True)
class _Slot:
    """Room for one worker."""

    environment: Mapping[str, str]
    child: WorkerChild | None = None
    thread: threading.Thread | None = None
    failures: int = 0
    rests_until: float = 0.0
    busy: bool = field(default=False)

    @property
    def free(self) -> bool:
        """Whether it takes work now."""
        return not self.busy and time.monotonic() >= self.rests_until


class Processes(Executor):
    """Workers in processes of this machine, with models, threads and a GPU of their own.

    Parameters
    ----------
    workers : int
        How many.
    threads : int, optional
        Processor cores of each; by default all are divided.
    gpus : int
        GPUs to divide among them; 0 leaves them the environment's.
    recipe : Recipe, optional
        How they make their components, for a stream that was not built from settings.
    connections : int
        Connections to one server, of all workers together.
    tmp_dir : str
        Folder for intermediates; by default that of the stream.

    Raises
    ------
    ConfigError
        If there were more workers than connections, or none.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        threads: int | None = None,
        gpus: int = 0,
        recipe: Recipe | None = None,
        connections: int = CONNECTIONS,
        tmp_dir: str = "",
    ) -> None:
        check_workers(workers, connections)
        self.workers = workers
        self.recipe = recipe
        self.connections = connections
        self.tmp_dir = tmp_dir
        threads = threads or max(1, all_processors() // workers)
        self._slots = [_Slot(_environment(n, threads, gpus)) for n in range(workers)]
        self._ended: SimpleQueue[tuple[_Slot, Ended]] = SimpleQueue()

    def capacity(self) -> int:
        """Return how many workers have nothing to do."""
        return sum(slot.free for slot in self._slots)

    def give(self, work: Work, stream_file: Path) -> None:
        """Have a worker that has nothing to do, or a new one, do a piece of work."""
        slot = next(slot for slot in self._slots if slot.free)
        slot.busy = True
        child = slot.child
        if child is None or not child.serves(stream_file, file_digest(stream_file)):
            if child is not None:
                child.end()
            child = slot.child = WorkerChild(stream_file, slot.environment)
        slot.thread = threading.Thread(
            target=lambda: self._ended.put((slot, child.do(work))),
            name="idrstream-worker",
            daemon=True,
        )
        slot.thread.start()

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """Return the work that ended."""
        found: list[Ended] = []
        while True:
            try:
                slot, ended = self._ended.get(timeout=0 if found else timeout_s)
            except Empty:
                return found
            slot.busy = False
            good = ended.kind in (EndKind.FINISHED, EndKind.RETURNED)
            slot.failures = 0 if good else slot.failures + 1
            rest = min(_LONGEST_REST_S, 0.1 * 2**slot.failures) if slot.failures else 0.0
            slot.rests_until = time.monotonic() + rest
            found.append(ended)

    def close(self) -> None:
        """Let the workers leave, and wait until they have."""
        children = [slot.child for slot in self._slots if slot.child is not None]
        for child in children:
            child.stop()
        for slot in self._slots:
            if slot.child is not None:
                slot.child.end()
                slot.child = None
        for slot in self._slots:
            if slot.thread is not None:
                slot.thread.join(1.0)
            slot.busy = False
        self.wait(0)


def check_workers(workers: int, connections: int) -> None:
    """Refuse more workers than may be connected to a server.

    Raises
    ------
    ConfigError
        Naming both numbers.
    """
    if workers < 1:
        msg = f"workers is {workers}; at least one is needed"
        raise ConfigError(msg)
    if workers > connections:
        msg = (
            f"{workers} workers share {connections} connections to one server, and each needs "
            "one: take fewer workers or raise connections, if the server's owner agrees"
        )
        raise ConfigError(msg)


def _environment(number: int, threads: int, gpus: int) -> dict[str, str]:
    found = {"OMP_NUM_THREADS": str(threads)}
    if gpus:
        found["CUDA_VISIBLE_DEVICES"] = str(number % gpus)
    return found
