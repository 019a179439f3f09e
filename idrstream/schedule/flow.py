"""A stream under way: which job starts next, and what the end of one means."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from idrstream.errors import BudgetError, StorageError, UserError
from idrstream.schedule.context import Context
from idrstream.schedule.disk.budget import DiskBudget, DiskMeter, DiskUse, tree_bytes
from idrstream.schedule.disk.growth import GrowthWatch
from idrstream.schedule.disk.movie_folders import Folders
from idrstream.schedule.disk.space import Space
from idrstream.schedule.events import LanesMeasured, Listener, StreamFinished, StreamStarted
from idrstream.schedule.lanes import Inbox, Lane, LaneReport
from idrstream.schedule.options import LaneSizes
from idrstream.schedule.result import RunResult
from idrstream.schedule.stages import Rooms
from idrstream.schedule.steps.batches import BatchLanes
from idrstream.schedule.steps.images import ImageLanes
from idrstream.schedule.steps.plates import PlateModels
from idrstream.schedule.stop import StopSignals
from idrstream.screen import Plan
from idrstream.text import format_size

log = logging.getLogger(__name__)

_GRACE_S = 10.0  # for jobs that cannot be interrupted, when a stream is to stop at once
_POLL_S = 0.5
_MEASURE_S = 5.0  # between two measurements of the lanes


class Flow:
    """One run of a plan through the rooms.

    All decisions are made, and all listeners called, by the thread that calls `run`. The lanes'
    threads only do jobs; their outcomes, and what other threads ask for, come as calls through
    one inbox.

    Parameters
    ----------
    rooms : Rooms
        The parts.
    plan : Plan
        What to do.
    downloads : Path
        Folder for movies; its parent is what the disk budget is about.
    listeners : sequence of Listener
        Called with every event.
    sizes : LaneSizes
        How many of everything.
    budget_bytes : int or None
        The disk budget.
    plate_wells : int
        Wells that a plate's illumination model looks at.
    disk_wait_s : float
        How long to wait for a full disk when the stream itself can free nothing.
    """

    def __init__(
        self,
        rooms: Rooms,
        plan: Plan,
        downloads: Path,
        listeners: Sequence[Listener],
        sizes: LaneSizes,
        *,
        budget_bytes: int | None,
        plate_wells: int,
        disk_wait_s: float,
    ) -> None:
        self._rooms = rooms
        self._plan = plan
        self._inbox: Inbox = SimpleQueue()
        self._context = Context(rooms, sizes, self._inbox, self._make_lanes(sizes), listeners)
        self._budget = DiskBudget(budget_bytes)
        self._tmp = downloads.parent
        self._folders = Folders(downloads)
        self._watch = GrowthWatch(self._inbox)
        self._space = Space(
            self._budget,
            downloads,
            rooms.downloader,
            self._context.lanes["size"],
            self._context.halt,
            self._watch,
        )
        self._plates = PlateModels(self._context, self._space, self._folders, plan, plate_wells)
        self._images = ImageLanes(self._context, self._space, self._folders, self._plates)
        slots = min(len(rooms.profiling), sizes.batches_in_flight)
        self._batches = BatchLanes(self._context, self._space, plan, slots)
        self._disk_wait_s = disk_wait_s
        self._meter = DiskMeter(self._tmp)
        self._leftover_bytes = 0
        self._paused = False
        self._stopped_by = ""
        self._deadline = float("inf")
        self._disk_since: float | None = None
        self._started = self._measured = time.monotonic()

    # What other threads may call

    def stop(self, reason: str, error: BaseException | None = None) -> None:
        """Stop at the next safe point; `error` is raised at the end, if there is one."""
        self._inbox.put(partial(self._stop_now, reason, error))

    def pause(self, *, paused: bool) -> None:
        """Begin no new images, or go on."""
        self._inbox.put(partial(self._set_paused, paused))

    def lanes(self) -> tuple[LaneReport, ...]:
        """Return how busy the lanes have been so far."""
        wall_s = time.monotonic() - self._started
        hidden = ("size",)
        return tuple(
            lane.report(wall_s) for name, lane in self._context.lanes.items() if name not in hidden
        )

    def at_work(self) -> int:
        """Return how many jobs are under way that will end by themselves."""
        return self._working()

    def disk(self) -> DiskUse:
        """Return what the stream holds under ``tmp_dir``."""
        return DiskUse(
            self._budget.limit_bytes,
            self._budget.peak_bytes,
            self._meter.peak_bytes,
            self._leftover_bytes,
            self._meter.now_bytes,
        )

    # The run

    def run(self) -> RunResult:
        """Run the plan to its end, or until something stops it."""
        self._context.tell(StreamStarted(self._plan))
        abandoned = False
        try:
            with StopSignals(partial(self.stop, "interrupted")):
                try:
                    self._prepare()
                    self._loop()
                except BaseException as error:  # of this thread: a second signal, or a mistake
                    abandoned = isinstance(error, (KeyboardInterrupt, SystemExit))
                    self._context.halt(error)
                self._close(abandoned=abandoned)
        except (KeyboardInterrupt, SystemExit) as error:  # while it was closing
            self._context.halt(error)
        result = self._result()
        self._context.tell(StreamFinished(result, self._why()))
        if self._context.error is not None:
            raise self._context.error
        return result

    def _loop(self) -> None:
        while True:
            try:
                self._heed_stop()
                self._measure()
                self._pump()
                idle = not self._paused or self._context.stopping or self._batches.done
                if idle and not self._working():
                    if self._context.stopping or self._batches.done:
                        return
                    self._unstick()
                    continue
                self._take_message()
            except KeyboardInterrupt as error:  # no handler could be set
                if self._deadline < float("inf"):
                    raise
                self._stop_now("interrupted", error)
            if time.monotonic() > self._deadline:
                return

    def _measure(self) -> None:
        now = time.monotonic()
        if now - self._measured >= _MEASURE_S:
            self._measured = now
            self._context.tell(LanesMeasured(self.lanes(), now - self._started))

    def _take_message(self) -> None:
        try:  # not for ever: a signal may have gone to a thread that cannot wake this one
            message = self._inbox.get(timeout=_POLL_S)
        except Empty:
            return
        message()

    def _pump(self) -> None:
        """Start whatever can be started; what is nearest to its end goes first."""
        stopping = self._context.stopping
        self._batches.settle()
        self._batches.publish()
        if stopping != "now":
            self._batches.profile()
        if not stopping and not self._paused:
            self._batches.admit()
            self._plates.pump()
            self._images.pump()

    def _heed_stop(self) -> None:
        """Break off what cannot be finished once all that can be is."""
        stopping = self._context.stopping
        if stopping == "now" or (stopping and not self._batches.finishing):
            self._stop_now(self._why(), None)

    def _working(self) -> int:
        """Return how many jobs run that will end by themselves."""
        running = sum(lane.running for lane in self._context.lanes.values())
        return running - self._plates.waiting

    def _unstick(self) -> None:
        """Nothing runs and nothing can start: wait for the disk, or give space back."""
        batches = self._context.batches
        if not self._inbox.empty():
            self._take_message()
        elif self._plates.drop_kept():
            pass
        elif self._space.waits_for_disk:
            now = time.monotonic()
            self._disk_since = self._disk_since or now
            if now - self._disk_since > self._disk_wait_s:
                self._context.halt(StorageError(self._space.waits_for_disk))
            self._take_message()
        elif len(batches) > 1:
            self._images.forget(batches[-1])
            self._batches.set_back(batches[-1])
        elif not self._space.only_movies:
            self._space.only_movies = True  # what was expected may have been too much
        else:
            self._context.halt(self._space.too_small(batches[0]))

    # Its beginning and end

    def _make_lanes(self, sizes: LaneSizes) -> dict[str, Lane]:
        threads = sizes.cores or None
        # name: jobs at once, jobs that may wait in it, threads of a job's libraries
        shapes: dict[str, tuple[int, int, int | None]] = {
            "size": (2, 2, None),
            "download": (sizes.downloads_at_once, 0, None),
            "illumination": (1, 1 << 30, threads),
            "preprocess": (sizes.preprocess_workers, 1, 1),
            "segment": (sizes.groups_at_once, 1, threads),
            "write": (1, 4, None),
            "profile": (1, 0, threads),
            "compile": (1, 1 << 30, None),
        }
        return {
            name: Lane(name, workers, self._inbox, ahead=ahead, threads=limit)
            for name, (workers, ahead, limit) in shapes.items()
        }

    def _prepare(self) -> None:
        """Remove what a stream that died left behind; what stays counts in the budget."""
        self._started = self._measured = time.monotonic()
        before = tree_bytes(self._tmp)
        self._folders.clear()
        for profiling in self._rooms.profiling:
            profiling.open()
        fixed = tree_bytes(self._tmp)
        self._leftover_bytes = max(0, before - fixed)
        if self._leftover_bytes:
            log.info("Removed %s that a stream had left", format_size(self._leftover_bytes))
        self._meter.start()
        limit = self._budget.limit_bytes
        if not self._budget.resize("fixed", fixed):
            msg = (
                f"disk_budget is {format_size(limit or 0)}, but {self._tmp} already holds "
                f"{format_size(fixed)}; make it larger"
            )
            raise BudgetError(msg)

    def _stop_now(self, reason: str, error: BaseException | None) -> None:
        if self._deadline < float("inf"):
            return
        log.warning("Stopping at the next safe point: %s", reason)
        self._context.stopping = "now"
        self._stopped_by = reason
        self._deadline = time.monotonic() + _GRACE_S
        if error is not None and self._context.error is None:
            self._context.error = error
        self._plates.end()
        for name, lane in self._context.lanes.items():
            if name != "compile":  # a table that is being published is finished
                lane.drop_waiting()
        self._interrupt()

    def _interrupt(self) -> None:
        """End what can be ended at once: transfers, helper processes."""
        rooms = self._rooms
        rooms.downloader.interrupt()
        for part in (rooms.preprocessor, *rooms.profiling):
            interrupt = getattr(part, "interrupt", None)
            if interrupt is not None:
                interrupt()

    def _set_paused(self, paused: bool) -> None:
        self._paused = paused

    def _close(self, *, abandoned: bool) -> None:
        """End the threads and delete what is left; leave both when it must be quick."""
        lanes = self._context.lanes.values()
        self._watch.close()
        self._plates.end()
        for lane in lanes:
            lane.close()
        if abandoned:
            self._interrupt()
            return
        deadline = min(self._deadline, time.monotonic() + _GRACE_S) + 1.0
        busy = [lane.name for lane in lanes if not lane.join(deadline)]
        if busy:
            # A thread cannot be ended from outside; it ends with the process and must not
            # touch what a later stream of this process does.
            self._context.abandoned = True
            left = f"left behind at work, as they do not end: {', '.join(busy)}"
            log.error("Threads are %s; they end with this process", left)
            self._stopped_by = f"{self._why() or 'its end'} ({left})"
        self._folders.clear()
        for profiling in self._rooms.profiling:
            try:
                profiling.close()
            except StorageError as error:
                self._context.halt(error)
        self._meter.close()

    def _result(self) -> RunResult:
        return RunResult(
            self._batches.finished,
            self._plan,
            time.monotonic() - self._started,
            lanes=self.lanes(),
            disk=self.disk(),
        )

    def _why(self) -> str:
        """Return why the stream ended before its plan did."""
        error = self._context.error
        if self._stopped_by or error is None:
            return self._stopped_by
        return str(error) if isinstance(error, UserError) else "interrupted"
