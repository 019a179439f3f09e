"""Only the wanted frames of a remote movie, by byte ranges."""

from __future__ import annotations

from idrstream.download.modes import FETCH_MODES, FetchMode, Traffic
from idrstream.download.ranges.fetch import (
    FramesNeeded,
    TakenFrames,
    TakeTheFile,
    choose_way,
    fetch_frames,
)
from idrstream.download.ranges.http import HttpFile
from idrstream.download.ranges.local import LocalFile
from idrstream.download.ranges.web import HttpOptions

__all__ = [
    "FETCH_MODES",
    "FetchMode",
    "FramesNeeded",
    "HttpFile",
    "HttpOptions",
    "LocalFile",
    "TakeTheFile",
    "TakenFrames",
    "Traffic",
    "choose_way",
    "fetch_frames",
]
