"""What the components of the scheduler share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from idrstream.errors import UserError, storage_error
from idrstream.records import ImageTask
from idrstream.schedule.events import Event, Listener, StageFinished, StageStarted
from idrstream.schedule.lanes import Inbox, Lane, Outcome
from idrstream.schedule.options import LaneSizes
from idrstream.schedule.stages import Stages
from idrstream.schedule.state import BatchState
from idrstream.schedule.stop import StreamState


@dataclass(slots=True)
class Context:
    """What the components of the scheduler share; only the deciding thread changes it.

    Attributes
    ----------
    stages : Stages
        The stages.
    sizes : LaneSizes
        Sizes of the lanes.
    inbox : SimpleQueue
        Outcomes of jobs, requests from other threads.
    lanes : dict
        The lanes by name.
    listeners : sequence of Listener
        Called with every event.
    batches : list of BatchState
        The batches in progress, in order.
    n_cores_used : int
        Processor cores that correction, segmentation and profiling use, less those of what works
        beside segmentation.
    error : BaseException or None
        What ended the stream.
    state : StreamState
        What the stream still starts.
    """

    stages: Stages
    sizes: LaneSizes
    inbox: Inbox
    lanes: dict[str, Lane]
    listeners: Sequence[Listener] = ()
    batches: list[BatchState] = field(default_factory=list)
    n_cores_used: int = 0
    error: BaseException | None = None
    state: StreamState = StreamState.RUNNING

    @property
    def stopping(self) -> bool:
        """Whether the stream starts no more images for good."""
        return self.state >= StreamState.DRAINING

    def advance(self, state: StreamState) -> None:
        """Move on to a later state; never back."""
        self.state = max(self.state, state)

    def set_paused(self, *, paused: bool) -> None:
        """Pause or resume, unless the stream is stopping."""
        if not self.stopping:
            self.state = StreamState.PAUSED if paused else StreamState.RUNNING

    def request_stop(self, error: BaseException) -> None:
        """Record an error and stop: an interrupt at once, any other after draining."""
        drain = isinstance(error, Exception)
        self.advance(StreamState.DRAINING if drain else StreamState.STOPPING)
        if self.error is None:
            self.error = error

    def should_continue_after(self, error: BaseException) -> TypeGuard[Exception]:
        """Return whether the stream continues after an error of a job; if not, stop it.

        What the user has to fix and a full disk would make every other image or batch fail, too.
        """
        ends = isinstance(error, UserError) or not isinstance(error, Exception)
        cause = error if ends else storage_error(error)
        if cause is not None:
            self.request_stop(cause)
        return cause is None

    def emit(self, event: Event) -> bool:
        """Call the listeners; return False, and stop the stream, if one fails."""
        succeeded = True
        for listener in self.listeners:
            try:
                listener(event)
            # Listeners are other people's code; what a journal cannot record must not be lost.
            except Exception as error:
                self.request_stop(error)
                succeeded = False
        return succeeded

    def stage_started(self, stage: str, batch: BatchState, task: ImageTask | None = None) -> None:
        """Report that an image or a batch entered a stage."""
        self.emit(StageStarted(stage, batch.batch, task))

    def stage_finished(
        self,
        stage: str,
        batch: BatchState,
        task: ImageTask | None,
        seconds: float,
        n_bytes: int | None = None,
    ) -> None:
        """Report that an image or a batch left a stage."""
        batch.seconds[stage] = batch.seconds.get(stage, 0.0) + seconds
        self.emit(StageFinished(stage, batch.batch, task, seconds, n_bytes))

    def has_capacity(self, name: str, n_frames: int = 1) -> bool:
        """Return whether a lane takes another job and the cores for it are free."""
        n_cores = self._cores_for(name, n_frames)
        fits = self.n_cores_used + n_cores <= self.sizes.cores
        limited = self.sizes.cores and n_cores and self.n_cores_used  # a job alone always runs
        return self.lanes[name].has_capacity and (fits or not limited)

    def submit(
        self,
        name: str,
        call: Callable[[], Any],
        done: Callable[[Outcome], None],
        n_frames: int = 1,
    ) -> None:
        """Submit a job to a lane and occupy its cores until it is done."""
        n_cores = self._cores_for(name, n_frames)
        self.n_cores_used += n_cores

        def finish(outcome: Outcome) -> None:
            self.n_cores_used -= n_cores
            done(outcome)

        self.lanes[name].submit(call, finish)

    def _cores_for(self, name: str, n_frames: int) -> int:
        sizes = self.sizes
        # What works beside segmentation: parts of each take one core only, and none of them has
        # to wait for another.
        if name == "preprocess":
            return 0 if sizes.beside and not self.lanes[name].n_jobs else 1
        if name == "profile":
            return 0 if sizes.beside else sizes.cores
        if name != "segment":
            return 0
        # Several frames are segmented side by side, one core each; a network alone uses all.
        return min(n_frames, sizes.cores) if n_frames > 1 else sizes.cores
