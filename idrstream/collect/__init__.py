"""Collect the batches of a stream into one dataset of cells and profiles of wells."""

from __future__ import annotations

from idrstream.collect.folder import Collected, collect_folder
from idrstream.collect.options import CollectOptions

__all__ = ["CollectOptions", "Collected", "collect_folder"]
