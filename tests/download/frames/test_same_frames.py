"""Whatever is brought of a movie, the corrected frames are the same."""

from __future__ import annotations

import numpy as np
import pytest

from idrstream.config import DownloadSettings
from idrstream.download import (
    LocalTransport,
    Transport,
    TransportDownloader,
    limit_to_needed,
    make_downloader,
)
from idrstream.errors import ConfigError, MovieError, TransientDownloadError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.reader import MovieInfo
from idrstream.preprocess import Preprocessor, make_illumination
from idrstream.preprocess.illumination import FrameContext
from idrstream.records import Frame, ImageTask


class Anywhere:
    def movie_path(self, task: ImageTask) -> str:
        return f"{task.well_number:05d}_01.ch5"


def outcome(frames):
    return [
        (f.number, f.pixels.tobytes()) if isinstance(f, Frame) else (f.frame_number, f.kind)
        for f in frames
    ]


def process(server, tmp_path, illumination, wanted, fetch, reader=None):
    preprocessor = Preprocessor(
        reader or CellH5Reader(), make_illumination(illumination, tmp_path / f"models-{fetch}")
    )
    downloader = TransportDownloader(
        LocalTransport(server.root), Anywhere(), DownloadSettings(fetch=fetch)
    )
    limit_to_needed(downloader, preprocessor)
    folder = tmp_path / f"{fetch}"
    task = ImageTask("PL", "A4", 4, wanted)
    others = [ImageTask("PL", f"A{n}", n, wanted) for n in (4, 5)]
    movie = downloader.download(task, folder)
    if preprocessor.needs_plate_model("PL"):
        preprocessor.fit_plate("PL", (downloader.download(t, folder / "model") for t in others))
    return preprocessor.process(movie), movie


@pytest.mark.parametrize(
    ("illumination", "wanted"),
    [
        ("off", (5,)),
        ("off", (4, 6, 8, 99)),
        ("frames", (5,)),
        ("frames", (20,)),
        ("frames", (3, 8)),
        ("movie", (4, 6)),
        ("plate", (5,)),
    ],
    ids=str,
)
def test_pixels_are_equal_in_all_ways(served, server, tmp_path, illumination, wanted):
    # Frame 6 is not valid, frame 8 was never written.
    for number in (4, 5):
        served(
            1, 20, 1, 128, 128, name=f"{number:05d}_01.ch5", seed=number,
            valid=[1] * 5 + [0] + [1] * 14, written=[*range(7), *range(8, 20)],
        )  # fmt: skip
    results = {
        fetch: process(server, tmp_path, illumination, wanted, fetch)
        for fetch in (("file", "frames", "auto") if illumination == "off" else ("file", "frames"))
    }
    whole, movie = results["file"]
    assert movie.frames is None
    assert any(isinstance(frame, Frame) for frame in whole)
    small = results["frames"][1]
    assert small.frames is not None
    assert small.size_bytes == small.path.stat().st_size
    for frames, _ in results.values():
        assert outcome(frames) == outcome(whole)


def test_what_is_needed():
    info = MovieInfo(20, (8, 8), "uint8", tuple(n != 6 for n in range(1, 21)))
    needed = {
        name: Preprocessor(CellH5Reader(), make_illumination(name))
        for name in ("off", "frames", "movie")
    }

    def of(name, *frames):
        return needed[name].frames_needed(ImageTask("PL", "A4", 4, frames), info)

    assert of("off", 3, 21, 0, 5) == (3, 5)
    assert of("frames", 5) == (5, 7)
    assert of("frames", 20) == (18, 19, 20)
    assert of("frames", 2, 6) == tuple(range(1, 21))
    assert of("movie", 1) == tuple(n for n in range(1, 21) if n != 6)


def test_frames_of_the_plates_model_are_needed_as_long_as_there_is_none(tmp_path):
    info = MovieInfo(20, (8, 8), "uint8", (True,) * 20)
    preprocessor = Preprocessor(CellH5Reader(), make_illumination("plate", tmp_path))
    task = ImageTask("PL", "A4", 4, (1,))
    assert preprocessor.frames_needed(task, info) == (1, 3, 8, 13, 18)
    stack = np.random.default_rng(0).integers(90, 99, (4, 128, 128), dtype=np.uint8)
    preprocessor.illumination.fit("PL", stack)
    assert preprocessor.frames_needed(task, info) == (1,)


