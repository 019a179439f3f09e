"""Outcomes of reading by ranges; none of them leaves `idrstream.download`."""

from __future__ import annotations

from idrstream.errors import TransientDownloadError


class RemoteFileChangedError(TransientDownloadError):
    """The remote file is no longer the one that was opened."""


class NoRangesError(Exception):
    """The source sends whole files only."""
