"""The engine that keeps DeepProfiler ready, with a stand-in that misbehaves in every way."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

import pytest

import idrstream
from idrstream.config import ProfileSettings
from idrstream.errors import MissingToolError, ProfileError
from idrstream.profile import DeepProfilerEngine, Engine
from idrstream.profile.deepprofiler.engine import resident_bytes
from idrstream.profile.deepprofiler.python import HOW_TO_INSTALL

FAKE = Path(__file__).with_name("fake_deepprofiler_worker.py")


class FakeEngine(DeepProfilerEngine):
    """The real engine; only what it starts is the stand-in."""

    how = "good"

    def _command(self, folder):
        return [sys.executable, str(FAKE), self.how, folder]


@pytest.fixture
def make():
    made = []

    def build(how="good", *, timeout_s=3600, **options):
        settings = ProfileSettings(dp_gpu="-1", profile_timeout_s=timeout_s)
        engine = FakeEngine(settings, **options)
        engine.how = how
        made.append(engine)
        return engine

    yield build
    for engine in made:
        engine.close()


def pids(project):
    return [int(line) for line in (project.root / "pids").read_text().split()]


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    return False


def wait_until(condition, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_one_process_for_many_batches_and_projects(make, make_project, tmp_path, add):
    engine = make()
    assert isinstance(engine, Engine)
    assert engine.describe() == {"name": "deepprofiler"}
    first, second = make_project(tmp_path / "one"), make_project(tmp_path / "two")
    for project in (first, second, first):
        project.clear()
        image = add(project, 3)
        add(project, 0, number=51)
        engine.profile(project)
        assert project.features_path(image).is_file()
    assert len({*pids(first), *pids(second)}) == 1
    assert len(pids(first)) == 2
    engine.close()
    engine.close()
    assert not alive(pids(first)[0])
    project.clear()
    add(project, 2)
    engine.profile(project)
    assert len(set(pids(first))) == 2


def test_without_nuclei_no_process_is_started(make, project, add):
    add(project, 0)
    make("does not start").profile(project)
    assert project.index_path.is_file()


def test_features_left_by_an_earlier_try_are_made_anew(make, project, add):
    path = project.features_path(add(project))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    make().profile(project)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("how", "message", "attempts"),
    [
        ("dies always", r"exit status -9\).*not enough memory.*Killed, says the kernel", 2),
        ("exits", r"exit status 7\)", 2),
        ("fails", r"ValueError: no such layer: avg_pool.*noise of TensorFlow -1", 1),
        ("writes nothing", r"wrote no features for plate LT0001_02.*noise of TensorFlow", 1),
        ("truncates", r"cannot be read.*noise of TensorFlow", 1),
    ],
)
def test_what_goes_wrong_fails_the_batch_and_says_why(make, project, add, how, message, attempts):
    add(project)
    with pytest.raises(ProfileError, match=f"(?s){message}"):
        make(how).profile(project)
    assert len(pids(project)) == attempts


@pytest.mark.parametrize("how", ["dies once", "fails once"])
def test_after_a_death_or_failure_there_is_a_new_process(make, project, add, how):
    add(project)
    engine = make(how)
    if how == "fails once":
        with pytest.raises(ProfileError):
            engine.profile(project)
    engine.profile(project)
    assert len(set(pids(project))) == 2


def test_a_hanging_one_is_ended(make, project, add):
    add(project)
    engine = make("hangs", timeout_s=2)
    with pytest.raises(ProfileError, match="not done after 2 s"):
        engine.profile(project)
    assert len(pids(project)) == 1
    assert not alive(pids(project)[0])


def test_an_interrupted_batch_fails_and_the_engine_goes_on(make, project, add):
    add(project)
    engine = make("hangs")
    failures = []

    def run():
        try:
            engine.profile(project)
        except ProfileError as error:
            failures.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    wait_until((project.root / "pids").exists)
    engine.interrupt()
    thread.join(20)
    assert failures == ["the profiling was stopped"]
    engine.how = "good"
    engine.profile(project)


def test_one_that_grew_is_started_anew(make, project, add, caplog):
    engine = make(memory_limit_bytes=1)
    for _ in range(2):
        project.clear()
        add(project)
        engine.profile(project)
    assert len(set(pids(project))) == 2
    assert "is restarted for the next batch" in caplog.text
    assert resident_bytes(os.getpid()) > 1e6
    assert resident_bytes(2**22 + 1) == 0


def test_not_installed_and_not_starting(make, project, add):
    add(project)
    with pytest.raises(MissingToolError, match=r'deepprofiler==0.5.1.*engine = "torch"'):
        make("not installed").profile(project)
    with pytest.raises(ProfileError, match=r"(?s)did not start.*libcuda"):
        make("does not start").profile(project)


def test_what_it_starts_is_the_python_that_is_named(monkeypatch, tmp_path, project, add):
    add(project)
    named, other = tmp_path / "named", tmp_path / "other"
    monkeypatch.setenv("IDRSTREAM_DEEPPROFILER_PYTHON", str(other))
    for engine, python in (
        (DeepProfilerEngine(ProfileSettings(deepprofiler_python=named)), named),
        (DeepProfilerEngine(), other),
    ):
        for use in (engine.load, engine.profile):
            with pytest.raises(MissingToolError, match=f"not installed for {python} ") as caught:
                use(project)
            for command in HOW_TO_INSTALL:
                assert command in str(caught.value)
        assert engine.describe() == {"name": "deepprofiler"}


def test_nothing_of_ours_can_be_imported_there(monkeypatch, tmp_path, project, add):
    """The worker needs no idrstream, and finds neither it nor what lies beside the script."""
    add(project)
    seen = tmp_path / "seen"
    (tmp_path / "deepprofiler.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", f"{Path(idrstream.__file__).parents[1]}:{tmp_path}")
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (site / "deepprofiler").mkdir()
    (site / "deepprofiler" / "__init__.py").write_text("")
    (site / "deepprofiler" / "profiling.py").write_text(
        "import importlib.util, pathlib\n"
        "names = [n for n in ('idrstream', 'outputs', 'messages') if importlib.util.find_spec(n)]\n"
        f"pathlib.Path({str(seen)!r}).write_text(repr(names))\n"
        "raise ImportError('libcuda')\n"
    )
    engine = DeepProfilerEngine(ProfileSettings(deepprofiler_python=python))
    with pytest.raises(MissingToolError, match=f"{python} .libcuda"):
        engine.profile(project)
    assert seen.read_text() == "[]"
    with pytest.raises(MissingToolError, match=f"{python} .*No package metadata"):
        engine.load(project)


KILLED = """
import sys, threading
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_deepprofiler_engine import FakeEngine
from idrstream.profile import DeepProfilerProject
from idrstream.records import Frame, ImageTask, Nuclei
import numpy as np
project = DeepProfilerProject(Path({root!r}), Path({config!r}), Path({checkpoint!r}))
project.prepare()
task = ImageTask("P", "A1", 1, (1,))
shape = project.config.height, project.config.width
project.add(Frame(np.zeros(shape, np.uint8), 1, task), Nuclei(np.ones((1, 2)), None, 1, task, 9.0))
engine = FakeEngine()
engine.how = "hangs"
engine.profile(project)
"""


def test_the_process_ends_with_one_that_is_killed(project, tmp_path):
    root = tmp_path / "killed"
    code = KILLED.format(
        tests=str(FAKE.parent),
        root=str(root),
        config=str(project.config.path),
        checkpoint=str(project.checkpoint_path),
    )
    package = str(Path(idrstream.__file__).parents[1])
    stream = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": package}
    )
    wait_until(lambda: (root / "pids").exists() and (root / "pids").read_text().strip())
    (pid,) = [int(line) for line in (root / "pids").read_text().split()]
    assert alive(pid)
    stream.kill()
    stream.wait()
    wait_until(lambda: not alive(pid))