def test_a_frame_that_was_not_brought_is_no_hole_in_the_context(served, server, tmp_path):
    served(1, 20, 1, 128, 128)
    downloader = TransportDownloader(
        LocalTransport(server.root), Anywhere(), DownloadSettings(fetch="frames")
    )
    downloader.limit_to(lambda task, info: task.frames)
    movie = downloader.download(ImageTask("PL", "A4", 4, (5,)), tmp_path / "out")
    preprocessor = Preprocessor(CellH5Reader(), FrameContext())
    with pytest.raises(MovieError, match=r"frames \[6, 7\] .* not fetched"):
        preprocessor.process(movie)
    with pytest.raises(MovieError, match="not fetched"):
        preprocessor.plate_frames(movie, 4)


def test_whole_files_where_nobody_says_what_is_needed(served, server, tmp_path):
    path = served(1, 20, 1, 64, 64)
    downloader = TransportDownloader(
        LocalTransport(server.root), Anywhere(), DownloadSettings(fetch="frames")
    )
    task = ImageTask("PL", "A4", 4, (5,))
    assert downloader.download(task, tmp_path / "a").path.read_bytes() == path.read_bytes()


def test_a_transport_without_ranges(served, server, tmp_path):
    path = served(1, 20, 1, 64, 64)

    class WholeFiles(Transport):
        name = "aspera"

        def fetch(self, remote, target):
            return LocalTransport(server.root).fetch(remote, target)

    task = ImageTask("PL", "A4", 4, (5,))
    for fetch in ("auto", "frames"):
        downloader = TransportDownloader(WholeFiles(), Anywhere(), DownloadSettings(fetch=fetch))
        downloader.limit_to(lambda task, info: task.frames)
        if fetch == "frames":
            with pytest.raises(ConfigError, match="cannot be done by aspera"):
                downloader.download(task, tmp_path)
        else:
            movie = downloader.download(task, tmp_path)
            assert movie.path.read_bytes() == path.read_bytes()


def test_where_ranges_fail_the_whole_file_may_still_come(served, server, tmp_path):
    path = served(1, 20, 1, 64, 64)

    class Chain(LocalTransport):
        def open_ranges(self, remote, head_bytes):
            msg = "the web server is down"
            raise TransientDownloadError(msg)

    task = ImageTask("PL", "A4", 4, (5,))
    downloader = TransportDownloader(Chain(server.root), Anywhere())
    downloader.limit_to(lambda task, info: task.frames)
    assert downloader.download(task, tmp_path / "a").path.read_bytes() == path.read_bytes()
    downloader = TransportDownloader(
        Chain(server.root), Anywhere(), DownloadSettings(fetch="frames")
    )
    downloader.limit_to(lambda task, info: task.frames)
    with pytest.raises(TransientDownloadError, match="is down"):
        downloader.download(task, tmp_path / "b")


def test_an_unknown_mode(server):
    with pytest.raises(ConfigError, match="fetch: Input should be 'auto', 'frames' or 'file'"):
        make_downloader(method="local", root=server.root, fetch="some")


def test_rows_that_share_a_movie_and_want_other_frames(served, server, tmp_path):
    path = served(1, 20, 1, 64, 64)
    downloader = TransportDownloader(
        LocalTransport(server.root), settings=DownloadSettings(fetch="frames")
    )
    downloader.limit_to(lambda task, info: task.frames)
    for well, frame in ((1, 3), (2, 4)):
        task = ImageTask("PL", f"A{well}", well, (frame,), metadata={"Path": path.name})
        movie = downloader.download(task, tmp_path / "out")
        assert movie.frames == (frame,)
        read = CellH5Reader().read(movie.path, [frame])[frame]
        np.testing.assert_array_equal(read, CellH5Reader().read(path, [frame])[frame])
