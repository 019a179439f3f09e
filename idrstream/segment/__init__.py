"""Frame to nuclei: Cellpose, label images, and the locations file of DeepProfiler."""

from __future__ import annotations

from idrstream.segment.cellpose.segmentor import CellPoseSegmentor
from idrstream.segment.cellpose.specs import BUILT_IN, SHIPPED, CellposeSpecs
from idrstream.segment.locations import Locations, read_locations, write_locations
from idrstream.segment.protocol import Segmentor

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
