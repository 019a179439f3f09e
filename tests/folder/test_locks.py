"""Locks, with real processes."""

import errno
import os
import signal
import socket
import subprocess
import sys

import pytest

from idrstream.errors import LockedError, StorageError
from idrstream.folder import locks
from idrstream.folder.locks import Lock, folder_lock, gpu_lock, holder

TAKE = """
import sys
from pathlib import Path
from idrstream.errors import LockedError
from idrstream.folder.locks import folder_lock
try:
    with folder_lock(Path(sys.argv[1]), "tmp_dir"):
        print("held", flush=True)
        sys.stdin.readline()
except LockedError as error:
    print(error, flush=True)
"""


@pytest.fixture
def take(tmp_path):
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_told_who_has_it(take, tmp_path):
    first = take()
    assert first.stdout.readline() == "held\n"
    told = take().stdout.readline()
    assert f"tmp_dir {tmp_path} is in use by process {first.pid} on {socket.gethostname()}" in told
    assert "choose another tmp_dir" in told
    with pytest.raises(LockedError, match=f"process {first.pid}"), folder_lock(tmp_path, "tmp_dir"):
        pass
    assert holder(tmp_path).pid == first.pid


def test_a_killed_process_holds_nothing(take, tmp_path):
    first = take()
    first.stdout.readline()
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert holder(tmp_path) is None
    with folder_lock(tmp_path, "tmp_dir"):
        assert holder(tmp_path).pid == os.getpid()
    assert holder(tmp_path) is None


def test_of_many_that_race_one_wins(take):
    racers = [take() for _ in range(6)]
    told = [racer.stdout.readline() for racer in racers]
    assert told.count("held\n") == 1
    assert sum("is in use by" in line for line in told) == 5


def test_a_second_stream_in_one_process_is_told_too(tmp_path):
    with (
        folder_lock(tmp_path, "final_data_dir"),
        pytest.raises(LockedError, match="in use by this process, since 20"),
        folder_lock(tmp_path, "final_data_dir"),
    ):
        pass


def test_who_only_looks_is_in_nobodys_way(tmp_path):
    path = tmp_path / locks.LOCK_NAME
    path.touch()
    with path.open() as looked:
        locks.fcntl.flock(looked, locks.fcntl.LOCK_SH)
        locks.fcntl.flock(looked, locks.fcntl.LOCK_UN)
        with folder_lock(tmp_path, "tmp_dir"):
            pass


def test_nobody_has_a_folder_without_a_lock(tmp_path):
    assert holder(tmp_path) is None


def test_a_lock_whose_holder_cannot_be_read_still_holds(tmp_path):
    with folder_lock(tmp_path, "tmp_dir") as lock:
        lock.path.write_text("?")
        assert str(holder(tmp_path)) == "another stream"


def test_a_gpu_has_one_lock_for_all_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(locks.tempfile, "gettempdir", lambda: str(tmp_path))
    with gpu_lock("cuda:0"), gpu_lock("cuda:1"):
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "idrstream-gpu-cuda-0.lock", "idrstream-gpu-cuda-1.lock",
        ]  # fmt: skip
        with (
            pytest.raises(LockedError, match=r"GPU cuda:0 is in use.*share_gpu"),
            gpu_lock("cuda:0"),
        ):
            pass


def test_a_gpu_is_the_same_whichever_a_process_sees(tmp_path, monkeypatch):
    monkeypatch.setattr(locks.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_lock("cuda").path == gpu_lock("cuda:0").path
    second = gpu_lock("cuda:1").path
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 0")
    assert gpu_lock("cuda:0").path == second
    assert gpu_lock("mps").path.name == "idrstream-gpu-mps.lock"


def test_where_nothing_can_be_locked_it_is_said(tmp_path, monkeypatch, caplog):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with folder_lock(tmp_path, "tmp_dir"):
        assert "make sure that no second" in caplog.text
    assert holder(tmp_path) is None


def test_a_lock_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(StorageError, match="missing"), Lock(tmp_path / "missing" / "x", "x", ""):
        pass
