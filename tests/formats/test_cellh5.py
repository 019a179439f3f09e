from __future__ import annotations

import contextlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idrstream.errors import FrameError, MovieError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.reader import MovieInfo, MovieReader


def test_real_movies(real_movies):
    reader = CellH5Reader()
    assert isinstance(reader, MovieReader)
    infos = [reader.info(path) for path in real_movies]
    assert [(i.n_frames, i.shape, i.dtype) for i in infos] == [
        (30, (190, 211), "uint8"),
        (2, (364, 260), "uint8"),
        (30, (190, 211), "uint8"),
    ]
    assert all(infos[0].valid)
    assert [n for n, valid in enumerate(infos[2].valid, 1) if not valid] == [8]
    first, _, backwards = real_movies
    ahead = reader.read(first, range(1, 31))
    back = reader.read(backwards, range(1, 31))
    for number in range(1, 31):
        if number != 8:
            np.testing.assert_array_equal(ahead[31 - number], back[number])
    assert isinstance(back[8], FrameError)
    assert "frame 8" in str(back[8])
    assert "not valid" in str(back[8])
    reader.close()


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_movie_is_read_as_it_was_written(tmp_path_factory, data):
    shape = (1, *data.draw(st.tuples(*[st.integers(1, n) for n in (5, 1, 30, 30)])))
    dtype = data.draw(st.sampled_from(["uint8", "uint16", ">u2"]))
    options = data.draw(
        st.sampled_from(
            [{}, {"chunks": None}, {"chunks": True, "shuffle": True}, {"compression": "lzf"}]
        )
    )
    movie = np.random.default_rng(0).integers(1, 255, shape).astype(dtype)
    path = tmp_path_factory.mktemp("any") / "x.ch5"
    with h5py.File(path, "w") as file:
        name = "sample/0/plate/P/experiment/W/position/01/image/channel"
        file.create_dataset(name, data=movie, **options)
    numbers = data.draw(st.lists(st.integers(-1, shape[1] + 2), max_size=6))
    frames = CellH5Reader().read(path, numbers)
    assert set(frames) == set(numbers)
    for number, frame in frames.items():
        if 1 <= number <= shape[1]:
            np.testing.assert_array_equal(frame, movie[0, number - 1, 0])
            assert frame.dtype == np.dtype(dtype).newbyteorder("=")
            assert frame.flags.c_contiguous
        else:
            assert f"frame {number} of a movie of {shape[1]} in {path}" in str(frame)


def test_info_of_uint16_without_valid(ch5, noise):
    path = ch5(noise(1, 3, 1, 8, 9, dtype="uint16"))
    with h5py.File(path, "r+") as file:
        channel = file["sample/0/plate/PL--x/experiment/00004/position/1/image/channel"]
        del channel.attrs["valid"]
    assert CellH5Reader().info(path) == MovieInfo(3, (8, 9), "uint16", (True,) * 3)


def test_holes(ch5, noise):
    movie = noise(1, 5, 1, 16, 16)
    movie[0, 3] = 0
    path = ch5(movie, written=[0, 1, 3, 4], valid=[1, 1, 1, 1, 0])
    frames = CellH5Reader().read(path, [1, 3, 4, 5])
    np.testing.assert_array_equal(frames[1], movie[0, 0, 0])
    assert "frame 3" in str(frames[3])
    assert "was never written (16 of 16 chunks missing)" in str(frames[3])
    assert "reads as all zeros" in str(frames[4])
    assert "not valid" in str(frames[5])
    problems = CellH5Reader().problems(path, [1, 3, 4, 5, 6])
    assert sorted(problems) == [3, 5, 6]


def test_a_frame_of_which_a_part_was_written(tmp_path):
    path = tmp_path / "x.ch5"
    with h5py.File(path, "w") as file:
        name = "sample/0/plate/P/experiment/W/position/1/image/channel"
        channel = file.create_dataset(name, (1, 4, 1, 16, 16), "u1", chunks=(1, 2, 1, 8, 8))
        channel[0, 0, 0, :8] = 7
        channel[0, 2:4] = 7
    frames = CellH5Reader().read(path, [1, 2, 3, 4])
    assert "was never written (2 of 4 chunks missing)" in str(frames[1])
    assert "(2 of 4" in str(frames[2])
    assert (frames[3] == 7).all()
    assert (frames[4] == 7).all()


