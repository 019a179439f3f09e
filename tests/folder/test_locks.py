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
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    host = socket.gethostname()
    with gpu_lock("cuda:0"), gpu_lock("cuda:1"):
        assert sorted(path.name for path in (tmp_path / "idrstream").iterdir()) == [
            f"gpu-cuda-0-{host}.lock", f"gpu-cuda-1-{host}.lock",
        ]  # fmt: skip
        with (
            pytest.raises(LockedError, match=r"GPU cuda:0 is in use.*share_gpu"),
            gpu_lock("cuda:0"),
        ):
            pass


def test_a_gpu_is_the_same_whichever_a_process_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_lock("cuda").path == gpu_lock("cuda:0").path
    second = gpu_lock("cuda:1").path
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 0")
    assert gpu_lock("cuda:0").path == second
    assert gpu_lock("mps").path.name == f"gpu-mps-{socket.gethostname()}.lock"


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


def test_the_folder_of_gpu_locks_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = tmp_path / "idrstream"
    folder.mkdir()
    folder.chmod(0o777)
    with gpu_lock("cuda:0") as lock:
        assert lock.path.parent == folder
        assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    for planted in (folder.touch, lambda: folder.symlink_to(tmp_path)):
        planted()
        with pytest.raises(StorageError, match="set XDG_STATE_HOME"):
            gpu_lock("cuda:0")
        folder.unlink()


@pytest.mark.parametrize("planted", ["link", "second name", "pipe", "folder"])
def test_what_stands_in_place_of_a_lock_is_left_alone(tmp_path, planted):
    target, path = tmp_path / "precious", tmp_path / "out" / locks.LOCK_NAME
    target.write_text("keep")
    path.parent.mkdir()
    {
        "link": lambda: path.symlink_to(target),
        "second name": lambda: os.link(target, path),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
    }[planted]()
    strange = pytest.raises(
        StorageError, match=r"lock cannot be written: .*(link|pipe|older|irect)"
    )
    with strange, folder_lock(path.parent, "final_data_dir"):
        pass
    assert holder(path.parent) is None
    assert target.read_text() == "keep"


def test_others_cannot_write_to_a_lock(tmp_path):
    umask = os.umask(0)
    try:
        with folder_lock(tmp_path, "tmp_dir") as lock:
            assert lock.path.stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(umask)
