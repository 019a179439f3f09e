"""Kinds of download failure that only the download room tells apart."""

from __future__ import annotations

from idrstream.errors import DownloadError, TransientDownloadError


class NotThereError(DownloadError):
    """The source works, but has no such file: another way may have it."""


class BusyError(TransientDownloadError):
    """The source asks to wait.

    Parameters
    ----------
    message : str
        What it said.
    wait_s : float
        For how long at least.
    """

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class SpoiledError(TransientDownloadError):
    """What has come so far is of no use: begin anew."""


class InterruptedDownloadError(TransientDownloadError):
    """Another thread ended the transfer."""
