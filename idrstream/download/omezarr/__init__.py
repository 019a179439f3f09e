"""Movies from OME-Zarr."""

from __future__ import annotations

from idrstream.download.omezarr._contents import ZarrContents, contents_at
from idrstream.download.omezarr._downloader import IDR0013_ROOTS, OmeZarrDownloader
from idrstream.download.omezarr._plates import PlateTable

__all__ = ["IDR0013_ROOTS", "OmeZarrDownloader", "PlateTable", "ZarrContents", "contents_at"]
