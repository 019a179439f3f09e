"""Only the wanted frames of a remote movie, by byte ranges."""

from __future__ import annotations

from idrstream.download._modes import FETCH_MODES, FetchMode, Traffic
from idrstream.download.frames._fetch import (
    FramesNeeded,
    TakenFrames,
    TakeTheFile,
    choose_way,
    fetch_frames,
)
from idrstream.download.frames._http import HttpFile
from idrstream.download.frames._local import LocalFile
from idrstream.download.frames._web import HttpOptions

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
