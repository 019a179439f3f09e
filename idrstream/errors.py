"""The error tree, ordered by who has to act.

::

    IdrStreamError
    ├── UserError              you: change an input, an option or an installation
    │   ├── ConfigError        a setting, a config key, an option
    │   ├── TableError         a row or column of the table to process
    │   ├── MissingToolError   a program, package or model that is not installed
    │   ├── StorageError       a disk that is full or cannot be written
    │   ├── BudgetError        the disk budget is too small for a movie or a batch
    │   ├── LockedError        another stream uses the folder or the GPU
    │   ├── PlanChangedError   the output folder belongs to another plan
    │   ├── JournalError       the output folder's journal cannot be used
    │   ├── CollectError       the batches of an output folder cannot be collected
    │   └── ClusterError       workers on other machines cannot be had or used
    ├── ImageError             the image is skipped, its batch continues
    │   ├── DownloadError      the movie could not be downloaded
    │   │   ├── RemoteFileNotFoundError  the source has no such movie
    │   │   └── TransientDownloadError   ... and another attempt may help
    │   ├── IncompleteFileError          the movie was not complete in time
    │   ├── MovieError         the movie cannot be read, or is not what was requested
    │   │   └── FrameError     one frame: out of range, not valid, never written
    │   └── SegmentationError  the segmentation of a frame failed
    └── BatchError             the batch is recorded as failed, the stream continues
        ├── WorkerDiedError    workers died at it, again and again
        ├── ProfileError       profiling failed or its output is incomplete
        └── CompileError       the tables of a batch do not match

Every class has an exit code for the command line and a section in ``errors.md``. Messages
never contain secrets or control characters: both are replaced when an error is created.
"""

from __future__ import annotations

import errno
import os
import re
from typing import ClassVar

from idrstream.redact import redacted
from idrstream.visible import visible

# Errors of the machine, not of one image or batch: the next ones would fail the same way.
_FREE_SPACE = "free space and start again"
_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EFBIG: "raise the limit for the size of files (ulimit -f) and start again",
    errno.EROFS: "make it writable and start again",
    errno.EMFILE: "raise the limit for open files (ulimit -n) and start again",
    errno.ENFILE: "close other programs and start again",
}
_UNOPENED = frozenset({errno.EMFILE, errno.ENFILE})
# HDF5 gives the error number only in its message.
_HDF5_ERRNO = re.compile(r"\berrno = (\d+)")


class IdrStreamError(Exception):
    """Base of every error that idrstream raises on purpose.

    Attributes
    ----------
    exit_code : int
        Exit code of the command line: 1 if a later run may succeed; each kind of `UserError`
        has its own.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, *values: object) -> None:
        super().__init__(*(visible(v) if isinstance(v, str) else v for v in map(redacted, values)))

    @classmethod
    def explained_by(cls) -> str:
        """Return the command that explains errors of this class."""
        named = next(kind for kind in cls.__mro__ if not kind.__name__.startswith("_"))
        return f"idrstream explain {named.__name__}"


class UserError(IdrStreamError):
    """The user has to change something before the stream can run."""

    exit_code = 2


class ConfigError(UserError):
    """A setting, configuration key or option is missing or wrong."""


class TableError(UserError):
    """The table to process has an invalid row or column; the message names it."""

    exit_code = 3


class MissingToolError(UserError):
    """A program, package or model file is not installed; the message says how to get it."""

    exit_code = 4


class StorageError(UserError):
    """A folder cannot be written: disk full, quota, read-only."""

    exit_code = 5


class BudgetError(UserError):
    """The disk budget is too small for a movie or a batch; the message says how much is needed."""

    exit_code = 9


class LockedError(UserError):
    """Another stream uses the folder or the GPU; the message says which."""

    exit_code = 6


class PlanChangedError(UserError):
    """Table, batch size or settings differ from those of the output folder."""

    exit_code = 7


class JournalError(UserError):
    """The journal of an output folder is missing, damaged, or of a newer version."""

    exit_code = 8


class CollectError(UserError):
    """The batches of an output folder cannot be collected; the message says why."""

    exit_code = 10


class ClusterError(UserError):
    """Workers on other machines cannot be had, reached or used; the message says why."""

    exit_code = 11


class ImageError(IdrStreamError):
    """One image cannot be processed; it is recorded and its batch continues."""


class DownloadError(ImageError):
    """A movie could not be downloaded."""


class RemoteFileNotFoundError(DownloadError):
    """The source works but has no such file; another source may have it, another attempt not."""


class TransientDownloadError(DownloadError):
    """A download failed in a way that may pass: another attempt may succeed."""


class IncompleteFileError(ImageError):
    """A file was not complete within the time limit."""


class MovieError(ImageError):
    """A movie cannot be read or does not contain what was requested."""


class FrameError(MovieError):
    """One frame is out of range, marked not valid, or was never written."""


class SegmentationError(ImageError):
    """The segmentation of one frame failed."""


class BatchError(IdrStreamError):
    """One batch failed; it is recorded and the stream continues."""


class WorkerDiedError(BatchError):
    """Several workers died at a batch, one after the other, and at no other."""


class ProfileError(BatchError):
    """Profiling failed, or its output is incomplete."""


class CompileError(BatchError):
    """The features, locations and metadata of a batch do not match."""


def storage_error(error: BaseException) -> StorageError | None:
    """Return a `StorageError` for an error that would make every further image or batch fail.

    Such errors are a full or read-only disk and too many open files, anywhere in the chain of
    causes. Return None for all others.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            number = cause.errno or _hdf5_errno(cause)
            if number in _REMEDIES:
                what = "opened" if number in _UNOPENED else "written"
                msg = (
                    f"{cause.filename or 'a file'} cannot be {what}: {os.strerror(number)}; "
                    f"{_REMEDIES[number]}"
                )
                found = StorageError(msg)
                found.__cause__ = error
                return found
        cause = cause.__cause__ or cause.__context__
    return None


def _hdf5_errno(error: OSError) -> int:
    match = _HDF5_ERRNO.search(str(error))
    return int(match[1]) if match else 0
