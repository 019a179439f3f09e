"""The runner and those who listen to it."""

from idrstream.run.events import (
    BatchFinished,
    BatchStarted,
    Event,
    ImageFinished,
    Listener,
    RunResult,
    StageStarted,
    StreamFinished,
    StreamStarted,
)
from idrstream.run.runner import BatchProfiling, Preprocessing, Rooms, Runner

__all__ = [
    "BatchFinished",
    "BatchProfiling",
    "BatchStarted",
    "Event",
    "ImageFinished",
    "Listener",
    "Preprocessing",
    "Rooms",
    "RunResult",
    "Runner",
    "StageStarted",
    "StreamFinished",
    "StreamStarted",
]
