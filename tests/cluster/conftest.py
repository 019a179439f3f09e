"""A small screen, and what one machine makes of it."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from contextlib import suppress
from pathlib import Path

import mini_slurm
import pytest

from idrstream.cluster import Recipe

FAULTS = Path(__file__).parents[1] / "faults"


@pytest.fixture(scope="session", autouse=True)
def workers_find_quick_parts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(FAULTS), prepend=os.pathsep)
        patch.syspath_prepend(str(FAULTS))
        yield


@pytest.fixture(scope="session")
def parts(workers_find_quick_parts):
    import quick_parts

    return quick_parts


@pytest.fixture(scope="session")
def screen(parts, tmp_path_factory):
    return parts.make_screen(tmp_path_factory.mktemp("screen"), wells=3)


@pytest.fixture(scope="session")
def wanted(parts, screen, tmp_path_factory):
    """Return the results of a stream on this machine."""
    folder = tmp_path_factory.mktemp("one")
    parts.make_stream(screen, folder).run_stream(parts.table_of(screen), 1, progress=False)
    return parts.results(folder / "out")


@pytest.fixture
def recipe(screen):
    def make(**arguments):
        return Recipe(
            function="quick_parts:make_worker_stream",
            arguments={"screen": str(screen.folder), **arguments},
        )

    return make


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """Start a SLURM of two nodes on loopback; skip where it is not installed."""
    if not mini_slurm.is_installed():
        pytest.skip("SLURM and munge are not installed, or this user is not root")
    folder = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch, mini_slurm.MiniSlurm(folder) as running:
        patch.setenv("SLURM_CONF", str(running.conf))
        yield running
    assert running.steps() == []


@pytest.fixture
def listening(monkeypatch):
    """Return the addresses that this process and those it starts from now on listen on."""
    mark = f"IDRSTREAM_TEST_MARK={uuid.uuid4().hex}"
    monkeypatch.setenv(*mark.split("="))

    def is_ours(pid):
        with suppress(OSError):
            return pid == os.getpid() or mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        return False

    def look():
        done = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True)
        return {
            line.split()[3]
            for line in done.stdout.splitlines()
            if any(map(is_ours, map(int, re.findall(r"pid=(\d+)", line))))
        }

    return look
