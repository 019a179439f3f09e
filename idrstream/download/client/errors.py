"""Download failures that only this package tells apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from idrstream.download.client.words import network_words
from idrstream.errors import (
    DownloadError,
    IncompleteFileError,
    MovieError,
    RemoteFileNotFoundError,
    TransientDownloadError,
)


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


class TooLargeError(DownloadError):
    """A file has more bytes than it can have; nothing of it is kept."""


class PartialFileInvalidError(TransientDownloadError):
    """The bytes received so far cannot be used; the transfer starts over."""


class InterruptedDownloadError(TransientDownloadError):
    """Another thread interrupted the transfer."""


@contextmanager
def network_errors(what: str, *kinds: type[BaseException]) -> Iterator[None]:
    """Turn errors of the network into `TransientDownloadError`.

    `what` has the address that was asked; `kinds` are a library's own errors, by default those of
    urllib3, and `OSError`.
    """
    if not kinds:
        from urllib3.exceptions import HTTPError

        kinds = (HTTPError, OSError)
    try:
        yield
    except DownloadError:
        raise
    except kinds as error:
        msg = f"{what}: {network_words(error, what)}"
        raise TransientDownloadError(msg) from error


def joined(errors: Sequence[Exception], message: str) -> Exception:
    """Return one error for those of several sources, of the most specific kind."""
    for kind in (MovieError, IncompleteFileError, TransientDownloadError):
        if any(isinstance(error, kind) for error in errors):
            return kind(message)
    if errors and all(isinstance(error, RemoteFileNotFoundError) for error in errors):
        return RemoteFileNotFoundError(message)
    return DownloadError(message)
