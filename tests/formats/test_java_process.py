"""The process behind the Java readers, with a stand-in for it that misbehaves in every way."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import idrstream
from idrstream.errors import FrameError, MissingToolError, MovieError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.java.process import JavaReader
from idrstream.formats.java.readers import BioFormatsReader, ImageJReader
from idrstream.formats.reader import MovieReader

FAKE = Path(__file__).with_name("fake_worker.py")


class FakeReader(JavaReader):
    selects = BioFormatsReader.selects
    """The real reader; only what it starts is the stand-in."""

    name = "fake"

    def _command(self, folder: str) -> list[str]:
        return [sys.executable, str(FAKE), self.location, folder]


@pytest.fixture
def make():
    made: list[FakeReader] = []

    def build(behaviour: str = "well", **options) -> FakeReader:
        made.append(FakeReader(behaviour, **options))
        return made[-1]

    yield build
    for reader in made:
        reader.close()


@pytest.fixture
def movie(tmp_path) -> Path:
    path = tmp_path / "movie.tif"
    path.write_bytes(b"the stand-in does not look at it")
    return path


def test_frames_and_everything_that_is_none(make, movie):
    reader = make()
    assert isinstance(reader, MovieReader)
    info = reader.info(movie)
    assert (info.n_frames, info.shape, info.dtype, info.valid) == (
        3,
        (4, 5),
        "uint16",
        (True, True, True),
    )
    frames = reader.read(movie, [3, 1, 4])
    assert list(frames) == [3, 1, 4]
    assert (frames[3] == 3).all()
    assert frames[1].dtype == np.uint16
    frames[1][0, 0] = 7  # it is ours to write
    assert "frame 4 of a movie of 3" in str(frames[4])
    with pytest.raises(MovieError, match="does not exist"):
        reader.info(movie.with_name("nowhere.tif"))


def test_the_site_is_an_image_of_the_file(make, movie):
    reader = make("images")
    assert reader.at(site=2).info(movie).n_frames == 4
    frames = reader.at(site=3).read(movie, [1, 4])
    assert (frames[1] == 2001).all()
    assert (frames[4] == 2004).all()
    with pytest.raises(MovieError, match=r"has 3 images; site 4 is not among them"):
        reader.at(site=4).read(movie, [1])
    assert (make().at(site=9).read(movie, [1])[1] == 1).all()  # a file for each site
    chosen = make("images", series=1)
    assert (chosen.at(site=3).read(movie, [1])[1] == 1001).all()
    with pytest.raises(MovieError, match="series 3 is not among them"):
        make("images", series=3).info(movie)


def test_what_reads_other_channels_shares_the_process(make, movie):
    reader = make("images")
    reader.info(movie)
    other = reader.at(site=2)
    other.read(movie, [1])
    assert other._java.process is reader._java.process
    other.close()
    assert reader._java.process is None


def test_it_starts_late_once_and_goes_with_its_folder(make, movie):
    with make() as reader:
        assert reader._java.process is None
        reader.info(movie)
        process = reader._java.process
        reader.read(movie, [1])
        assert reader._java.process is process
        assert (Path(process.folder) / "java leaves this").exists()
    assert reader._java.process is None
    assert process._popen.poll() is not None
    assert not Path(process.folder).exists()
    assert reader.info(movie).n_frames == 3


def test_a_forgotten_reader_takes_its_process_with_it(movie):
    reader = FakeReader("well")
    reader.info(movie)
    process = reader._java.process
    popen, folder = process._popen, process.folder
    del reader, process
    gc.collect()
    assert popen.poll() is not None
    assert not Path(folder).exists()


def test_an_interpreter_that_ends_takes_its_process_with_it(movie):
    program = (
        "import sys; from pathlib import Path\n"
        "from idrstream.formats.java.process import JavaReader\n"
        f"JavaReader._command = lambda s, f: [sys.executable, {str(FAKE)!r}, s.location, f]\n"
        f"r = JavaReader('well'); r.info(Path({str(movie)!r}))\n"
        "print(r._java.process._popen.pid, r._java.process.folder)\n"
    )
    root = str(Path(idrstream.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    pid, folder = done.stdout.split()
    assert not Path(f"/proc/{pid}").exists()
    assert not Path(folder).exists()
    assert done.stderr == ""


def test_it_has_a_folder_of_its_own_and_finds_the_package(make, movie, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "relative")
    before = Path.cwd()
    reader = make("where")
    with pytest.raises(MovieError) as caught:
        reader.info(movie)
    folder, path = str(caught.value).split(": in ")[1].split(" with ")
    assert folder == reader._java.process.folder
    package, relative = path.split(os.pathsep)
    assert package == str(Path(idrstream.__file__).parents[1])
    assert relative == str(before / "relative")
    assert Path.cwd() == before


def test_paths_relative_to_the_caller(make, movie, monkeypatch):
    monkeypatch.chdir(movie.parent)
    assert make().info(Path(movie.name)).n_frames == 3


def test_it_dies_and_is_started_again(make, movie):
    reader = make("dies")
    with pytest.raises(
        MovieError, match=r"process ended \(exit status 3\); it said: .*Out of memo"
    ):
        reader.read(movie, [1])
    assert (reader.read(movie, [1])[1] == 1).all()


def test_killed_between_two_requests(make, movie):
    reader = make()
    reader.info(movie)
    reader._java.process._popen.kill()
    reader._java.process._popen.wait()
    assert reader.info(movie).n_frames == 3


def test_it_hangs(make, movie):
    reader = make("hangs", request_timeout_s=0.5)
    with pytest.raises(MovieError, match=r"the fake process did not answer within 0\.5 s"):
        reader.read(movie, [1])
    assert reader._java.process is None


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("no start", r"did not start: its process ended \(exit status 1\); it said: Error occ"),
        ("slow start", r"did not start: its process did not answer within 0\.5 s"),
        ("babble", "did not start: its process sent something that is not a message"),
        ("not installed", "did not start: no Java was found"),
    ],
)
def test_it_does_not_start(make, movie, behaviour, message):
    timeout = {"start_timeout_s": 0.5} if behaviour == "slow start" else {}
    reader = make(behaviour, **timeout)
    with pytest.raises(MissingToolError, match=message):
        reader.info(movie)
    assert reader._java.process is None


def test_no_such_program(movie, monkeypatch):
    reader = FakeReader("well")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(MissingToolError, match=r"the fake reader did not start: .*nowhere"):
        reader.info(movie)


@pytest.mark.parametrize(
    ("behaviour", "error", "message"),
    [
        ("cannot", MovieError, r"movie\.tif cannot be read by fake: not an image"),
        ("nowords", MovieError, "cannot be read by fake: ValueError"),
        ("missing later", MissingToolError, "install it"),
        ("float", MovieError, "float32 pixels"),
        ("planes", MovieError, "set preprocess"),
    ],
)
def test_movies_it_refuses(make, movie, behaviour, error, message):
    reader = make(behaviour)
    with pytest.raises(error, match=message):
        reader.info(movie)
    assert reader._java.process.alive


def test_one_bad_frame(make, movie):
    frames = make("one bad").read(movie, [1, 2, 3])
    assert isinstance(frames[2], FrameError)
    assert "frame 2" in str(frames[2])
    assert "cannot be decoded: bad chunk" in str(frames[2])
    assert (frames[3] == 3).all()
    assert "reads as all zeros" in str(make("hole").read(movie, [2])[2])
    assert "returned 3 bytes for 4 x 5 pixels" in str(make("short").read(movie, [1])[1])


def test_planes_and_channels(make, movie):
    assert (make("planes", z=2).read(movie, [1])[1] == 21).all()
    assert (make("channels", channel=1).read(movie, [1])[1] == 101).all()
    with pytest.raises(MovieError, match=r"the channels 0 to 1; channel 2"):
        make("channels", channel=2).info(movie)


def test_cellh5_is_asked_what_java_does_not_know(make, ch5, noise):
    path = ch5(noise(1, 3, 1, 4, 5, dtype="uint16"), valid=[1, 0, 1], written=[0, 1])
    reader = make()
    assert reader.info(path).valid == (True, False, True)
    frames, ours = reader.read(path, [1, 2, 3]), CellH5Reader().read(path, [1, 2, 3])
    assert (frames[1] == 1).all()
    assert [str(frames[n]) for n in (2, 3)] == [str(ours[n]) for n in (2, 3)]
    with pytest.raises(MovieError, match="fake sees 3 frames, h5py 2"):
        reader.info(ch5(noise(1, 2, 1, 4, 5)))


def test_threads_share_one_process(make, movie):
    reader = make()
    reader.info(movie)
    process = reader._java.process
    wrong: list[str] = []

    def work(number: int) -> None:
        for _ in range(20):
            frames = reader.read(movie, [number, 1])
            if not ((frames[number] == number).all() and (frames[1] == 1).all()):
                wrong.append(f"frame {number}")

    threads = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert reader._java.process is process


def test_what_is_not_installed_says_how(tmp_path, ch5, noise):
    path = ch5(noise(1, 1, 1, 8, 8))
    with pytest.raises(
        MissingToolError, match=r"no Bio-Formats jar .*: download bioformats_package"
    ):
        BioFormatsReader(tmp_path / "nowhere.jar").info(path)
    with pytest.raises(MissingToolError, match=r"Fiji\.app .* does not exist: give a complete"):
        ImageJReader(tmp_path / "Fiji.app").info(path)
    (tmp_path / "Fiji.app").mkdir()
    with pytest.raises(MissingToolError, match="has no folder 'jars'"):
        ImageJReader(tmp_path / "Fiji.app").info(path)
    ImageJReader("sc.fiji:fiji:2.14.0").check()


def test_one_that_is_stopped_while_it_starts_is_not_called_missing(make, movie):
    reader = make("hangs")
    told: list[BaseException] = []

    def read():
        try:
            reader.read(movie, [1])
        except Exception as error:
            told.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    while reader._java.process is None:
        time.sleep(0)
    reader.interrupt()
    thread.join(30)
    assert [type(error) for error in told] == [MovieError]
    assert "stopped" in str(told[0]) or "died" in str(told[0])


@pytest.mark.parametrize("verb", ["interrupt", "close"])
def test_one_that_hangs_is_killed_from_another_thread(make, movie, verb, monkeypatch):
    monkeypatch.setattr("idrstream.formats.java.process._PATIENCE_S", 0.1)
    reader = make("hangs")
    told: list[BaseException] = []

    def read():
        try:
            reader.read(movie, [1])
        except MovieError as error:
            told.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    while not movie.with_suffix(".hangs").exists():
        time.sleep(0.05)
    process = reader._java.process
    getattr(reader, verb)()
    thread.join(30)
    assert not thread.is_alive()
    assert not process.alive
    assert len(told) == 1
