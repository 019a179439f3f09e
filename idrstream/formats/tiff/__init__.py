"""TIFF and OME-TIFF: their structure, their images, and a reader that needs no Java."""

from __future__ import annotations

from idrstream.formats.tiff.images import TiffImage
from idrstream.formats.tiff.reader import TiffReader, images_in, is_companion
from idrstream.formats.tiff.structure import is_tiff

__all__ = ["TiffImage", "TiffReader", "images_in", "is_companion", "is_tiff"]
