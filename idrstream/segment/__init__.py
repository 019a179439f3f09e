"""Frame to nuclei and cells: Cellpose, label images, and the locations file of DeepProfiler."""

from __future__ import annotations

from idrstream.config import BUILT_IN, SHIPPED
from idrstream.segment.cellpose.segmentor import CellPoseSegmentor
from idrstream.segment.labels import objects_in
from idrstream.segment.locations import write_locations
from idrstream.segment.make import make_segmentor
from idrstream.segment.protocol import Segmentor, as_segmentor
from idrstream.segment.with_cells import CellSegmentor

__all__ = [
    "BUILT_IN",
    "SHIPPED",
    "CellPoseSegmentor",
    "CellSegmentor",
    "Segmentor",
    "as_segmentor",
    "make_segmentor",
    "objects_in",
    "write_locations",
]