def test_contiguous_and_never_written(ch5, noise):
    path = ch5(noise(1, 2, 1, 8, 8), chunks=False, written=[])
    assert "never written (1 of 1" in str(CellH5Reader().read(path, [2])[2])


def test_one_damaged_chunk_costs_one_frame(ch5, noise):
    movie = noise(1, 3, 1, 40, 40)
    path = ch5(movie)
    with h5py.File(path) as file:
        name = "sample/0/plate/PL--x/experiment/00004/position/1/image/channel"
        chunk = file[name].id.get_chunk_info_by_coord((0, 1, 0, 10, 10))
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(bytes(chunk.size))
    frames = CellH5Reader().read(path, [1, 2, 3])
    np.testing.assert_array_equal(frames[1], movie[0, 0, 0])
    assert isinstance(frames[2], FrameError)
    assert "frame 2" in str(frames[2])
    assert "cannot be decoded" in str(frames[2])
    np.testing.assert_array_equal(frames[3], movie[0, 2, 0])


def test_channels_and_planes(ch5, noise):
    movie = noise(2, 3, 2, 8, 8)
    path = ch5(movie)
    with pytest.raises(MovieError, match="has 2 z-planes: set preprocess"):
        CellH5Reader().info(path)
    frames = CellH5Reader(channel=1, z=1).read(path, [2])
    np.testing.assert_array_equal(frames[2], movie[1, 1, 1])
    with pytest.raises(MovieError, match="plane 2 is not among them"):
        CellH5Reader(z=2).info(path)
    with pytest.raises(MovieError, match=r"the channels 0 to 1; channel 2 is not among"):
        CellH5Reader(channel=2, z=0).info(path)


@pytest.mark.parametrize(
    "layout", [{"plate": "LT0001_02", "positions": ("01",)}, {"plate": "a b", "well": "A4"}]
)
def test_groups_are_walked_whatever_they_are_called(ch5, noise, layout):
    movie = noise(1, 1, 1, 8, 8)
    frames = CellH5Reader().read(ch5(movie, **layout), [1])
    np.testing.assert_array_equal(frames[1], movie[0, 0, 0])


def test_two_positions_and_none(ch5, noise, tmp_path):
    with pytest.raises(MovieError, match=r"one position .* it has: .*/position/1, .*/position/2"):
        CellH5Reader().info(ch5(noise(1, 1, 1, 8, 8), positions=("1", "2")))
    for name in ("definition/image", "sample/0/plate/P/experiment/W/position"):
        with h5py.File(tmp_path / "none.ch5", "w") as file:
            file.create_group(name)
        with pytest.raises(MovieError, match="it has: none"):
            CellH5Reader().info(tmp_path / "none.ch5")
    with h5py.File(tmp_path / "odd.ch5", "w") as file:
        file["sample"] = [1]
    with pytest.raises(MovieError, match="it has: none"):
        CellH5Reader().info(tmp_path / "odd.ch5")


POSITION = "sample/0/plate/P/experiment/W/position/1"


@pytest.mark.parametrize(
    "where",
    ["sample", "sample/0/plate", f"{POSITION}", f"{POSITION}/image", f"{POSITION}/image/channel"],
)
def test_external_and_soft_links_are_refused(ch5, noise, tmp_path, where):
    target = ch5(noise(1, 1, 1, 8, 8), plate="P", well="W")
    for kind in (h5py.ExternalLink(target.name, f"/{where}"), h5py.SoftLink("/elsewhere")):
        path = tmp_path / "master.ch5"
        with h5py.File(path, "w") as file:
            file[where] = kind
        with pytest.raises(MovieError, match="link"):
            CellH5Reader().read(path, [1])


