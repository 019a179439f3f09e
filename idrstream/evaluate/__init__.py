"""How good models are, measured on labelled data: nuclei found, and features of known cells."""

from __future__ import annotations

from idrstream.evaluate.crops import LabelledCrops, read_crops
from idrstream.evaluate.probe import ProbeResult, grouped_probe, split_probe
from idrstream.evaluate.segmentation import (
    ImageResult,
    SegmentationResult,
    evaluate_segmentation,
)

__all__ = [
    "ImageResult",
    "LabelledCrops",
    "ProbeResult",
    "SegmentationResult",
    "evaluate_segmentation",
    "grouped_probe",
    "read_crops",
    "split_probe",
]
