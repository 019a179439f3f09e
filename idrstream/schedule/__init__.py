"""The scheduler: who may do what next, and the events it emits."""

from idrstream.schedule.disk.budget import DiskUse
from idrstream.schedule.events import (
    BatchFinished,
    BatchPublished,
    BatchStarted,
    Event,
    ImageFinished,
    LanesMeasured,
    Listener,
    StageFinished,
    StageStarted,
    StreamFinished,
    StreamStarted,
)
from idrstream.schedule.lanes import LaneReport
from idrstream.schedule.result import RunResult
from idrstream.schedule.runner import Runner
from idrstream.schedule.stages import BatchProfiling, Stages

__all__ = [
    "BatchFinished",
    "BatchProfiling",
    "BatchPublished",
    "BatchStarted",
    "DiskUse",
    "Event",
    "ImageFinished",
    "LaneReport",
    "LanesMeasured",
    "Listener",
    "RunResult",
    "Runner",
    "StageFinished",
    "StageStarted",
    "Stages",
    "StreamFinished",
    "StreamStarted",
]
