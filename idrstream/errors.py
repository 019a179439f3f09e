"""The error tree, ordered by who has to act.

::

    IdrStreamError
    ├── UserError              you: change an input, an option or an installation
    │   ├── ConfigError        a setting, a config key, an option
    │   ├── TableError         a row or column of the table to process
    │   ├── MissingToolError   a program, package or model that is not installed
    │   ├── StorageError       a disk that is full or cannot be written
    │   ├── BudgetError        the disk budget is too small for what is to be done
    │   ├── LockedError        another stream has the folder or the GPU
    │   ├── PlanChangedError   the output folder was begun with another plan
    │   └── JournalError       the output folder's journal cannot be used
    ├── ImageError             this image is skipped, its batch goes on
    │   ├── DownloadError      the movie did not arrive
    │   │   └── TransientDownloadError   ... and trying again may help
    │   ├── IncompleteFileError          ... or did not arrive whole in time
    │   ├── MovieError         the movie cannot be read, or is not what was asked for
    │   │   └── FrameError     one frame: out of range, not valid, never written
    │   └── SegmentationError  the segmentation of a frame failed
    └── BatchError             this batch is recorded as failed, the stream goes on
        ├── ProfileError       DeepProfiler failed or its output is incomplete
        └── CompileError       the tables of a batch do not fit together
"""

from __future__ import annotations


class IdrStreamError(Exception):
    """Base of every error that idrstream raises on purpose."""


class UserError(IdrStreamError):
    """Something the user has to change before the stream can run."""


class ConfigError(UserError):
    """A setting, configuration key or option is missing or wrong."""


class TableError(UserError):
    """The table to process has a bad row or column; the message names it."""


class MissingToolError(UserError):
    """A program, package or model file is not installed; the message says how to get it."""


class StorageError(UserError):
    """A folder cannot be written: disk full, quota, read-only."""


class BudgetError(UserError):
    """The disk budget is too small for a movie or a batch; the message says how much it needs."""


class LockedError(UserError):
    """Another stream has the folder or the GPU; the message says which."""


class PlanChangedError(UserError):
    """Table, batch size or settings are not those the output folder was begun with."""


class JournalError(UserError):
    """The journal of an output folder is missing, damaged, or of a newer version."""


class ImageError(IdrStreamError):
    """One image cannot be processed; it is recorded and its batch goes on."""


class DownloadError(ImageError):
    """A movie could not be downloaded."""


class TransientDownloadError(DownloadError):
    """A download failed in a way that a later attempt may survive."""


class IncompleteFileError(ImageError):
    """A file was not proven completely written within the time limit."""


class MovieError(ImageError):
    """A movie cannot be read or does not hold what was asked for."""


class FrameError(MovieError):
    """One frame is out of range, marked not valid, or was never written."""


class SegmentationError(ImageError):
    """The segmentation of one frame failed."""


class BatchError(IdrStreamError):
    """One batch failed; it is recorded and the stream goes on."""


class ProfileError(BatchError):
    """DeepProfiler failed, or did not write what it should have."""


class CompileError(BatchError):
    """The features, locations and metadata of a batch do not fit together."""
