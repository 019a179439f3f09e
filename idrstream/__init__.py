"""Stream a whole screen of the Image Data Resource to single-cell features.

The names below are the public interface; everything else may change. Heavy libraries (torch,
TensorFlow, Java) are imported when they are first used, not here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idrstream.archive import table_from_files as table_from_files
    from idrstream.archive import table_from_idr as table_from_idr
    from idrstream.collect import Collected as Collected
    from idrstream.collect import CollectOptions as CollectOptions
    from idrstream.collect import collect_folder as collect_folder
    from idrstream.config import Settings as Settings
    from idrstream.config import load_settings as load_settings
    from idrstream.download import OmeZarrDownloader as OmeZarrDownloader
    from idrstream.download import make_downloader as make_downloader
    from idrstream.errors import BatchError as BatchError
    from idrstream.errors import CollectError as CollectError
    from idrstream.errors import ConfigError as ConfigError
    from idrstream.errors import IdrStreamError as IdrStreamError
    from idrstream.errors import ImageError as ImageError
    from idrstream.errors import MissingToolError as MissingToolError
    from idrstream.errors import StorageError as StorageError
    from idrstream.errors import TableError as TableError
    from idrstream.errors import UserError as UserError
    from idrstream.forecast import StreamPlan as StreamPlan
    from idrstream.formats.cellh5.reader import CellH5Reader as CellH5Reader
    from idrstream.formats.java.readers import BioFormatsReader as BioFormatsReader
    from idrstream.formats.java.readers import ImageJReader as ImageJReader
    from idrstream.legacy import AsperaDownloader as AsperaDownloader
    from idrstream.legacy import BasicpyPreprocessor as BasicpyPreprocessor
    from idrstream.legacy import DeepProfilerRun as DeepProfilerRun
    from idrstream.preprocess import Preprocessor as Preprocessor
    from idrstream.profile import DeepModel as DeepModel
    from idrstream.profile import DeepProfilerEngine as DeepProfilerEngine
    from idrstream.profile import FeatureEngine as FeatureEngine
    from idrstream.profile import TorchEngine as TorchEngine
    from idrstream.records import Features as Features
    from idrstream.records import Frame as Frame
    from idrstream.records import ImageTask as ImageTask
    from idrstream.records import Movie as Movie
    from idrstream.records import Objects as Objects
    from idrstream.records import Published as Published
    from idrstream.records import Skipped as Skipped
    from idrstream.schedule.result import RunResult as RunResult
    from idrstream.screen import Plan as Plan
    from idrstream.screen import read_table as read_table
    from idrstream.segment import CellPoseSegmentor as CellPoseSegmentor
    from idrstream.simulate import PaintingSpec as PaintingSpec
    from idrstream.simulate import ScreenSpec as ScreenSpec
    from idrstream.simulate import simulate_painting as simulate_painting
    from idrstream.simulate import simulate_screen as simulate_screen
    from idrstream.stream import IdrStream as IdrStream
    from idrstream.watch.background import BackgroundRun as BackgroundRun
    from idrstream.watch.background import StreamHandle as StreamHandle
    from idrstream.watch.background import attach as attach

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
    "DeepModel": "profile",
    "DeepProfilerRun": "legacy",
    "FeatureEngine": "profile",
    "Features": "records",
    "Frame": "records",
    "IdrStream": "stream",
    "IdrStreamError": "errors",
    "ImageError": "errors",
    "ImageJReader": "formats",
    "ImageTask": "records",
    "MissingToolError": "errors",
    "Movie": "records",
    "Objects": "records",
    "OmeZarrDownloader": "download",
    "PaintingSpec": "simulate",
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
    "simulate_painting": "simulate",
    "simulate_screen": "simulate",
    "table_from_files": "archive",
    "table_from_idr": "archive",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*globals(), *__all__})
