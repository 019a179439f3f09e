"""Byte ranges: which to join into one request, and which bytes are known already."""

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
    """Join ranges that are close to each other; ascending, each given one within exactly one.

    Ranges with at most `gap_bytes` between them are joined: those bytes cost less than another
    request. A joined range has at most `most_bytes`, so that a failed request loses little;
    overlapping ranges are joined nevertheless, and a single longer one stays whole.
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
    """The ranges of a file received so far: ascending, without overlaps."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._blocks: list[memoryview] = []

    def add(self, start: int, data: bytes) -> None:
        """Keep `data`, which starts at byte `start`; known bytes stay."""
        view = memoryview(data)
        for gap in self.gaps(ByteRange(start, start + len(data))):
            index = bisect_right(self._starts, gap.start)
            self._starts.insert(index, gap.start)
            self._blocks.insert(index, view[gap.start - start : gap.stop - start])

    def gaps(self, wanted: ByteRange) -> list[ByteRange]:
        """Return the unknown parts of a range."""
        gaps, position = [], wanted.start
        for start, block in self._overlapping(wanted):
            if start > position:
                gaps.append(ByteRange(position, start))
            position = max(position, start + len(block))
        if position < wanted.stop:
            gaps.append(ByteRange(position, wanted.stop))
        return gaps

    def get(self, wanted: ByteRange) -> bytes:
        """Return the bytes of a range without gaps."""
        return b"".join(
            block[max(0, wanted.start - start) : wanted.stop - start]
            for start, block in self._overlapping(wanted)
        )

    def _overlapping(self, wanted: ByteRange) -> Iterator[tuple[int, memoryview]]:
        index = max(0, bisect_right(self._starts, wanted.start) - 1)
        while index < len(self._starts) and self._starts[index] < wanted.stop:
            start, block = self._starts[index], self._blocks[index]
            if start + len(block) > wanted.start:
                yield start, block
            index += 1
