"""Stream a whole screen of the Image Data Resource to single-cell features.

The names below are the public interface; everything else may change. Heavy libraries (torch,
TensorFlow, Java) are imported when they are first used, not here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idrstream.collect import Collected, CollectOptions, collect_folder
    from idrstream.config import Settings, load_settings
    from idrstream.download import OmeZarrDownloader, make_downloader
    from idrstream.errors import (
        BatchError,
        CollectError,
        ConfigError,
        IdrStreamError,
        ImageError,
        MissingToolError,
        StorageError,
        TableError,
        UserError,
    )
    from idrstream.forecast import StreamPlan
    from idrstream.formats.cellh5.reader import CellH5Reader
    from idrstream.formats.java.readers import BioFormatsReader, ImageJReader
    from idrstream.legacy import AsperaDownloader, BasicpyPreprocessor, DeepProfilerRun
    from idrstream.preprocess import Preprocessor
    from idrstream.profile import DeepProfilerEngine, DeepProfilerProject, TorchEngine
    from idrstream.records import Frame, ImageTask, Movie, Nuclei, Published, Skipped
    from idrstream.schedule.result import RunResult
    from idrstream.screen import Plan, read_table, table_from_idr
    from idrstream.segment import CellPoseSegmentor
    from idrstream.simulate import ScreenSpec, simulate_screen
    from idrstream.stream import IdrStream
    from idrstream.watch.background import BackgroundRun, StreamHandle, attach

__version__ = "0.1.0"

# Public name -> module that has it; looked up on first use.
_HOMES = {
    "AsperaDownloader": "legacy",
    "BackgroundRun": "watch.background",
    "BasicpyPreprocessor": "legacy",
    "BatchError": "errors",
    "BioFormatsReader": "formats",
    "CellH5Reader": "formats",
    "CellPoseSegmentor": "segment",
    "CollectError": "errors",
    "CollectOptions": "collect",
    "Collected": "collect",
    "ConfigError": "errors",
    "DeepProfilerEngine": "profile",
    "DeepProfilerProject": "profile",
    "DeepProfilerRun": "legacy",
    "Frame": "records",
    "IdrStream": "stream",
    "IdrStreamError": "errors",
    "ImageError": "errors",
    "ImageJReader": "formats",
    "ImageTask": "records",
    "MissingToolError": "errors",
    "Movie": "records",
    "Nuclei": "records",
    "OmeZarrDownloader": "download",
    "Plan": "screen",
    "Preprocessor": "preprocess",
    "Published": "records",
    "RunResult": "schedule",
    "ScreenSpec": "simulate",
    "Settings": "config",
    "Skipped": "records",
    "StorageError": "errors",
    "StreamHandle": "watch.background",
    "StreamPlan": "forecast",
    "TableError": "errors",
    "TorchEngine": "profile",
    "UserError": "errors",
    "attach": "watch.background",
    "collect_folder": "collect",
    "load_settings": "config",
    "make_downloader": "download",
    "read_table": "screen",
    "simulate_screen": "simulate",
    "table_from_idr": "screen",
}

__all__ = [
    "AsperaDownloader",
    "BackgroundRun",
    "BasicpyPreprocessor",
    "BatchError",
    "BioFormatsReader",
    "CellH5Reader",
    "CellPoseSegmentor",
    "CollectError",
    "CollectOptions",
    "Collected",
    "ConfigError",
    "DeepProfilerEngine",
    "DeepProfilerProject",
    "DeepProfilerRun",
    "Frame",
    "IdrStream",
    "IdrStreamError",
    "ImageError",
    "ImageJReader",
    "ImageTask",
    "MissingToolError",
    "Movie",
    "Nuclei",
    "OmeZarrDownloader",
    "Plan",
    "Preprocessor",
    "Published",
    "RunResult",
    "ScreenSpec",
    "Settings",
    "Skipped",
    "StorageError",
    "StreamHandle",
    "StreamPlan",
    "TableError",
    "TorchEngine",
    "UserError",
    "attach",
    "collect_folder",
    "load_settings",
    "make_downloader",
    "read_table",
    "simulate_screen",
    "table_from_idr",
]


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*globals(), *__all__})
