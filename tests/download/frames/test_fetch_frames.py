"""Frames of a movie brought by ranges are the frames of the movie."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from idrstream.download import LocalTransport, RangeTransport
from idrstream.download.client.errors import BusyError
from idrstream.download.ranges.fetch import (
    FetchedFrames,
    WholeFileNeeded,
    fetch_frames,
    reason_for_whole_file,
)
from idrstream.errors import (
    DownloadError,
    FrameError,
    MovieError,
    RemoteFileNotFoundError,
    TransientDownloadError,
)
from idrstream.formats.cellh5.reader import CellH5Reader

NAME = "00004_01.ch5"
DATASET = "sample/0/plate/PL--x/experiment/00004/position/1/image/channel"


def wanted(task, _info):
    return task.frames


def take(transport, task, target, *, needed=wanted, mode="auto", name=NAME):
    target.parent.mkdir(exist_ok=True)
    return fetch_frames(transport, name, task, target, needed, mode=mode)


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"compression": None},
        {"shuffle": True},
        {"fletcher32": True},
        {"libver": "latest"},
        {"chunks": (1, 3, 1, 16, 16)},
        {"chunks": (1, 1, 1, 7, 9)},
        {"compression": "lzf"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2"])
def test_the_small_movie_reads_like_the_movie(served, http, task, tmp_path, layout, dtype):
    movie = served(2, 12, 1, 40, 52, dtype=dtype, **layout)
    small = tmp_path / "small" / NAME
    taken = take(http, task(3, 11), small)
    assert isinstance(taken, FetchedFrames), taken
    assert taken.frames == (3, 11)
    for channel in (0, 1):
        reader = CellH5Reader(channel=channel)
        assert reader.info(small) == reader.info(movie)
        whole, part = reader.read(movie, [3, 11]), reader.read(small, [3, 11])
        for number in (3, 11):
            np.testing.assert_array_equal(part[number], whole[number])
            assert part[number].dtype == whole[number].dtype
    with h5py.File(small) as a, h5py.File(movie) as b:
        one, other = a[DATASET], b[DATASET]
        assert (one.shape, one.chunks, one.dtype) == (other.shape, other.chunks, other.dtype)
        assert (one.compression, one.shuffle, one.fletcher32) == (
            other.compression, other.shuffle, other.fletcher32,
        )  # fmt: skip
        assert one.maxshape == other.maxshape
        np.testing.assert_array_equal(one.attrs["valid"], other.attrs["valid"])
        assert set(a["definition"]) == {"image", "object", "feature"}


def test_a_frame_that_was_not_brought_is_told_from_a_hole_in_the_movie(
    served, http, task, tmp_path
):
    movie = served(1, 12, 1, 40, 52, written=[0, 1, 2, 4, 5], valid=[1] * 5 + [0] + [1] * 6)
    small = tmp_path / "out" / NAME
    take(http, task(3, 4, 6), small)
    part, whole = (CellH5Reader().read(path, [2, 3, 4, 6, 13]) for path in (small, movie))
    assert "not fetched" in str(part[2])
    np.testing.assert_array_equal(part[3], whole[3])
    for number in (4, 6, 13):
        assert isinstance(part[number], FrameError)
        assert str(part[number]) == str(whole[number]).replace(str(movie), str(small))
    assert "16 of 16 chunks missing" in str(part[4])


def test_one_missing_chunk_is_missing(served, http, task, tmp_path):
    movie = served(1, 12, 1, 40, 52)
    with h5py.File(movie, "a") as file:
        old = file[DATASET]
        place, values = (0, 4, 0, 10, 13), old[...]
        parent, valid = old.parent, old.attrs["valid"]
        del parent["channel"]
        new = parent.create_dataset("channel", values.shape, "u1", chunks=(1, 1, 1, 10, 13))
        new.attrs["valid"] = valid
        for t in range(12):
            for y in range(0, 40, 10):
                for x in range(0, 52, 13):
                    if (0, t, 0, y, x) != place:
                        new[0, t, 0, y : y + 10, x : x + 13] = values[
                            0, t, 0, y : y + 10, x : x + 13
                        ]
    small = tmp_path / "out" / NAME
    take(http, task(5, 6), small, mode="frames")
    read = CellH5Reader().read(small, [5, 6])
    assert "1 of 16 chunks missing" in str(read[5])
    np.testing.assert_array_equal(read[6], values[0, 5, 0])


def test_a_corrupt_chunk_is_the_same_error_both_ways(served, http, task, tmp_path):
    movie = served(1, 12, 1, 40, 52)
    with h5py.File(movie) as file:
        info = file[DATASET].id.get_chunk_info_by_coord((0, 4, 0, 10, 13))
    data = bytearray(movie.read_bytes())
    data[info.byte_offset + 10 : info.byte_offset + 40] = bytes(30)
    movie.write_bytes(data)
    small = tmp_path / "out" / NAME
    take(http, task(5, 6), small)
    whole, part = CellH5Reader().read(movie, [5, 6]), CellH5Reader().read(small, [5, 6])
    assert isinstance(whole[5], FrameError)
    assert isinstance(part[5], FrameError)
    assert "cannot be decoded" in str(part[5])
    np.testing.assert_array_equal(whole[6], part[6])


def test_the_same_frames_give_the_same_bytes(served, http, task, tmp_path):
    served(1, 12, 1, 40, 52)
    digests = set()
    for number in range(2):
        take(http, task(3, 7), tmp_path / f"out{number}" / NAME)
        digests.add(hashlib.sha256((tmp_path / f"out{number}" / NAME).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_few_bytes_and_requests_for_a_frame_of_many(served, server, http, task, tmp_path):
    movie = served(1, 93, 1, 256, 336)
    taken = take(http, task(50), tmp_path / "out" / NAME)
    frame = movie.stat().st_size / 93
    assert taken.traffic.requests == len(server.log) <= 5
    assert taken.traffic.bytes_moved == server.bytes_sent
    assert taken.traffic.bytes_moved < 256 * 1024 + 64 * 1024 + 2 * frame


@pytest.mark.parametrize(
    ("needed", "frames", "size", "missing", "file"),
    [
        (1, 93, 73_000_000, 800_000, False),
        (31, 93, 73_000_000, 25_000_000, False),
        (32, 93, 73_000_000, 25_000_000, True),
        (1, 93, 800_000, 900_000, True),
        (1, 2, 2_000_000, 600_000, True),
        (1, 3, 2_000_000, 600_000, False),
        (93, 93, 200_000, 0, False),
    ],
)
def test_the_choice(needed, frames, size, missing, file):
    assert (reason_for_whole_file(needed, frames, size, missing) is not None) == file


def test_auto_takes_the_file_for_many_frames_and_frames_does_not(served, http, task, tmp_path):
    served(1, 12, 1, 200, 260)
    many = task(*range(1, 13))
    out = tmp_path / "out" / NAME
    taken = take(http, many, out)
    assert isinstance(taken, WholeFileNeeded)
    assert "more than a third" in taken.reason
    assert taken.traffic.requests >= 1
    assert not out.exists()
    assert isinstance(take(http, many, out, mode="frames"), FetchedFrames)


def test_no_ranges(served, server, http, task, tmp_path):
    served(1, 12, 1, 40, 52)
    server.always = "no-range"
    out = tmp_path / "out" / NAME
    taken = take(http, task(3), out)
    assert isinstance(taken, WholeFileNeeded)
    assert "does not support ranges" in taken.reason
    with pytest.raises(
        DownloadError, match=r"only the whole file can be fetched.*does not support ranges"
    ):
        take(http, task(3), out, mode="frames")
    assert list(out.parent.iterdir()) == []


def test_pixels_that_are_not_in_chunks(served, http, task, tmp_path):
    served(1, 12, 1, 40, 52, chunks=None, compression=None)
    assert "not stored in chunks" in take(http, task(3), tmp_path / "out" / NAME).reason


def test_a_small_movie_is_there_with_the_first_answer(served, server, http, task, tmp_path):
    served(1, 12, 1, 40, 52)
    assert isinstance(take(http, task(*range(1, 13)), tmp_path / "out" / NAME), FetchedFrames)
    assert len(server.log) == 1


def test_other_formats_are_taken_whole(server, http, task, tmp_path):
    (server.root / "x.tif").write_bytes(b"II*\0")
    assert (
        "not that of an HDF5 file"
        in take(http, task(3), tmp_path / "out" / "x.tif", name="x.tif").reason
    )
    assert server.log == []


@pytest.mark.parametrize("plan", [["cut"], ["", "cut", "reset"], ["503", "429", "", "reset"]])
def test_faults_on_the_way_are_got_over(served, server, http, task, tmp_path, plan):
    movie = served(1, 93, 1, 80, 100)
    server.plan = [*plan]
    small = tmp_path / "out" / NAME
    taken = take(http, task(50, 93), small, mode="frames")
    assert server.plan == []
    assert taken.traffic.requests > len([fault for fault in plan if fault])
    np.testing.assert_array_equal(
        CellH5Reader().read(small, [50])[50], CellH5Reader().read(movie, [50])[50]
    )


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("404", RemoteFileNotFoundError, "answered 404"),
        ("403", DownloadError, "answered 403"),
        ("503", BusyError, "answered 503"),
        ("cut", TransientDownloadError, "incomplete|ends after"),
        ("reset", TransientDownloadError, "cannot be reached"),
        ("other-range", TransientDownloadError, "asked"),
    ],
)
def test_a_server_that_stays_broken(served, server, http, task, tmp_path, fault, error, words):
    served(1, 12, 1, 40, 52)
    server.always = fault
    out = tmp_path / "out" / NAME
    with pytest.raises(error, match=words) as caught:
        take(http, task(3), out)
    assert type(caught.value) is error
    assert list(out.parent.iterdir()) == []


def test_a_fault_beneath_h5py_is_told_as_it_was(served, server, http, task, tmp_path):
    served(1, 93, 1, 256, 336)
    server.plan = [""] + ["503"] * 50
    out = tmp_path / "out" / NAME
    with pytest.raises(TransientDownloadError, match="answered 503"):
        take(http, task(50), out)
    assert list(out.parent.iterdir()) == []


def test_a_movie_that_changes_midway_is_begun_anew(served, server, http, task, tmp_path):
    served(1, 93, 1, 80, 100, seed=1)
    small = tmp_path / "out" / NAME
    target = small

    def replace(task, _info):
        # The movie changes once, after its layout was read.
        if replace.times:
            replace.times -= 1
            served(1, 93, 1, 80, 100, seed=2)
        return task.frames

    replace.times = 1
    taken = take(http, task(50), target, needed=replace, mode="frames")
    assert isinstance(taken, FetchedFrames)
    movie = server.root / NAME
    np.testing.assert_array_equal(
        CellH5Reader().read(small, [50])[50], CellH5Reader().read(movie, [50])[50]
    )
    assert taken.traffic.bytes_moved == server.bytes_sent


@pytest.mark.parametrize("fault", ["412", "other-etag", "no-range"])
def test_a_movie_that_changes_always_is_given_up(served, server, http, task, tmp_path, fault):
    served(1, 93, 1, 80, 100)
    out = tmp_path / "out" / NAME

    def change(task, _info):
        server.plan = [fault]
        return task.frames

    with pytest.raises(TransientDownloadError, match="kept changing"):
        take(http, task(50), out, needed=change, mode="frames")
    assert list(out.parent.iterdir()) == []


def test_a_mounted_mirror_is_read_by_ranges_too(served, server, task, tmp_path):
    movie = served(1, 93, 1, 80, 100)
    transport = LocalTransport(server.root)
    assert isinstance(transport, RangeTransport)
    small = tmp_path / "out" / NAME
    taken = take(transport, task(50), small)
    assert isinstance(taken, FetchedFrames)
    np.testing.assert_array_equal(
        CellH5Reader().read(small, [50])[50], CellH5Reader().read(movie, [50])[50]
    )
    with pytest.raises(DownloadError, match="there is no file"):
        take(transport, task(50), small, name="gone.ch5")
    with pytest.raises(DownloadError, match="leads out of"):
        take(transport, task(50), small, name="../gone.ch5")


@pytest.mark.parametrize("what", ["cut off", "page", "two positions"])
def test_what_is_no_movie(served, server, http, task, tmp_path, what):
    movie = served(1, 12, 1, 40, 52)
    if what == "cut off":
        movie.write_bytes(movie.read_bytes()[:-3000])
    elif what == "page":
        movie.write_bytes(b"<html>" + b"sorry" * 1000)
    else:
        with h5py.File(movie, "a") as file:
            other = file.create_group("sample/0/plate/PL--x/experiment/00004/position/2/image")
            other["channel"] = np.ones((1, 2, 1, 4, 4), "u1")
    out = tmp_path / "out" / NAME
    assert isinstance(take(http, task(3), out), WholeFileNeeded)  # ends in the same error as ever
    with pytest.raises(MovieError, match=r"damaged|one position"):
        take(http, task(3), out, mode="frames")
    assert list(out.parent.iterdir()) == []


def test_a_disk_that_cannot_be_written(served, http, task, tmp_path):
    served(1, 12, 1, 40, 52)
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch_frames(http, NAME, task(3), Path("/proc/nowhere") / NAME, wanted)


def test_frames_outside_the_movie_cost_nothing(served, server, http, task, tmp_path):
    served(1, 12, 1, 40, 52)
    taken = take(http, task(0, 13, 99), tmp_path / "out" / NAME)
    assert isinstance(taken, FetchedFrames)
    assert taken.frames == ()
    assert len(server.log) == 1
