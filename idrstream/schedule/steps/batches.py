"""The lanes that batches pass through: compile, publish, clear."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

from idrstream.errors import BatchError, storage_error
from idrstream.records import Batch, Published
from idrstream.redact import redact
from idrstream.schedule.context import Context
from idrstream.schedule.disk.space import Space
from idrstream.schedule.events import BatchFinished, BatchPublished, BatchStarted
from idrstream.schedule.lanes import Outcome
from idrstream.schedule.result import BatchLog
from idrstream.schedule.state import BatchPhase, BatchState
from idrstream.schedule.stop import StreamState
from idrstream.screen import Plan
from idrstream.text import counted

log = logging.getLogger(__name__)


class BatchLanes:
    """Starts batches, and moves them from their last image to their published table.

    Parameters
    ----------
    context : Context
        What the components of the scheduler share.
    space : Space
        Gets back the space of finished batches.
    plan : Plan
        The batches to run.
    """

    def __init__(self, context: Context, space: Space, plan: Plan) -> None:
        self.finished = BatchLog(plan)
        self._context = context
        self._space = space
        self._next: Iterator[tuple[int, Batch]] = enumerate(plan)
        self._exhausted = False
        self._postponed: list[tuple[int, Batch]] = []
        in_flight = min(len(context.stages.profiling), context.sizes.batches_in_flight)
        self._slots = list(range(in_flight))

    @property
    def done(self) -> bool:
        """Whether all batches of the plan are finished."""
        return self._exhausted and not self._postponed and not self._context.batches

    @property
    def finishing(self) -> bool:
        """Whether a batch whose frames are all segmented is on its way to its table."""
        others = (BatchPhase.OPEN, BatchPhase.LOST)
        return any(
            batch.phase not in others
            or (batch.phase is BatchPhase.OPEN and batch.only_profiling_left)
            for batch in self._context.batches
        )

    def start(self) -> None:
        """Start batches as long as there are free slots."""
        while self._slots and not self._context.stopping:
            following = self._postponed.pop(0) if self._postponed else next(self._next, None)
            if following is None:
                self._exhausted = True
                return
            order, batch = following
            slot = self._slots.pop(0)
            profiling = self._context.stages.profiling[slot]
            self._context.batches.append(BatchState(batch, order, slot, profiling))
            self._context.emit(BatchStarted(batch))

    def postpone(self, batch: BatchState) -> None:
        """Start a batch again later, so that those before it can finish in the budget."""
        log.info("Batch %d is started again later: the disk budget is full", batch.batch.number)
        batch.profiling.clear()
        self._remove(batch)
        self._postponed.append((batch.order, batch.batch))

    def publish(self) -> None:
        """Start to compile and publish the batches whose images are all finished."""
        for batch in self._in_phase(BatchPhase.READY):
            if batch.error is not None:
                self._fail(batch, batch.error)
                continue
            if not (batch.n_frames or batch.is_missing):
                self._fail(batch, BatchError(_no_image(batch)))
                continue
            batch.phase = BatchPhase.COMPILING
            self._context.stage_started("compile", batch)
            self._context.submit(
                "compile",
                partial(_publish, batch),
                partial(self._published, batch),
            )

    def _in_phase(self, phase: BatchPhase) -> list[BatchState]:
        return [batch for batch in self._context.batches if batch.phase is phase]

    def _published(self, batch: BatchState, outcome: Outcome) -> None:
        n_bytes = None if outcome.value is None else outcome.value[1]
        self._context.stage_finished("compile", batch, None, outcome.seconds, n_bytes)
        if outcome.error is not None:
            self._fail(batch, outcome.error)
            return
        published: Published = outcome.value[0]
        event = BatchPublished(
            batch.batch, published, batch.n_nuclei, batch.skipped, dict(batch.seconds)
        )
        if self._context.emit(event):
            self._clear(batch, published, None)
        else:  # what could not be recorded durably is not done: the next run repeats it
            batch.phase = BatchPhase.LOST

    def _fail(self, batch: BatchState, error: BaseException) -> None:
        """Record that a batch failed, or stop the stream."""
        batch.phase = BatchPhase.LOST
        if self._context.state >= StreamState.STOPPING:
            return  # it was interrupted, or may have been
        if not self._context.should_continue_after(error):
            return
        unforeseen = None if isinstance(error, BatchError) else error
        log.error(
            "Error while profiling batch %d: %s", batch.batch.number, error, exc_info=unforeseen
        )
        self._clear(batch, None, error)

    def _clear(
        self, batch: BatchState, published: Published | None, error: Exception | None
    ) -> None:
        batch.phase = BatchPhase.CLEARING
        self._context.submit(
            "compile", batch.profiling.clear, partial(self._cleared, batch, published, error)
        )

    def _cleared(
        self,
        batch: BatchState,
        published: Published | None,
        error: Exception | None,
        outcome: Outcome,
    ) -> None:
        if outcome.error is not None:
            self._context.request_stop(storage_error(outcome.error) or outcome.error)
        self._remove(batch)
        finished = BatchFinished(
            batch=batch.batch,
            published=published,
            nuclei=batch.n_nuclei,
            skipped=batch.skipped,
            error_kind="" if error is None else type(error).__name__,
            error="" if error is None else redact(str(error)),
            seconds=dict(batch.seconds),
        )
        self.finished.add(finished)
        self._context.emit(finished)

    def _remove(self, batch: BatchState) -> None:
        self._space.release_batch(batch)
        self._context.batches.remove(batch)
        self._slots = sorted([*self._slots, batch.slot])


def _publish(batch: BatchState) -> tuple[Published, int]:
    tasks = [image.task for image in batch.images]
    published = batch.profiling.publish(batch.batch.number, tasks)
    return published, published.path.stat().st_size


def _no_image(batch: BatchState) -> str:
    """Return why a batch without a frame failed."""
    images = counted(len(batch.images), "image")
    msg = f"none of {images} could be processed"
    return f"{msg}; the first: {batch.skipped[0].reason}" if batch.skipped else msg
