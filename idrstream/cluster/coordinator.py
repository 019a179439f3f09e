"""Runs a plan on workers elsewhere: gives work, takes results, and alone decides.

It has the place and the interface of `Runner`: the same events go to the same listeners, so that
journal, status and report do not know where a batch was computed.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.cluster.accept import Acceptor, Placed
from idrstream.cluster.beats import all_states, batches_of, forget_ended, live_workers
from idrstream.cluster.feed import Feed, Plates
from idrstream.cluster.layout import ClusterFolder
from idrstream.cluster.receipts import Receipt, attempts, read_receipt
from idrstream.cluster.work import Ended, EndKind, Executor, Work, batch_key
from idrstream.errors import ClusterError, UserError, WorkerDiedError, storage_error
from idrstream.folder.live import WorkerNow, read_small, write_small
from idrstream.schedule.events import (
    BatchFinished,
    BatchStarted,
    Event,
    Listener,
    StreamFinished,
    StreamStarted,
)
from idrstream.schedule.result import BatchLog, RunResult
from idrstream.schedule.stop import StopSignals

if TYPE_CHECKING:
    from idrstream.schedule.disk.budget import DiskUse
    from idrstream.schedule.lanes import LaneReport
    from idrstream.screen import Plan

log = logging.getLogger(__name__)

DEATHS = 3
"""So many workers may die at a batch before it counts as failed."""
_POLL_S = 0.2
_LOOK_S = 1.0
_LEAVING_S = 3.0
_TOGETHER = 64  # attempts for which the disk is waited for together
DETACHED = "given to the queue system"


class Coordinator:
    """Runs a plan on the workers of an executor.

    Parameters
    ----------
    executor : Executor
        Has the workers.
    folder : ClusterFolder
        Where workers leave their results.
    listeners : sequence of Listener
        Called with every event, in the thread that calls `run`.
    make_acceptor : callable
        Given what emits events, returns what takes attempts.
    needs_model : callable
        Whether a plate needs an illumination model first.
    identity : str
        Digest of the settings that change results.
    plate_wells : int
        A model is fitted on at most this many wells.
    """

    def __init__(
        self,
        executor: Executor,
        folder: ClusterFolder,
        listeners: Sequence[Listener],
        make_acceptor: Callable[[Callable[[Event], bool]], Acceptor],
        *,
        needs_model: Callable[[str], bool],
        identity: str,
        plate_wells: int,
    ) -> None:
        self._executor = executor
        self._folder = folder
        self._listeners = tuple(listeners)
        self._acceptor = make_acceptor(self._emit)
        self._needs_model = needs_model
        self._identity = identity
        self._plate_wells = plate_wells
        self._given: dict[str, Work] = {}
        self._foreign: dict[str, tuple[int, ...]] = {}  # batches of workers of somebody before
        self._begun: set[int] = set()
        self._deaths: dict[int, list[str]] = {}
        self._fruitless = 0
        self._looked = 0.0
        self._stop = threading.Event()
        self._stopped_by = ""
        self._error: BaseException | None = None
        self._paused = False
        self._deaf = False  # a listener failed: what cannot be recorded is not taken

    # For other threads

    def stop(self, reason: str = "stopped on request", error: BaseException | None = None) -> None:
        """Let workers leave at their next safe point; `run` then returns, or raises `error`."""
        if not self._stop.is_set():
            self._stopped_by, self._error = reason, error or self._error
            self._stop.set()

    def pause(self) -> None:
        """Give no more work until `resume`; what was given is finished."""
        self._paused = True

    def resume(self) -> None:
        """Continue after `pause`."""
        self._paused = False

    def is_resting(self) -> bool:
        """Whether it is paused and no worker is at work."""
        return self._paused and not self._given

    def disk(self) -> DiskUse | None:
        """Return None: workers keep their own intermediates."""
        return None

    def lanes(self) -> tuple[LaneReport, ...]:
        """Return nothing: workers have their own lanes."""
        return ()

    def workers(self) -> tuple[WorkerNow, ...]:
        """Return what workers are doing."""
        return tuple(
            WorkerNow(s.worker, s.host, s.job, s.batches, len(s.done), s.memory_bytes, s.peak_bytes)
            for s in all_states(self._folder)
            if not s.ended
        )

    def waiting(self) -> str:
        """Return what waits for a worker, and why."""
        return self._executor.waiting()

    # The run

    def run(self, plan: Plan) -> RunResult:
        """Run all batches of a plan; see `Runner.run`."""
        started = time.monotonic()
        self._plan, self._results = plan, BatchLog(plan)
        self._feed = Feed(plan, Plates(self._needs_model), self._plate_wells)
        self._deaths = _read_deaths(self._folder.deaths)
        self._emit(StreamStarted(plan))
        with StopSignals(partial(self.stop, "interrupted")):
            try:
                self._adopt()
                self._loop()
            except BaseException as error:  # told to the listeners, then raised
                self.stop(str(error) if isinstance(error, UserError) else "interrupted", error)
            finally:
                self._close()
        result = RunResult(self._results, plan, time.monotonic() - started)
        self._emit(StreamFinished(result, self._stopped_by))
        if self._error is not None:
            raise self._error
        return result

    def _loop(self) -> None:
        while not self._stop.is_set():
            self._take_up()
            self._look_after_foreign()
            if not self._feed.n_left:
                return
            all_given = not self._paused and self._give()
            for ended in self._executor.wait(_POLL_S):
                self._take_up()
                self._handle_end(ended)
            if self._executor.detached and all_given:
                self.stop(DETACHED)

    def _adopt(self) -> None:
        """Leave alone what workers of an earlier coordinator are doing."""
        for work in self._executor.adopted():
            self._given[work.id] = work
            self._feed.hold(work.batches)
            if work.plate:
                self._feed.plates.fitting.add(work.plate)
        for state in live_workers(self._folder):
            if state.work and state.work not in self._given:
                self._foreign[state.worker] = state.todo
                self._feed.hold(state.todo)
                log.info("Worker %s goes on with %d batches", state.worker, len(state.todo))

    def _look_after_foreign(self) -> None:
        now = time.monotonic()
        if not self._foreign or now - self._looked < _LOOK_S:
            return
        self._looked = now
        alive = {state.worker: state for state in live_workers(self._folder)}
        for worker, numbers in list(self._foreign.items()):
            state = alive.get(worker)
            if state is None or state.todo != numbers:
                self._take_up()
                del self._foreign[worker]
                self._feed.put_back(numbers)

    def _give(self) -> bool:
        """Give work while there is capacity; return whether nothing more can be given now."""
        capacity = self._executor.capacity()
        for _ in range(capacity):
            work = self._feed.take(self._executor.slice_size(self._feed.n_left))
            if work is None:
                return True
            self._given[work.id] = work
            self._executor.give(work, self._folder.stream)
            if not self._executor.outlives:
                for number in work.batches:
                    self._begin(number)
        return not capacity

    def _begin(self, number: int) -> None:
        self._begun.add(number)
        self._emit(BatchStarted(self._plan.batch(number)))

    # Results

    def _take_up(self) -> None:
        """Take what there is in the inbox, so many at a time."""
        placed: dict[int, Placed] = {}
        for attempt in attempts(self._folder.inbox):
            if self._deaf:
                return
            try:
                receipt = read_receipt(attempt)
                if receipt.batch < 0:
                    self._take_plate(attempt, receipt)
                elif receipt.batch not in placed and (one := self._place(attempt, receipt)):
                    placed[receipt.batch] = one
            except ClusterError as error:
                log.warning("An attempt is not taken: %s", error)
                shutil.rmtree(attempt, ignore_errors=True)
            if len(placed) == _TOGETHER:
                self._record(placed)
        self._record(placed)

    def _place(self, attempt: Path, receipt: Receipt) -> Placed | None:
        number = receipt.batch
        if not self._feed.is_open(number):
            log.info("Batch %d was done a second time, and is left as it is", number)
            shutil.rmtree(attempt, ignore_errors=True)
            return None
        batch = self._plan.batch(number)
        if receipt.key != batch_key(self._identity, number, batch.tasks) or (
            receipt.images and len(receipt.images) != len(batch.tasks)
        ):
            raise ClusterError(f"{attempt} is of other images or settings")
        if number not in self._begun:
            self._begin(number)
        log.info("Batch %d was done by %s on %s", number, receipt.worker, receipt.host)
        return self._acceptor.place(batch, attempt, receipt)

    def _record(self, placed: dict[int, Placed]) -> None:
        for finished in self._acceptor.record(tuple(placed.values())):
            self._finish(finished)
        placed.clear()

    def _take_plate(self, attempt: Path, receipt: Receipt) -> None:
        if receipt.key != self._identity:
            raise ClusterError(f"{attempt} is of other settings")
        if not receipt.error:
            self._acceptor.take_plate(attempt, receipt)
        shutil.rmtree(attempt, ignore_errors=True)
        self._fruitless = 0
        self._feed.settle_plate(receipt.plate, receipt.error)

    def _finish(self, finished: BatchFinished) -> None:
        number = finished.batch.number
        self._results.add(finished)
        self._feed.finish(number)
        self._begun.discard(number)
        self._fruitless = 0
        if self._deaths.pop(number, None):
            self._write_deaths()

    # Ends

    def _handle_end(self, ended: Ended) -> None:
        work = self._given.pop(ended.work.id, ended.work)
        left = [number for number in work.batches if self._feed.is_open(number)]
        self._begun.difference_update(left)
        at_work = batches_of(self._folder, work.id, ended.worker)
        suspects = [number for number in left if number in at_work]
        if ended.kind is EndKind.DIED:
            for number in suspects:
                self._count_death(number, ended)
        else:
            suspects = []
        self._feed.put_back(number for number in left if number not in suspects)
        if work.plate:
            self._feed.refit(work.plate)
        if ended.kind not in (EndKind.FINISHED, EndKind.RETURNED):
            log.warning("Worker %s ended: %s %s", ended.worker, ended.kind, ended.message)
            self._count_fruitless(ended, blamed=bool(suspects))

    def _count_death(self, number: int, ended: Ended) -> None:
        """Note that a worker died at a batch; the third time the batch is failed."""
        messages = self._deaths.setdefault(number, [])
        messages.append(ended.message)
        self._write_deaths()
        if len(messages) < DEATHS:
            self._feed.put_alone(number)
            return
        batch = self._plan.batch(number)
        self._emit(BatchStarted(batch))
        finished = BatchFinished(
            batch, None, 0, (), WorkerDiedError.__name__,
            f"{len(messages)} workers died at it; the last: {messages[-1]}",
        )  # fmt: skip
        self._emit(finished)
        self._finish(finished)

    def _count_fruitless(self, ended: Ended, *, blamed: bool) -> None:
        """Stop when one worker after the other ends before it has finished anything."""
        self._fruitless += not blamed
        if self._fruitless <= max(3, self._executor.workers + 1):
            return
        msg = (
            f"{self._fruitless} workers one after the other ended before they finished a batch, "
            f"the last because: {ended.message or ended.kind}. Their logs are in "
            f"{self._folder.logs}; what is done is kept, go on with idrstream resume"
        )
        raise ClusterError(msg)

    def _write_deaths(self) -> None:
        write_small(self._folder.deaths, {str(k): v for k, v in self._deaths.items()})

    # The end

    def _close(self) -> None:
        """Let workers leave, and take what they finished."""
        try:
            self._executor.close()
            self._let_foreign_leave()
            self._take_up()
        except Exception as error:  # told, not hidden by what stopped the run
            self._error = self._error or error
        forget_ended(self._folder, states=not self._executor.outlives)

    def _let_foreign_leave(self) -> None:
        """Wait shortly for workers whose coordinator was killed just now: they end soon."""
        deadline = time.monotonic() + _LEAVING_S
        while not self._executor.outlives and time.monotonic() < deadline:
            alive = {state.worker for state in live_workers(self._folder)}
            if alive.isdisjoint(self._foreign):
                return
            time.sleep(0.05)

    def _emit(self, event: Event) -> bool:
        """Call the listeners; return False, and stop, if one fails."""
        succeeded = True
        for listener in self._listeners:
            try:
                listener(event)
            except Exception as error:  # other people's code
                self._error = self._error or storage_error(error) or error
                self._deaf = True
                self.stop(str(error))
                succeeded = False
        return succeeded


def _read_deaths(path: Path) -> dict[int, list[str]]:
    found: Mapping[str, object] = read_small(path)
    return {
        int(number): [str(message) for message in messages]
        for number, messages in found.items()
        if number.isdigit() and isinstance(messages, list)
    }
