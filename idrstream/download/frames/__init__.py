"""Only the wanted frames of a remote movie, by byte ranges."""

from __future__ import annotations

from idrstream.download.frames._fetch import (
    FETCH_MODES,
    FetchMode,
    FramesNeeded,
    TakenFrames,
    TakeTheFile,
    Traffic,
    choose_way,
    fetch_frames,
)
from idrstream.download.frames._http import HttpFile, HttpOptions
from idrstream.download.frames._local import LocalFile
from idrstream.download.frames._small import FETCHED_FRAMES

__all__ = [
    "FETCHED_FRAMES",
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
