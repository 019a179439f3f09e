"""Frame to nuclei: Cellpose, label images, and the locations file of DeepProfiler."""

from __future__ import annotations

from idrstream.segment._protocol import Segmentor
from idrstream.segment.cellpose_segmentor import CellPoseSegmentor
from idrstream.segment.locations import Locations, read_locations, write_locations
from idrstream.segment.specs import BUILT_IN, SHIPPED, CellposeSpecs

__all__ = [
    "BUILT_IN",
    "SHIPPED",
    "CellPoseSegmentor",
    "CellposeSpecs",
    "Locations",
    "Segmentor",
    "read_locations",
    "write_locations",
]
