"""The runner and those who listen to it."""

from idrstream.run.events import (
    BatchFinished,
    BatchPublished,
    BatchStarted,
    Event,
    ImageFinished,
    Listener,
    RunResult,
    StageFinished,
    StageStarted,
    StreamFinished,
    StreamStarted,
)
from idrstream.run.runner import BatchProfiling, Preprocessing, Rooms, Runner

__all__ = [
    "BatchFinished",
    "BatchProfiling",
    "BatchPublished",
    "BatchStarted",
    "Event",
    "ImageFinished",
    "Listener",
    "Preprocessing",
    "Rooms",
    "RunResult",
    "Runner",
    "StageFinished",
    "StageStarted",
    "StreamFinished",
    "StreamStarted",
]
