"""A running stream: which job starts next, and what the end of a job means."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from idrstream.errors import BudgetError, StorageError, UserError
from idrstream.schedule.context import Context
from idrstream.schedule.disk.budget import DiskMeter, DiskUse, tree_bytes
from idrstream.schedule.disk.movie_folders import MovieFolders
from idrstream.schedule.disk.space import Space
from idrstream.schedule.events import LanesMeasured, Listener, StreamFinished, StreamStarted
from idrstream.schedule.lanes import Inbox, LaneReport, make_lanes
from idrstream.schedule.options import LaneSizes
from idrstream.schedule.result import RunResult
from idrstream.schedule.stages import Interruptible, Stages
from idrstream.schedule.steps.batches import BatchLanes
from idrstream.schedule.steps.images import ImageLanes
from idrstream.schedule.steps.movies import Movies
from idrstream.schedule.steps.plates import PlateModels
from idrstream.schedule.stop import StopSignals, StreamState
from idrstream.screen import Plan
from idrstream.text import format_size

log = logging.getLogger(__name__)

_GRACE_S = 10.0  # for jobs that cannot be interrupted, when a stream stops
_POLL_S = 0.5
_MEASURE_S = 5.0  # between two measurements of the lanes


class Flow:
    """One run of a plan through the stages.

    The thread that calls `run` makes all decisions and calls all listeners. The lanes' threads
    only run jobs; their outcomes, and requests from other threads, come as calls through one
    inbox. The parameters are those of `Runner`, with `sizes` chosen from its options.
    """

    def __init__(
        self,
        stages: Stages,
        plan: Plan,
        downloads: Path,
        listeners: Sequence[Listener],
        sizes: LaneSizes,
        *,
        budget_bytes: int | None,
        plate_wells: int,
        disk_wait_s: float,
        leftover_bytes: int,
        failed_plates: Mapping[str, Exception],
    ) -> None:
        self._plan = plan
        self._tmp_dir = downloads.parent
        self._disk_wait_s = disk_wait_s
        inbox: Inbox = SimpleQueue()
        context = self._context = Context(stages, sizes, inbox, make_lanes(sizes, inbox), listeners)
        self._folders = MovieFolders(downloads)
        self._space = Space(context, downloads, budget_bytes)
        movies = Movies(context, self._space, self._folders)
        self._plates = PlateModels(context, self._space, movies, plan, plate_wells, failed_plates)
        self._images = ImageLanes(context, self._space, movies, self._plates)
        self._batches = BatchLanes(context, self._space, plan)
        self._meter = DiskMeter(self._tmp_dir)
        self._leftover_bytes = leftover_bytes
        self._stopped_by = ""
        self._deadline: float | None = None  # for jobs to end, once the stream is stopping
        self._disk_full_since: float | None = None
        self._n_requests = self._n_heard = 0  # to pause or resume; made and carried out
        self._resting = False
        self._started = self._measured = time.monotonic()

    # For other threads

    def stop(self, reason: str, error: BaseException | None = None) -> None:
        """Stop at the next safe point; `error`, if given, is raised at the end."""
        self._context.inbox.put(partial(self._stop, reason, error))

    def set_paused(self, *, paused: bool) -> None:
        """Pause or resume."""
        self._n_requests += 1
        self._context.inbox.put(partial(self._set_paused, self._n_requests, paused=paused))

    def is_resting(self) -> bool:
        """Whether the stream is paused and nothing runs or is about to."""
        return self._resting and self._n_heard == self._n_requests

    def lanes(self) -> tuple[LaneReport, ...]:
        """Return how busy the lanes have been so far."""
        wall_s = time.monotonic() - self._started
        lanes = self._context.lanes.items()
        return tuple(lane.report(wall_s) for name, lane in lanes if name != "size")

    def disk(self) -> DiskUse:
        """Return what the stream holds under ``tmp_dir``."""
        return DiskUse(
            self._space.budget.limit_bytes,
            self._space.budget.peak_bytes,
            self._meter.peak_bytes,
            self._leftover_bytes,
            self._meter.now_bytes,
        )

    # The run

    def run(self) -> RunResult:
        """Run the plan to its end, or until the stream stops."""
        context = self._context
        context.emit(StreamStarted(self._plan))
        try:
            with StopSignals(partial(self.stop, "interrupted")) as signals:
                try:
                    self._prepare()
                    self._loop()
                except BaseException as error:  # of this thread: a second signal, or a bug
                    context.request_stop(error)
                    if isinstance(error, (KeyboardInterrupt, SystemExit)):
                        context.advance(StreamState.ABANDONED)
                self._close()
            if signals.error is not None:  # it may have come after the last batch
                context.request_stop(signals.error)
        except (KeyboardInterrupt, SystemExit) as error:  # while it was closing
            context.request_stop(error)
        seconds = time.monotonic() - self._started
        result = RunResult(
            self._batches.finished, self._plan, seconds, lanes=self.lanes(), disk=self.disk()
        )
        context.emit(StreamFinished(result, self._why_stopped()))
        if context.error is not None:
            raise context.error
        return result

    def _prepare(self) -> None:
        """Delete what a crashed stream left behind, and count what stays in the budget."""
        self._started = self._measured = time.monotonic()
        before = tree_bytes(self._tmp_dir)
        self._folders.clear()
        for profiling in self._context.stages.profiling:
            profiling.open()
        fixed = tree_bytes(self._tmp_dir)
        self._leftover_bytes += max(0, before - fixed)
        if self._leftover_bytes:
            log.info("Removed %s that a stream had left", format_size(self._leftover_bytes))
        self._meter.start()
        if not self._space.budget.try_reserve("fixed", fixed):
            msg = (
                f"disk_budget is {format_size(self._space.budget.limit_bytes or 0)}, but "
                f"{self._tmp_dir} already holds {format_size(fixed)}; make it larger"
            )
            raise BudgetError(msg)

    def _loop(self) -> None:
        context = self._context
        while self._deadline is None or time.monotonic() <= self._deadline:
            try:
                self._check_stopping()
                self._measure()
                self._pump()
                if not self._n_running():
                    # The outcome of a job may have come, and let its batch go on.
                    self._resting = context.state is StreamState.PAUSED and context.inbox.empty()
                    if context.stopping or self._batches.done:
                        return
                    if context.state is StreamState.RUNNING:
                        self._resolve_stall()
                        continue
                self._handle_message()
            except KeyboardInterrupt as error:  # no handler could be installed
                if context.state >= StreamState.STOPPING:
                    raise
                self._stop("interrupted", error)

    def _n_running(self) -> int:
        """Return how many running jobs will end by themselves."""
        running = sum(lane.n_jobs for lane in self._context.lanes.values())
        return running - self._plates.n_waiting

    def _set_paused(self, request: int, *, paused: bool) -> None:
        self._resting = False
        self._n_heard = request
        self._context.set_paused(paused=paused)

    def _measure(self) -> None:
        now = time.monotonic()
        if now - self._measured >= _MEASURE_S:
            self._measured = now
            self._context.emit(LanesMeasured(self.lanes(), now - self._started))

    def _handle_message(self) -> None:
        try:  # not for ever: a signal may have gone to a thread that cannot wake this one
            message = self._context.inbox.get(timeout=_POLL_S)
        except Empty:
            return
        self._resting = False
        message()

    def _pump(self) -> None:
        """Start whatever can start; what is nearest to its end goes first."""
        self._batches.publish()
        if self._context.state < StreamState.STOPPING:
            self._images.profile()
        if self._context.state is StreamState.RUNNING:
            self._batches.start()
            self._plates.pump()
            self._images.pump()

    def _resolve_stall(self) -> None:
        """Nothing runs and nothing can start: wait for the disk, or release space."""
        batches = self._context.batches
        if not self._context.inbox.empty():
            self._handle_message()
        elif self._plates.drop_kept():
            pass
        elif self._space.disk_is_full:
            now = time.monotonic()
            self._disk_full_since = self._disk_full_since or now
            if now - self._disk_full_since > self._disk_wait_s:
                self._context.request_stop(StorageError(self._space.disk_is_full))
            self._handle_message()
        elif len(batches) > 1:
            self._images.drop(batches[-1])
            self._batches.postpone(batches[-1])
        elif not self._space.movies_only:
            self._space.movies_only = True  # the estimate for the frames may be too high
        else:
            self._context.request_stop(self._space.too_small(batches[0]))

    # The end

    def _stop(self, reason: str, error: BaseException | None) -> None:
        if self._deadline is not None:
            return
        self._stopped_by = reason
        if error is not None:
            self._context.request_stop(error)
        self._context.advance(StreamState.STOPPING)
        self._interrupt_jobs()

    def _check_stopping(self) -> None:
        """Interrupt the running jobs as soon as nothing else can be finished."""
        state = self._context.state
        if state is StreamState.DRAINING and not self._batches.finishing:
            self._context.advance(StreamState.STOPPING)
        if self._context.state is StreamState.STOPPING and self._deadline is None:
            self._interrupt_jobs()

    def _interrupt_jobs(self) -> None:
        self._stopped_by = self._why_stopped()
        log.warning("Stopping at the next safe point: %s", self._stopped_by)
        self._deadline = time.monotonic() + _GRACE_S
        self._plates.close()
        for name, lane in self._context.lanes.items():
            if name != "compile":  # a table that is being published is finished
                lane.drop_waiting()
        self._interrupt_stages()

    def _interrupt_stages(self) -> None:
        stages = self._context.stages
        interruptible: tuple[Interruptible, ...] = (stages.downloader, stages.preprocessor)
        for stage in (*interruptible, *stages.profiling):
            stage.interrupt()

    def _close(self) -> None:
        """End the threads and delete what is left; leave both if the stream is abandoned."""
        self._space.close()
        self._plates.close()
        lanes = self._context.lanes.values()
        for lane in lanes:
            lane.close()
        if self._context.state is StreamState.ABANDONED:
            self._interrupt_stages()
            return
        now = time.monotonic()
        deadline = min(self._deadline or now + _GRACE_S, now + _GRACE_S) + 1.0
        busy = [lane.name for lane in lanes if not lane.join(deadline)]
        if busy:
            # A thread cannot be ended from outside; it ends with the process, and must not
            # interfere with a later stream of this process.
            self._context.advance(StreamState.ABANDONED)
            left = f"left behind at work, as they do not end: {', '.join(busy)}"
            log.error("Threads are %s; they end with this process", left)
            self._stopped_by = f"{self._why_stopped() or 'its end'} ({left})"
        self._folders.clear()
        for profiling in self._context.stages.profiling:
            try:
                profiling.close()
            except StorageError as error:
                self._context.request_stop(error)
        self._meter.close()

    def _why_stopped(self) -> str:
        """Return why the stream ended before its plan was carried out."""
        error = self._context.error
        if self._stopped_by or error is None:
            return self._stopped_by
        return str(error) if isinstance(error, UserError) else "interrupted"
