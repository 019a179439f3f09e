"""Byte ranges: which are worth one request together, and which bytes are there already."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class ByteRange(NamedTuple):
    """Bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.stop - self.start


def coalesce(ranges: Iterable[ByteRange], gap_bytes: int, most_bytes: int) -> list[ByteRange]:
    """Join ranges that lie close to each other.

    Parameters
    ----------
    ranges : iterable of ByteRange
        In any order; may overlap. Empty ones are left out.
    gap_bytes : int
        Ranges with at most so many bytes between them are joined: moving those bytes costs
        less than one more request.
    most_bytes : int
        Ranges are not joined to more than this, so that a failed request loses little. Ranges
        that overlap are, and a single longer one stays whole.

    Returns
    -------
    list of ByteRange
        Ascending, without overlaps; every given range lies within exactly one of them.
    """
    joined: list[ByteRange] = []
    for start, stop in sorted(wanted for wanted in ranges if wanted.size > 0):
        if joined:
            last = joined[-1]
            close = start - last.stop <= gap_bytes and stop - last.start <= most_bytes
            if start < last.stop or close:
                joined[-1] = ByteRange(last.start, max(last.stop, stop))
                continue
        joined.append(ByteRange(start, stop))
    return joined


class KnownBytes:
    """The parts of a file that have come so far: ascending, without overlaps."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._parts: list[memoryview] = []

    def add(self, start: int, data: bytes) -> None:
        """Keep `data`, which begins at byte `start`; what is known already stays."""
        view = memoryview(data)
        for gap in self.gaps(ByteRange(start, start + len(data))):
            place = bisect_right(self._starts, gap.start)
            self._starts.insert(place, gap.start)
            self._parts.insert(place, view[gap.start - start : gap.stop - start])

    def gaps(self, wanted: ByteRange) -> list[ByteRange]:
        """Return what of a range is not known."""
        gaps, position = [], wanted.start
        for start, part in self._overlapping(wanted):
            if start > position:
                gaps.append(ByteRange(position, start))
            position = max(position, start + len(part))
        if position < wanted.stop:
            gaps.append(ByteRange(position, wanted.stop))
        return gaps

    def get(self, wanted: ByteRange) -> bytes:
        """Return the bytes of a range without gaps."""
        return b"".join(
            part[max(0, wanted.start - start) : wanted.stop - start]
            for start, part in self._overlapping(wanted)
        )

    def _overlapping(self, wanted: ByteRange) -> Iterator[tuple[int, memoryview]]:
        place = max(0, bisect_right(self._starts, wanted.start) - 1)
        while place < len(self._starts) and self._starts[place] < wanted.stop:
            start, part = self._starts[place], self._parts[place]
            if start + len(part) > wanted.start:
                yield start, part
            place += 1