def test_virtual_and_external_storage_are_refused(ch5, noise, tmp_path):
    target = ch5(noise(1, 1, 1, 8, 8), plate="P", well="W")
    name = f"{POSITION}/image/channel"
    layout = h5py.VirtualLayout((1, 1, 1, 8, 8), "u1")
    layout[:] = h5py.VirtualSource(target, name, (1, 1, 1, 8, 8))
    with h5py.File(tmp_path / "virtual.ch5", "w") as file:
        file.create_virtual_dataset(name, layout)
    (tmp_path / "secret.bin").write_bytes(b"x" * 64)
    with h5py.File(tmp_path / "external.ch5", "w") as file:
        external = [(str(tmp_path / "secret.bin"), 0, 64)]
        file.create_dataset(name, (1, 1, 1, 8, 8), "u1", external=external)
    for kind in ("virtual", "external"):
        with pytest.raises(MovieError, match="in other files"):
            CellH5Reader().read(tmp_path / f"{kind}.ch5", [1])


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 1, 1, 8, 8), "float32", "float32 pixels; only uint8 and uint16"),
        ((1, 1, 1, 8, 8), "int16", "int16 pixels"),
        ((1, 1, 8, 8), "uint8", "not a .c, t, z, y, x. dataset"),
        ((1, 1, 1, 2**15, 2**15), "uint8", "not a microscope's movie"),
    ],
)
def test_what_is_no_movie(tmp_path, shape, dtype, message):
    path = tmp_path / "x.ch5"
    with h5py.File(path, "w") as file:
        file.create_dataset(f"{POSITION}/image/channel", shape, dtype, chunks=True)
    with pytest.raises(MovieError, match=message):
        CellH5Reader().info(path)


def test_group_in_place_of_the_pixels_and_odd_valid(tmp_path, ch5, noise):
    with h5py.File(tmp_path / "g.ch5", "w") as file:
        file.create_group(f"{POSITION}/image/channel")
    with pytest.raises(MovieError, match="is not a"):
        CellH5Reader().info(tmp_path / "g.ch5")
    with pytest.raises(MovieError, match=r"'valid' has shape \(2,\)"):
        CellH5Reader().info(ch5(noise(1, 3, 1, 8, 8), valid=[1, 1]))


def test_truncated_garbage_and_missing(ch5, noise, tmp_path):
    path = ch5(noise(1, 3, 1, 40, 40))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MovieError, match=rf"{path} cannot be opened as HDF5: .*truncated"):
        CellH5Reader().info(path)
    path.write_bytes(b"<html>" * 100)
    with pytest.raises(MovieError, match="signature"):
        CellH5Reader().read(path, [1])
    with pytest.raises(MovieError, match=r"nowhere\.ch5"):
        CellH5Reader().info(tmp_path / "nowhere.ch5")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n_bytes=st.integers(1, 200))
def test_damage_anywhere_is_a_named_error_or_a_frame(damage_source, seed, n_bytes):
    """Whatever is overwritten, only our own errors come out."""
    path, whole = damage_source
    rng = np.random.default_rng(seed)
    damaged = bytearray(whole)
    start = int(rng.integers(0, len(whole) - n_bytes))
    damaged[start : start + n_bytes] = rng.bytes(n_bytes)
    path.write_bytes(damaged)
    frames: dict = {}
    with contextlib.suppress(MovieError):
        frames = CellH5Reader().read(path, [1, 2, 3])
    assert all(isinstance(frame, FrameError) or frame.ndim == 2 for frame in frames.values())


@pytest.fixture(scope="module")
def damage_source(tmp_path_factory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("damage") / "x.ch5"
    movie = np.random.default_rng(1).integers(1, 255, (1, 3, 1, 12, 12), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        channel = file.create_dataset(
            f"{POSITION}/image/channel", data=movie, chunks=(1, 1, 1, 6, 6), compression="gzip"
        )
        channel.attrs["valid"] = np.ones(3)
    return path, path.read_bytes()


def test_only_the_chunks_of_the_frames_asked_for_are_read(ch5, noise, monkeypatch):
    asked = []
    original = h5py.Dataset.__getitem__

    def watched(self, key, **kwargs):
        if self.name.endswith("/channel"):
            asked.append(key)
        return original(self, key, **kwargs)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    CellH5Reader().read(ch5(noise(1, 20, 1, 16, 16)), [3, 17])
    assert asked == [(0, 2, 0), (0, 16, 0)]
