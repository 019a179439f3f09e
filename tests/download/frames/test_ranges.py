from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from idrstream.formats.hdf5_ranges.ranges import ByteRange, KnownBytes, coalesce
from idrstream.formats.hdf5_ranges.reader import RangeReader

DATA = bytes(range(256)) * 40
ranges = st.lists(
    st.tuples(st.integers(0, 2000), st.integers(0, 300)).map(lambda r: ByteRange(r[0], sum(r))),
    max_size=30,
)


class Memory:
    """A remote file in memory that counts."""

    name = "memory"
    at_once = 1

    def __init__(self, data: bytes = DATA, head_bytes: int = 100) -> None:
        self.data = data
        self.size_bytes = len(data)
        self.head = data[:head_bytes]
        self.bytes_moved, self.requests = len(self.head), 1
        self.asked: list[ByteRange] = []

    def read(self, start: int, stop: int) -> bytes:
        assert 0 <= start < stop <= self.size_bytes
        self.asked.append(ByteRange(start, stop))
        self.bytes_moved += stop - start
        self.requests += 1
        return self.data[start:stop]

    def close(self) -> None:
        pass


@given(ranges, st.integers(0, 500), st.integers(1, 1000))
def test_coalesced_ranges_hold_every_range_whole_and_do_not_overlap(wanted, gap, most):
    joined = coalesce(wanted, gap, most)
    assert all(a.stop <= b.start for a, b in itertools.pairwise(joined))
    for item in wanted:
        if item.size:
            assert sum(j.start <= item.start and item.stop <= j.stop for j in joined) == 1
    starts, stops = {r.start for r in wanted}, {r.stop for r in wanted}
    assert all(j.start in starts and j.stop in stops for j in joined)


@given(ranges, st.integers(0, 500))
def test_what_is_joined_is_never_more_than_the_gaps_allow(wanted, gap):
    alone = coalesce(wanted, -1, 10**9)
    joined = coalesce(wanted, gap, 10**9)
    assert sum(r.size for r in joined) <= sum(r.size for r in alone) + gap * (
        len(alone) - len(joined)
    )
    assert all(b.start - a.stop > gap for a, b in itertools.pairwise(joined))


def test_a_join_stops_at_the_longest_request():
    wanted = [ByteRange(0, 60), ByteRange(60, 120), ByteRange(120, 180)]
    assert coalesce(wanted, 0, 120) == [ByteRange(0, 120), ByteRange(120, 180)]
    assert coalesce([ByteRange(0, 500)], 0, 120) == [ByteRange(0, 500)]


@given(ranges)
def test_known_bytes_are_the_files(parts):
    known = KnownBytes()
    have: set[int] = set()
    for part in parts:
        before = known.gaps(part)
        assert {i for gap in before for i in range(*gap)} == set(range(*part)) - have
        known.add(part.start, DATA[part.start : part.stop])
        have |= set(range(*part))
        assert known.gaps(part) == []
        assert known.get(part) == DATA[part.start : part.stop]


@given(
    st.lists(st.tuples(st.integers(0, len(DATA)), st.integers(0, 700)), max_size=20),
    st.integers(1, 512),
    st.integers(0, 300),
)
def test_reading_anywhere_is_reading_the_file(reads, block, head):
    remote = Memory(head_bytes=head)
    reader = RangeReader(remote, block)
    for start, size in reads:
        assert reader.seek(start) == start
        buffer = bytearray(size)
        n = reader.readinto(buffer)
        assert buffer[:n] == DATA[start : start + size]
        assert n == len(DATA[start : start + size])
        assert reader.tell() == start + n
    # Nothing comes twice.
    moved = sorted(remote.asked)
    assert all(a.stop <= b.start for a, b in itertools.pairwise(moved))


@given(ranges, st.integers(0, 300))
def test_many_ranges_come_whole_each_once_in_order(wanted, head):
    remote = Memory(head_bytes=head)
    reader = RangeReader(remote)
    expected = reader.requests_for(wanted)
    got = list(reader.read_ranges(wanted))
    assert [item for item, _ in got if item.size] == sorted(
        {item for item in wanted if item.size},
        key=lambda item: (item.stop > head, item),
    )
    assert all(data == DATA[item.start : item.stop] for item, data in got)
    assert remote.asked == expected
