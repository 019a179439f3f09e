"""The lanes that batches walk through: profile, compile, publish, clear."""

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
from idrstream.schedule.stages import BatchProfiling
from idrstream.schedule.state import BatchState
from idrstream.screen import Plan

log = logging.getLogger(__name__)


class BatchLanes:
    """Begins batches and brings them from their last image to their published table.

    Parameters
    ----------
    context : Context
        What all parts share.
    space : Space
        Takes back the space of finished batches.
    plan : Plan
        The batches to run.
    slots : int
        Batches under way at once.
    """

    def __init__(self, context: Context, space: Space, plan: Plan, slots: int) -> None:
        self.finished = BatchLog(plan)
        self._context = context
        self._space = space
        self._next: Iterator[Batch] = iter(plan)
        self._exhausted = False
        self._put_back: list[tuple[int, Batch]] = []
        self._begun = 0
        self._slots = list(range(slots))
        self._to_profile: list[BatchState] = []
        self._to_publish: list[BatchState] = []

    @property
    def done(self) -> bool:
        """Whether all batches of the plan are finished."""
        return self._exhausted and not self._put_back and not self._context.batches

    @property
    def finishing(self) -> bool:
        """Whether batches whose images are all finished are on their way to their table."""
        running = sum(self._context.lanes[name].running for name in ("profile", "compile"))
        complete = any(not (batch.left or batch.taken_over) for batch in self._context.batches)
        return bool(running or complete or self._to_profile or self._to_publish)

    def admit(self) -> None:
        """Begin batches as long as there are slots for them."""
        while self._slots and not self._context.stopping:
            if self._put_back:
                order, batch = self._put_back.pop(0)
            else:
                following = next(self._next, None)
                if following is None:
                    self._exhausted = True
                    return
                order, batch = self._begun, following
                self._begun += 1
            slot = self._slots.pop(0)
            profiling = self._context.rooms.profiling[slot]
            self._context.batches.append(BatchState.of(batch, order, slot, profiling))
            self._context.tell(BatchStarted(batch))

    def set_back(self, batch: BatchState) -> None:
        """Have a batch begun again later, so that those before it can finish in the budget."""
        log.info("Batch %d is begun again later: the disk budget is full", batch.batch.number)
        batch.profiling.clear()
        self._space.release(batch)
        self._leave(batch)
        self._put_back.append((batch.order, batch.batch))

    def settle(self) -> None:
        """Take over the batches whose images are all finished."""
        for batch in self._context.batches:
            if batch.left or batch.taken_over:
                continue
            batch.taken_over = True
            if batch.frames:
                self._to_profile.append(batch)
            else:
                count = len(batch.images)
                self._fail(batch, BatchError(f"none of the {count} images could be processed"))

    def profile(self) -> None:
        """Start to profile what waits for it."""
        while self._to_profile and self._context.has_room("profile"):
            batch = self._to_profile.pop(0)
            self._context.begin("profile", batch)
            self._context.submit(
                "profile",
                partial(batch.profiling.profile, batch.batch.tasks),
                partial(self._profiled, batch),
            )

    def publish(self) -> None:
        """Start to compile and publish what is profiled."""
        while self._to_publish and self._context.has_room("compile"):
            batch = self._to_publish.pop(0)
            self._context.begin("compile", batch)
            self._context.lanes["compile"].submit(
                partial(_publish, batch.profiling, batch.batch.number),
                partial(self._published, batch),
            )

    def _profiled(self, batch: BatchState, outcome: Outcome) -> None:
        self._context.end("profile", batch, None, outcome.seconds)
        if outcome.error is not None:
            self._fail(batch, outcome.error)
        else:
            self._to_publish.append(batch)

    def _published(self, batch: BatchState, outcome: Outcome) -> None:
        moved = None if outcome.value is None else outcome.value[1]
        self._context.end("compile", batch, None, outcome.seconds, moved)
        if outcome.error is not None:
            self._fail(batch, outcome.error)
            return
        published = outcome.value[0]
        event = BatchPublished(
            batch.batch, published, batch.nuclei, batch.skipped, dict(batch.seconds)
        )
        # What could not be noted durably is not done: it ends the stream and is done again.
        if self._context.tell(event):
            self._clear(batch, published, None)

    def _fail(self, batch: BatchState, error: BaseException) -> None:
        """Record that a batch failed, or end the stream."""
        if self._context.stopping == "now":
            return  # it was interrupted, or might have been
        if not self._context.goes_on_after(error):
            return
        unforeseen = None if isinstance(error, BatchError) else error
        log.error(
            "Error while profiling batch %d: %s", batch.batch.number, error, exc_info=unforeseen
        )
        self._clear(batch, None, error)

    def _clear(
        self, batch: BatchState, published: Published | None, error: Exception | None
    ) -> None:
        self._context.lanes["compile"].submit(
            batch.profiling.clear, partial(self._cleared, batch, published, error)
        )

    def _cleared(
        self,
        batch: BatchState,
        published: Published | None,
        error: Exception | None,
        outcome: Outcome,
    ) -> None:
        if outcome.error is not None:
            self._context.halt(storage_error(outcome.error) or outcome.error)
        self._space.release(batch)
        self._leave(batch)
        finished = BatchFinished(
            batch=batch.batch,
            published=published,
            nuclei=batch.nuclei,
            skipped=batch.skipped,
            error_kind="" if error is None else type(error).__name__,
            error="" if error is None else redact(str(error)),
            seconds=dict(batch.seconds),
        )
        self.finished.add(finished)
        self._context.tell(finished)

    def _leave(self, batch: BatchState) -> None:
        self._context.batches.remove(batch)
        self._slots.append(batch.slot)
        self._slots.sort()


def _publish(profiling: BatchProfiling, number: int) -> tuple[Published, int]:
    published = profiling.publish(number)
    return published, published.path.stat().st_size
