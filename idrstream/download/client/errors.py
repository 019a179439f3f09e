"""Download failures that only this package tells apart."""

from __future__ import annotations

from idrstream.errors import RemoteFileNotFoundError, TransientDownloadError

__all__ = [
    "BusyError",
    "InterruptedDownloadError",
    "PartialFileInvalidError",
    "RemoteFileNotFoundError",
]


class BusyError(TransientDownloadError):
    """The server asks the client to wait.

    Parameters
    ----------
    message : str
        The server's answer.
    wait_s : float
        Shortest pause the server asks for.
    """

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class PartialFileInvalidError(TransientDownloadError):
    """The bytes received so far cannot be used; the transfer starts over."""


class InterruptedDownloadError(TransientDownloadError):
    """Another thread interrupted the transfer."""
