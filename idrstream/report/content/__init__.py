"""Sections of the page: texts, tables and charts from the content of the folder."""

from __future__ import annotations

from idrstream.report.content.frames import examples, shading
from idrstream.report.content.measures import (
    channel_measures,
    channel_rows,
    feature_words,
    histograms,
    measure_words,
)
from idrstream.report.content.plates import plate_rows, plates
from idrstream.report.content.progress import throughput, tiles
from idrstream.report.content.runs import failures, run_rows, run_tables, worker_rows
from idrstream.report.content.slides import large_images
from idrstream.report.content.tracks import tracks

__all__ = [
    "channel_measures",
    "channel_rows",
    "examples",
    "failures",
    "feature_words",
    "histograms",
    "large_images",
    "measure_words",
    "plate_rows",
    "plates",
    "run_rows",
    "run_tables",
    "shading",
    "throughput",
    "tiles",
    "tracks",
    "worker_rows",
]
