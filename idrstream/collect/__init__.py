"""The batches of a finished stream to one dataset and to profiles of wells."""

from __future__ import annotations

from idrstream.collect._collect import Collected, collect_folder
from idrstream.collect._options import CollectOptions

__all__ = ["CollectOptions", "Collected", "collect_folder"]
