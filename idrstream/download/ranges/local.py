"""A file on a local or mounted disk, read by ranges."""

from __future__ import annotations

import os
from pathlib import Path

from idrstream.errors import TransientDownloadError
from idrstream.formats.hdf5_ranges.errors import RemoteFileChangedError


class LocalFile:
    """Reads parts of a file; see `RemoteFile`.

    Parameters
    ----------
    path : Path
        The file.
    head_bytes : int
        How many of the first bytes to read at once.

    Raises
    ------
    OSError
        If it cannot be opened or read.
    """

    name = "local"
    at_once = 1

    def __init__(self, path: Path, head_bytes: int) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)
        try:
            self._version = self._current_version()
            self.size_bytes = self._version[0]
            self.bytes_moved = self.requests = 0
            self.head = self.read(0, min(head_bytes, self.size_bytes))
        except BaseException:
            self._file.close()
            raise

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes of a range; see `RemoteFile.read`."""
        data = bytearray()
        try:
            while len(data) < stop - start:
                more = os.pread(self._file.fileno(), stop - start - len(data), start + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            msg = f"{self._path} cannot be read: {error.strerror}"
            raise TransientDownloadError(msg) from error
        self.requests += 1
        self.bytes_moved += len(data)
        if len(data) != stop - start or self._current_version() != self._version:
            msg = f"{self._path} changed while it was read: it is still being written"
            raise RemoteFileChangedError(msg)
        return bytes(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _current_version(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns
