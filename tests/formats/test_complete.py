"""Is it complete? Pure looks at files, and real writer processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idrstream.errors import IncompleteFileError, MovieError, StorageError
from idrstream.formats.cellh5.superblock import hdf5_end_of_file
from idrstream.formats.complete import check_complete, file_state, wait_until_complete


@pytest.mark.parametrize("userblock", [0, 512, 1024, 4096])
@pytest.mark.parametrize("libver", ["earliest", "latest", ("v108", "v108")])
def test_end_of_file_of_every_superblock(tmp_path, userblock, libver):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", userblock_size=userblock, libver=libver) as file:
        file["x"] = np.arange(1000)
    assert hdf5_end_of_file(path) == path.stat().st_size
    check_complete(path, path.stat().st_size)


def test_a_user_block_put_before_later(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(10)
    path.write_bytes(bytes(512) + path.read_bytes())
    assert hdf5_end_of_file(path) == path.stat().st_size
    check_complete(path)


def test_superblock_that_is_not_all_there_or_unknown(tmp_path, movie_bytes):
    path = tmp_path / "x.ch5"
    for length in (8, 12, 40):
        path.write_bytes(movie_bytes[:length])
        assert hdf5_end_of_file(path) is None
    path.write_bytes(movie_bytes[:8] + b"\x09" + movie_bytes[9:])
    with pytest.raises(MovieError, match="unknown HDF5 superblock"):
        hdf5_end_of_file(path)
    path.write_bytes(movie_bytes[:40] + b"\xff" * 8 + movie_bytes[48:])
    assert hdf5_end_of_file(path) is None


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_truncation_passes(tmp_path_factory, movie_bytes, data):
    length = data.draw(st.integers(0, len(movie_bytes) - 1))
    path = tmp_path_factory.mktemp("cut") / "x.ch5"
    path.write_bytes(movie_bytes[:length])
    assert file_state(path).state == "waiting"
    assert file_state(path, len(movie_bytes)).state == "waiting"
    with pytest.raises((IncompleteFileError, MovieError)):
        check_complete(path)
    # Whole as its source states, and still cut off: that is final.
    assert file_state(path, length).state == "wrong"
    path.write_bytes(bytes(length + 1))
    assert file_state(path, length + 1).state == "waiting"


def test_looks(tmp_path, movie_bytes):
    path = tmp_path / "x.ch5"
    assert file_state(path).reason == "does not exist"
    path.with_name("x.ch5.part").write_bytes(b"abc")
    assert file_state(path).reason == "does not exist; x.ch5.part has 3 bytes"
    path.write_bytes(movie_bytes)
    assert file_state(path).state == "complete"
    assert file_state(path, len(movie_bytes) - 1).state == "wrong"
    assert file_state(path, len(movie_bytes) + 1).state == "waiting"
    path.with_name("x.ch5.aspx").touch()
    assert "still being transferred" in file_state(path).reason
    path.with_name("x.ch5.aspx").unlink()
    path.write_bytes(b"")
    assert file_state(path).state == "waiting"
    assert file_state(path, 0).state == "wrong"


def test_damaged_inside(tmp_path, movie_bytes):
    path = tmp_path / "x.ch5"
    path.write_bytes(movie_bytes[:96] + bytes(len(movie_bytes) - 96))
    found = file_state(path, len(movie_bytes))
    assert (found.state, found.error) == ("wrong", MovieError)
    assert "cannot be opened" in found.reason


def test_folder_instead_of_a_file(tmp_path):
    (tmp_path / "x.ch5").mkdir()
    with pytest.raises(IncompleteFileError, match="cannot be read"):
        check_complete(tmp_path / "x.ch5")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.ch5", b"<!DOCTYPE HTML><html>", "error page .* begins with '<!doctype html><html'"),
        ("x.ch5", b"\n <html><title>503", "error page"),
        ("x.ch5", b"<?xml version='1.0'?><Error>", "error page"),
        ("x.tif", b"<html>", "error page"),
        ("x.ch5", b"not a movie at all, really not", "file signature not found"),
    ],
)
def test_what_is_something_else(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MovieError, match=message):
        wait_until_complete(path, size_bytes=len(content), timeout_s=60)


def test_other_formats(tmp_path):
    path = tmp_path / "x.companion.ome"
    path.write_bytes(b"<?xml version='1.0'?><OME>")
    check_complete(path)
    wait_until_complete(path, size_bytes=path.stat().st_size, poll_s=0.01)
    with pytest.raises(IncompleteFileError, match=r"has 26 of 27 bytes; nothing of it has grown"):
        wait_until_complete(path, size_bytes=27, timeout_s=0.05, poll_s=0.01)


def test_an_hdf5_file_by_another_name(tmp_path, movie_bytes):
    path = tmp_path / "movie.ims"
    path.write_bytes(movie_bytes[:-1])
    with pytest.raises(IncompleteFileError, match="truncated"):
        check_complete(path)


def test_time_counts_since_the_last_growth(tmp_path):
    path = tmp_path / "x.nd2"
    now = [0.0]

    def grow_for_a_while(pause_s: float) -> None:
        now[0] += 1
        if now[0] < 100:
            with path.open("ab") as file:
                file.write(b"x")

    with pytest.raises(IncompleteFileError) as caught:
        wait_until_complete(
            path, size_bytes=10**6, timeout_s=10, sleep=grow_for_a_while, clock=lambda: now[0]
        )
    message = str(caught.value)
    assert "has 99 of 1,000,000 bytes" in message
    assert "grown for 10.0 s (size 99 bytes, expected 1,000,000 bytes" in message
    assert "waited 109.0 s" in message


def test_error_while_nothing_is_there(tmp_path):
    with pytest.raises(IncompleteFileError, match=r"does not exist; .* \(size unknown, expected"):
        wait_until_complete(tmp_path / "x.ch5", timeout_s=0.02, poll_s=0.01)


# What follows are real processes that write while we wait.
WRITER = """
import os, sys, time
kind, source, target = sys.argv[1:]
data = open(source, "rb").read()
name = target + ".part" if kind == "rename" else target
def write(parts, pause):
    with open(name, "wb", buffering=0) as file:
        for part in parts:
            file.write(part)
            time.sleep(pause)
        os.fsync(file.fileno())
