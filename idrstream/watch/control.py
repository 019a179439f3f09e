"""Pause, resume and stop a running stream, from any process that sees its output folder.

A request is a small file in the output folder. It names the run that it is for (process, machine,
and when the lock was taken), so that it never reaches a later run or one with the same process
number; no signals are sent. The stream checks every half second, carries out the request, and
acknowledges it in its live file.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from idrstream.errors import ConfigError, LockedError, StorageError
from idrstream.folder.live import (
    CONTROL_NAME,
    LIVE_NAME,
    LaneNow,
    Live,
    LivePhase,
    read_live,
    read_small,
    write_live,
    write_small,
)
from idrstream.folder.locks import Holder, folder_lock, holder
from idrstream.schedule.events import (
    BatchFinished,
    BatchStarted,
    Event,
    ImageFinished,
    StreamFinished,
    StreamStarted,
)

if TYPE_CHECKING:
    from idrstream.cluster.coordinator import Coordinator
    from idrstream.schedule.runner import Runner

log = logging.getLogger(__name__)

Request = Literal["pause", "resume", "stop"]

_POLL_S = 0.5
_ANSWER_TIMEOUT_S = 15.0
STOPPED = "stopped on request"


def ask(folder: Path, request: Request, *, timeout_s: float = _ANSWER_TIMEOUT_S) -> None:
    """Send a request to the stream that runs in an output folder and wait for the answer.

    Parameters
    ----------
    folder : Path
        Output folder.
    request : {"pause", "resume", "stop"}
        Start no new images; continue; stop at the next safe point.
    timeout_s : float
        How long to wait for the answer, which usually takes half a second.

    Raises
    ------
    ConfigError
        If no stream runs there.
    LockedError
        If one does, but does not answer.
    StorageError
        If the request cannot be written.
    """
    who = holder(folder)
    if who is None:
        msg = f"no stream is running in {folder}: there is nothing to {request}"
        raise ConfigError(msg)
    request_id = uuid.uuid4().hex
    try:
        write_small(
            folder / CONTROL_NAME,
            {"id": request_id, "request": request, "holder": asdict(who), "time": time.time()},
        )
    except OSError as error:
        msg = f"{folder / CONTROL_NAME} cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        live = read_live(folder, who)
        if live is not None and live.answered == request_id:
            return
        if holder(folder) != who:  # it has ended
            return
        time.sleep(0.05)
    msg = (
        f"{who} holds {folder}, but did not answer within {timeout_s:g} s: it may be suspended, "
        "or on a machine that sees changes of this folder late; try again, or end that process"
    )
    raise LockedError(msg)


class Controls:
    """Holds an output folder, carries out requests to its stream and writes its live file.

    A context manager and a `Listener`: it has the folder's lock, and its thread polls the folder,
    between entering and leaving; a stream that follows a table has it over all of its runs, so
    that no request falls between two. It only uses what `Runner` offers to other threads, and
    errors with its files do not harm the stream.

    Parameters
    ----------
    folder : Path
        Output folder.

    Raises
    ------
    LockedError
        On entering, when another stream uses the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._me = Holder()
        self._runner: Runner | Coordinator | None = None
        self._started: float | None = None
        self._paused_at: float | None = None
        self._paused_s = 0.0
        self._pause = False
        self._stop = False
        self._ended = False
        self._answered = ""
        self._images = 0
        self._finished = 0
        self._under_way: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="idrstream-control", daemon=True)
        self._held = ExitStack()

    def __enter__(self) -> Controls:
        """Take the lock and start polling; files that an earlier run left are removed."""
        self._held.enter_context(folder_lock(self._folder, "final_data_dir"))
        self._me = holder(self._folder) or Holder()
        self._remove()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop polling, remove the files and release the lock."""
        with self._held:
            self._end.set()
            self._thread.join()
            self._remove()

    @property
    def stop_requested(self) -> bool:
        """Whether the stream was asked to stop."""
        with self._lock:
            return self._stop

    def attach(self, runner: Runner | Coordinator | None) -> None:
        """Control a runner, before it runs; None between two. What was asked for stays so."""
        with self._lock:
            self._runner = runner
            self._started = self._paused_at = None
            self._paused_s = 0.0
            self._images = self._finished = 0
            self._under_way.clear()
            self._ended = False

    def __call__(self, event: Event) -> None:
        """Count images; requests from before the first batch are carried out when it starts."""
        with self._lock:
            if isinstance(event, StreamStarted):
                self._images = event.plan.image_count
                self._started = time.monotonic()
                self._apply()
            elif isinstance(event, BatchStarted):  # a batch that was reset starts over
                self._finished -= self._under_way.pop(event.batch.number, 0)
            elif isinstance(event, ImageFinished):
                self._under_way[event.batch.number] += 1
                self._finished += 1
            elif isinstance(event, BatchFinished):
                self._under_way.pop(event.batch.number, None)
            elif isinstance(event, StreamFinished):
                self._ended = True

    def _poll(self) -> None:
        written, phase = 0.0, None
        while not self._end.is_set():
            handled, now = self._handle_request(), self._now()
            if handled or now.phase != phase or time.monotonic() - written >= 2 * _POLL_S:
                written, phase = time.monotonic(), now.phase
                try:
                    write_live(self._folder, now)
                except OSError as error:
                    log.debug("the live file cannot be written: %s", error)
            self._end.wait(_POLL_S)

    def _handle_request(self) -> bool:
        """Carry out a request if it is new and meant for this run; return whether it was."""
        content = read_small(self._folder / CONTROL_NAME)
        if not content or content.get("holder") != asdict(self._me):
            return False
        request_id, request = str(content.get("id")), content.get("request")
        if request_id == self._answered or request not in get_args(Request):
            return False
        with self._lock:
            if request == "stop":
                self._stop = True
            else:
                self._pause = request == "pause"
            self._answered = request_id
            log.info("Received the request to %s", request)
            if self._started is not None:
                self._apply()
        return True

    def _apply(self) -> None:
        runner = self._runner
        if runner is None:
            return
        if self._stop:
            runner.stop(STOPPED)
            return
        now = time.monotonic()
        if self._pause:
            runner.pause()
            self._paused_at = self._paused_at or now
        else:
            runner.resume()
            self._paused_s += now - (self._paused_at or now)
            self._paused_at = None

    def _now(self) -> Live:
        runner = self._runner
        lanes = () if runner is None else runner.lanes()
        disk = None if runner is None else runner.disk()
        workers = () if runner is None else runner.workers()
        waiting = "" if runner is None else runner.waiting()
        with self._lock:
            now = time.monotonic()
            started = now if self._started is None else self._started
            return Live(
                holder=self._me,
                time=time.time(),
                phase=self._phase(),
                answered=self._answered,
                under_way=sum(self._under_way.values()),
                finished=self._finished,
                images=self._images,
                working_s=(self._paused_at or now) - started - self._paused_s,
                lanes=tuple(
                    LaneNow(lane.name, lane.workers, lane.jobs, round(lane.share, 4))
                    for lane in lanes
                ),
                disk_bytes=0 if disk is None else disk.now_bytes,
                disk_peak_bytes=0 if disk is None else disk.peak_bytes,
                disk_limit_bytes=None if disk is None else disk.limit_bytes,
                workers=workers,
                waiting=waiting,
            )

    def _phase(self) -> LivePhase:
        if self._stop or self._ended:
            return LivePhase.STOPPING
        if self._started is None:
            return LivePhase.STARTING
        if not self._pause:
            return LivePhase.RUNNING
        resting = self._runner is not None and self._runner.is_resting()
        return LivePhase.PAUSED if resting else LivePhase.PAUSING

    def _remove(self) -> None:
        for name in (CONTROL_NAME, LIVE_NAME):
            with suppress(OSError):
                (self._folder / name).unlink(missing_ok=True)
