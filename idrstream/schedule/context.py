"""What the parts of a running stream share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from idrstream.errors import UserError, storage_error
from idrstream.records import ImageTask
from idrstream.schedule.events import Event, Listener, StageFinished, StageStarted
from idrstream.schedule.lanes import Inbox, Lane, Outcome
from idrstream.schedule.options import LaneSizes
from idrstream.schedule.stages import Rooms
from idrstream.schedule.state import BatchState

_HEAVY = ("preprocess", "segment", "profile")


@dataclass(slots=True)
class Context:
    """What the parts of a running stream share; used by the thread that runs it only.

    Attributes
    ----------
    rooms : Rooms
        The parts of the stream.
    sizes : LaneSizes
        How many of everything.
    inbox : SimpleQueue
        Outcomes of jobs, requests from other threads.
    lanes : dict
        The lanes by name.
    listeners : sequence of Listener
        Who hears the events.
    batches : list of BatchState
        The batches under way, in order.
    cores_used : int
        Processor cores that correction, segmentation and profiling use.
    error : BaseException or None
        What ends the stream.
    stopping : str
        Empty; ``drain``: finish the batches whose images are all done; ``now``: finish only what
        is being published.
    abandoned : bool
        Whether the stream is over though threads are still at work: they may delete nothing.
    """

    rooms: Rooms
    sizes: LaneSizes
    inbox: Inbox
    lanes: dict[str, Lane]
    listeners: Sequence[Listener] = ()
    batches: list[BatchState] = field(default_factory=list)
    cores_used: int = 0
    error: BaseException | None = None
    stopping: str = ""
    abandoned: bool = False

    def tell(self, event: Event) -> bool:
        """Tell the listeners of an event; one that fails ends the stream, and is told."""
        well = True
        for listener in self.listeners:
            try:
                listener(event)
            # The border to other people's code; what a journal cannot note must not be lost.
            except Exception as error:
                self.halt(error)
                well = False
        return well

    def begin(self, stage: str, batch: BatchState, task: ImageTask | None = None) -> None:
        """Tell that a stage begins."""
        self.tell(StageStarted(stage, batch.batch, task))

    def end(
        self,
        stage: str,
        batch: BatchState,
        task: ImageTask | None,
        seconds: float,
        moved: int | None = None,
    ) -> None:
        """Tell that a stage is over."""
        batch.seconds[stage] = batch.seconds.get(stage, 0.0) + seconds
        self.tell(StageFinished(stage, batch.batch, task, seconds, moved))

    def halt(self, error: BaseException) -> None:
        """End the stream: with an error at the next batch, with an interrupt at once."""
        if not isinstance(error, Exception):
            self.stopping = "now"
        elif not self.stopping:
            self.stopping = "drain"
        if self.error is None:
            self.error = error

    def goes_on_after(self, error: BaseException) -> TypeGuard[Exception]:
        """Tell whether the stream goes on after an error of a job; where not, it is ended.

        What the user must mend and a full disk would make every further image or batch fail, too.
        """
        stops_itself = isinstance(error, UserError) or not isinstance(error, Exception)
        stops = error if stops_itself else storage_error(error)
        if stops is not None:
            self.halt(stops)
        return stops is None

    def cost(self, name: str, frames: int = 1) -> int:
        """Return how many cores a job of a lane uses."""
        if name == "preprocess" or name not in _HEAVY:
            return 1
        # Several frames are segmented side by side, one core each; a network alone uses all.
        return min(frames, self.sizes.cores) if frames > 1 else self.sizes.cores

    def has_room(self, name: str, frames: int = 1) -> bool:
        """Tell whether a lane takes another job, and there are cores for it."""
        cores = self.sizes.cores
        if cores and name in _HEAVY and self.cores_used:
            return self.cores_used + self.cost(name, frames) <= cores and self.lanes[name].has_room
        return self.lanes[name].has_room

    def submit(
        self,
        name: str,
        call: Callable[[], Any],
        done: Callable[[Outcome], None],
        frames: int = 1,
    ) -> None:
        """Give a lane a job, and take the cores that it uses until it is done."""
        cost = self.cost(name, frames) if name in _HEAVY else 0
        self.cores_used += cost

        def finish(outcome: Outcome) -> None:
            self.cores_used -= cost
            done(outcome)

        self.lanes[name].submit(call, finish)