n = len(data) // 8 + 1
parts = [data[i:i + n] for i in range(0, len(data), n)]
if kind == "slow":
    write(parts, 0.15)
elif kind == "rename":
    write(parts, 0.05)
    time.sleep(0.2)
    os.rename(name, target)
elif kind == "half":
    write(parts[:4], 0.02)
elif kind == "html":
    time.sleep(0.2)
    write([b"<html><head><title>503 Service Unavailable</title>"], 0)
elif kind == "preallocated":
    with open(name, "wb") as file:
        file.truncate(len(data))
        for i in reversed(range(0, len(data), n)):
            file.seek(i); file.write(data[i:i + n]); file.flush(); time.sleep(0.1)
elif kind == "empty":
    write([b""], 0)
elif kind == "h5py":
    import h5py, numpy as np
    with h5py.File(target, "w") as file:
        movie = file.create_dataset("movie", (8, 100, 100), "u1", chunks=(1, 100, 100))
        for t in range(8):
            movie[t] = t + 1
            file.flush()
            time.sleep(0.1)
"""


@pytest.fixture
def writer(tmp_path, movie_bytes):
    source = tmp_path / "source.ch5"
    source.write_bytes(movie_bytes)
    started: list[subprocess.Popen] = []

    def start(kind: str, target: Path) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", WRITER, kind, str(source), str(target)])
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["slow", "rename", "preallocated"])
@pytest.mark.parametrize("stated", [True, False])
def test_a_writer_that_finishes(writer, tmp_path, movie_bytes, kind, stated):
    target = tmp_path / "00004_01.ch5"
    process = writer(kind, target)
    wait_until_complete(
        target, size_bytes=len(movie_bytes) if stated else None, timeout_s=15, poll_s=0.02
    )
    assert target.read_bytes() == movie_bytes
    assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("stated", [True, False])
def test_a_writer_that_stops_half_way(writer, tmp_path, movie_bytes, stated):
    target = tmp_path / "00004_01.ch5"
    writer("half", target).wait()
    with pytest.raises(IncompleteFileError) as caught:
        wait_until_complete(
            target, size_bytes=len(movie_bytes) if stated else None, timeout_s=0.3, poll_s=0.02
        )
    seen = f"{target.stat().st_size:,}"
    assert f"size {seen} bytes" in str(caught.value)
    assert f"{len(movie_bytes):,}" in str(caught.value)


def test_a_writer_that_leaves_an_error_page(writer, tmp_path, movie_bytes):
    target = tmp_path / "00004_01.ch5"
    writer("html", target)
    with pytest.raises(MovieError, match="error page"):
        wait_until_complete(target, size_bytes=len(movie_bytes), timeout_s=50, poll_s=0.02)


def test_a_writer_that_leaves_nothing(writer, tmp_path):
    target = tmp_path / "00004_01.ch5"
    writer("empty", target).wait()
    with pytest.raises(IncompleteFileError, match="is empty"):
        wait_until_complete(target, timeout_s=0.1, poll_s=0.02)


@pytest.mark.parametrize("locking", ["TRUE", "FALSE"])
def test_a_writer_that_is_hdf5_itself(writer, tmp_path, locking, monkeypatch):
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", locking)
    target = tmp_path / "00004_01.ch5"
    process = writer("h5py", target)
    wait_until_complete(target, timeout_s=30, poll_s=1.0)
    with h5py.File(target) as file:
        frames = file["movie"][:]
    assert (frames[:, 0, 0] == np.arange(1, 9)).all()
    assert process.wait(timeout=30) == 0


def test_nothing_is_opened_before_it_is_complete(tmp_path, movie_bytes, monkeypatch):
    opened: list[str] = []
    original = h5py.File

    def watched(path, *args, **kwargs):
        opened.append(os.fspath(path))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(h5py, "File", watched)
    path = tmp_path / "x.ch5"
    path.write_bytes(movie_bytes[:-1])
    with pytest.raises(IncompleteFileError):
        wait_until_complete(path, timeout_s=0.05, poll_s=0.01)
    assert opened == []
    path.write_bytes(movie_bytes)
    wait_until_complete(path, timeout_s=1, poll_s=0.01)
    assert opened


@pytest.mark.parametrize("message", ["[Errno 24] Too many open files", "errno = 24, flags = 0"])
def test_a_movie_is_not_blamed_for_the_end_of_open_files(
    tmp_path, movie_bytes, monkeypatch, message
):
    path = tmp_path / "x.ch5"
    path.write_bytes(movie_bytes)

    def refuse(*_):
        if message.startswith("errno"):  # as HDF5 tells it
            raise OSError(f"Unable to synchronously open file ({message})")
        raise OSError(24, "Too many open files", str(path))

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(StorageError, match="limit for open files"):
        file_state(path)
