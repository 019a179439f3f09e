"""Conformance tests for every `MovieReader`: each selector is obeyed, or refused.

Examples
--------
::

    class TestMyReader(ReaderTests):
        several_sites = True           # a file may hold several sites

        @pytest.fixture
        def make(self):
            return MyReader   # (*, channel=0, z=None, projection=None) -> MovieReader

        @pytest.fixture
        def write(self, tmp_path):
            return my_writer           # (name, *movies) -> path of a file in your format
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from idrstream.errors import FrameError, MovieError
from idrstream.formats.projection import Projection
from idrstream.formats.reader import MovieReader, as_reader

Make = Callable[..., MovieReader]
Write = Callable[..., Path]
FRAMES = 5


class ReaderTests:
    """Inherit, and override the fixtures `make` and `write`."""

    several_channels = True
    """Whether a file may have several channels."""
    several_planes = True
    """Whether a file may have several z-planes."""
    several_sites = False
    """Whether a file may hold several sites, each of which can be read."""

    @pytest.fixture
    def make(self) -> Make:
        """Return a function of the keywords ``channel`` and ``z`` that makes a reader."""
        raise NotImplementedError

    @pytest.fixture
    def write(self) -> Write:
        """Return a function that writes a file.

        It gets a name without ending and one movie for each site, and returns the file's path.
        Movies have the shape ``(channel, frame, z, y, x)``; their pixels are never 0.
        """
        raise NotImplementedError

    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    def test_reads_what_was_written(self, make: Make, write: Write, dtype: str) -> None:
        """Size, type and pixels are right, in any order, with repeats."""
        movie = _movie(dtype=dtype)
        path = write("movie", movie)
        reader = make()
        assert isinstance(reader, MovieReader)
        info = reader.info(path)
        assert (info.n_frames, info.shape, info.dtype) == (FRAMES, (24, 32), dtype)
        assert info.valid == (True,) * FRAMES
        frames = reader.read(path, [4, 1, 4, FRAMES])
        assert set(frames) == {1, 4, FRAMES}
        for number, pixels in frames.items():
            _check(pixels, movie[0, number - 1, 0])
            assert not isinstance(pixels, FrameError)
            assert pixels.dtype == dtype

    @pytest.mark.parametrize("number", [0, -1, FRAMES + 1, 10**9])
    def test_a_frame_that_is_not_there(self, make: Make, write: Write, number: int) -> None:
        """Each such frame is an error of its own, and the others are read."""
        movie = _movie()
        frames = make().read(write("movie", movie), [number, 2])
        assert isinstance(frames[number], FrameError)
        assert str(number) in str(frames[number])
        _check(frames[2], movie[0, 1, 0])

    def test_the_channel(self, make: Make, write: Write) -> None:
        """The chosen channel is read; one that is not there is refused."""
        movie = _movie(channels=3 if self.several_channels else 1)
        path = write("movie", movie)
        for channel in range(len(movie)):
            _check(make(channel=channel).read(path, [2])[2], movie[channel, 1, 0])
        with pytest.raises(MovieError, match=f"channel {len(movie)}"):
            make(channel=len(movie)).read(path, [2])

    def test_the_plane(self, make: Make, write: Write) -> None:
        """The chosen plane is read; of several one must be chosen; a missing one is refused."""
        planes = 3 if self.several_planes else 1
        movie = _movie(planes=planes)
        path = write("movie", movie)
        for z in range(planes):
            _check(make(z=z).read(path, [3])[3], movie[0, 2, z])
        with pytest.raises(MovieError, match=f"plane {planes}"):
            make(z=planes).read(path, [3])
        if planes > 1:
            with pytest.raises(MovieError, match="3 z-planes"):
                make().info(path)

    @pytest.mark.parametrize("how", ["max", "mean", "sharpest"])
    def test_the_projection(self, make: Make, write: Write, how: Projection) -> None:
        """All planes become one image; of one plane it is the plane."""
        movie = _movie(channels=2 if self.several_channels else 1, planes=4, dtype="uint8")
        movie[-1, 2, 2] //= 3  # flat, beside it noise
        if not self.several_planes:
            movie = movie[:, :, :1]
        reader = make(channel=len(movie) - 1, projection=how)
        stack = movie[-1, 2].astype(np.float64)
        laplacian = stack[:, 1:-1, 1:-1] * 4 - sum(
            np.roll(stack, by, axis)[:, 1:-1, 1:-1] for by in (-1, 1) for axis in (1, 2)
        )
        expected = {
            "max": stack.max(axis=0),
            "mean": np.floor(stack.mean(axis=0) + 0.5),
            "sharpest": stack[np.argmax([plane.var() for plane in laplacian])],
        }[how]
        _check(reader.read(write("movie", movie), [3])[3], expected)

    def test_a_file_for_each_site(self, make: Make, write: Write) -> None:
        """A file with one image is that of its row, whatever the number of the site."""
        movie = _movie()
        path = write("movie", movie)
        for site in (1, 2, 7):
            _check(as_reader(make()).at(site=site).read(path, [2])[2], movie[0, 1, 0])

    def test_several_sites_in_a_file(self, make: Make, write: Write) -> None:
        """Each site has its own pixels, sizes and frames; one that is not there is refused."""
        reader = as_reader(make())
        assert reader.selects_sites == self.several_sites
        if not self.several_sites:
            return
        sites = [_movie(seed=1), _movie(seed=2, shape=(16, 20)), _movie(seed=3)]
        path = write("movie", *sites)
        for site, movie in [*enumerate(sites, start=1), (1, sites[0])]:
            at = reader.at(site=site)
            assert at.info(path).shape == movie.shape[3:]
            _check(at.read(path, [2])[2], movie[0, 1, 0])
        with pytest.raises(MovieError, match="site 4"):
            reader.at(site=4).read(path, [2])

    def test_another_file_of_the_same_name(self, make: Make, write: Write) -> None:
        """Nothing of an older file is kept."""
        reader = make()
        for seed in (1, 2):
            movie = _movie(seed=seed)
            path = write("movie", movie)
            _check(reader.read(path, [1])[1], movie[0, 0, 0])
            path.unlink()

    def test_what_is_no_movie(self, make: Make, write: Write) -> None:
        """A missing file and one that is something else are errors that name it."""
        path = write("movie", _movie())
        path.write_bytes(b"<html>we are sorry</html>")
        with pytest.raises(MovieError, match=path.name):
            make().read(path, [1])
        path.unlink()
        with pytest.raises(MovieError, match=path.name):
            make().info(path)

    def test_several_threads(self, make: Make, write: Write) -> None:
        """Movies may be read at the same time by one reader."""
        movies = {f"movie{seed}": _movie(seed=seed) for seed in range(4)}
        paths = {name: write(name, movie) for name, movie in movies.items()}
        reader = make()
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda name: (name, reader.read(paths[name], [5])[5]), [*movies] * 4)
            for name, pixels in found:
                _check(pixels, movies[name][0, 4, 0])


def _movie(
    *,
    channels: int = 1,
    planes: int = 1,
    shape: tuple[int, int] = (24, 32),
    dtype: str = "uint16",
    seed: int = 0,
) -> NDArray[Any]:
    """Return noise without zeros, shape ``(channel, frame, z, y, x)``."""
    size = (channels, FRAMES, planes, *shape)
    values = np.random.default_rng(seed).integers(1, np.iinfo(dtype).max, size)
    return values.astype(dtype)


def _check(found: NDArray[Any] | FrameError, expected: NDArray[Any]) -> None:
    assert not isinstance(found, FrameError), found
    np.testing.assert_array_equal(found, expected)
