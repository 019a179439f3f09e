"""TIFF and OME-TIFF: their structure, their images, and a reader that needs no Java."""

from __future__ import annotations

from idrstream.formats.tiff.reader import TiffReader, is_companion
from idrstream.formats.tiff.structure import is_tiff

__all__ = ["TiffReader", "is_companion", "is_tiff"]
