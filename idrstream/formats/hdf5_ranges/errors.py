"""Turns that reading by ranges can take; none of them leaves this room."""

from __future__ import annotations

from idrstream.errors import TransientDownloadError


class ChangedError(TransientDownloadError):
    """The file at the source is not the one that was opened: begin anew."""


class NoRangesError(Exception):
    """The source sends whole files only."""
