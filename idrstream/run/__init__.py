"""The runner and those who listen to it."""

from idrstream.run.budget import DiskUse, parse_size
from idrstream.run.events import (
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
from idrstream.run.lanes import LaneReport
from idrstream.run.options import LaneOptions
from idrstream.run.result import RunResult
from idrstream.run.rooms import BatchProfiling, Preprocessing, Rooms
from idrstream.run.runner import Runner

__all__ = [
    "BatchFinished",
    "BatchProfiling",
    "BatchPublished",
    "BatchStarted",
    "DiskUse",
    "Event",
    "ImageFinished",
    "LaneOptions",
    "LaneReport",
    "LanesMeasured",
    "Listener",
    "Preprocessing",
    "Rooms",
    "RunResult",
    "Runner",
    "StageFinished",
    "StageStarted",
    "StreamFinished",
    "StreamStarted",
    "parse_size",
]
