"""Sections of the page: texts, tables and charts from the content of the folder."""

from __future__ import annotations

from idrstream.report.content.examples import examples
from idrstream.report.content.failures import failures
from idrstream.report.content.features import feature_words
from idrstream.report.content.illumination import shading
from idrstream.report.content.measures import histograms, measure_words
from idrstream.report.content.plates import plate_rows, plates
from idrstream.report.content.progress import throughput, tiles
from idrstream.report.content.runs import run_rows, run_tables
from idrstream.report.content.times import moment

__all__ = [
    "examples",
    "failures",
    "feature_words",
    "histograms",
    "measure_words",
    "moment",
    "plate_rows",
    "plates",
    "run_rows",
    "run_tables",
    "shading",
    "throughput",
    "tiles",
]
