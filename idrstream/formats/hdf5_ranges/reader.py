"""A remote file that h5py can read: synchronous, with a small block cache.

h5py reads without other threads: it calls a file object while it holds its lock, and threads
below it can deadlock when the garbage collector runs. Outside of h5py, several ranges are read
in parallel.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

from idrstream.errors import MovieError
from idrstream.formats.hdf5_ranges.ranges import ByteRange, KnownBytes, coalesce

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from idrstream.download.protocol import RemoteFile

BLOCK_BYTES = 64 * 1024
# At 8 MB/s and 20 ms latency these bytes take as long as another request.
GAP_BYTES = 160 * 1024
MOST_BYTES = 8 * 1024 * 1024
MOST_KEPT_BYTES = 64 * 1024 * 1024
"""Of a file's structure, which is kept; a movie's takes some hundred kilobytes."""


class RangeReader(io.RawIOBase):
    """Reads a `RemoteFile` in blocks, which are kept.

    Parameters
    ----------
    remote : RemoteFile
        The file; the caller closes it.
    block_bytes : int
        Size of a block.

    Attributes
    ----------
    error : Exception or None
        Error of the last read, which libraries such as h5py may replace by their own.
    """

    def __init__(self, remote: RemoteFile, block_bytes: int = BLOCK_BYTES) -> None:
        super().__init__()
        self.error: Exception | None = None
        self._remote = remote
        self._at_once = remote.at_once
        self._block_bytes = block_bytes
        self._position = 0
        self._known = KnownBytes()
        self._kept = 0
        self._known.add(0, remote.head)

    @property
    def size_bytes(self) -> int:
        """Size of the whole file."""
        return self._remote.size_bytes

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position, and return it."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._remote.size_bytes}
        self._position = max(0, origin[whence] + offset)
        return self._position

    def readinto(self, buffer: Buffer, /) -> int:
        """Read at the position, as far as the file goes."""
        view = memoryview(buffer).cast("B")
        stop = min(self._position + len(view), self._remote.size_bytes)
        if stop <= self._position:
            return 0
        try:
            data = self.read_range(ByteRange(self._position, stop))
        except Exception as error:
            self.error = error
            raise
        view[: len(data)] = data
        self._position = stop
        return len(data)

    def read_range(self, wanted: ByteRange) -> bytes:
        """Return the bytes of one range within the file."""
        if self._known.gaps(wanted):
            block = self._block_bytes
            start = wanted.start // block * block
            stop = min(-(-wanted.stop // block) * block, self._remote.size_bytes)
            gaps = self._known.gaps(ByteRange(start, stop))
            self._kept += sum(gap.size for gap in gaps)
            if self._kept > MOST_KEPT_BYTES:
                msg = f"its structure takes more than {MOST_KEPT_BYTES:,} bytes: not a movie"
                raise MovieError(msg)
            for gap in gaps:
                self._known.add(gap.start, self._remote.read(*gap))
        return self._known.get(wanted)

    def read_ranges(self, wanted: Iterable[ByteRange]) -> Iterator[tuple[ByteRange, bytes]]:
        """Yield ranges with their bytes, each once, with few requests and in file order.

        Their bytes are not kept.
        """
        absent = []
        for item in sorted(set(wanted)):
            if self._known.gaps(item):
                absent.append(item)
            else:
                yield item, self._known.get(item)
        for joined, data in self._read_all(coalesce(absent, GAP_BYTES, MOST_BYTES)):
            while absent and absent[0].stop <= joined.stop:
                item = absent.pop(0)
                yield item, data[item.start - joined.start : item.stop - joined.start]

    def _read_all(self, ranges: list[ByteRange]) -> Iterator[tuple[ByteRange, bytes]]:
        """Yield ranges with their bytes, in order; a few are read in parallel."""
        if len(ranges) < 2 or self._at_once < 2:
            yield from ((joined, self._remote.read(*joined)) for joined in ranges)
            return
        following = iter(ranges)
        with ThreadPoolExecutor(self._at_once, "idrstream-ranges") as threads:
            while group := list(islice(following, self._at_once)):
                if max(one.size for one in group) > MOST_BYTES:  # a chunk as large as they may be
                    yield from ((joined, self._remote.read(*joined)) for joined in group)
                    continue
                yield from zip(
                    group, threads.map(lambda one: self._remote.read(*one), group), strict=True
                )

    def requests_for(self, wanted: Iterable[ByteRange]) -> list[ByteRange]:
        """Return the requests that `read_ranges` would make."""
        absent = [item for item in set(wanted) if self._known.gaps(item)]
        return coalesce(absent, GAP_BYTES, MOST_BYTES)
