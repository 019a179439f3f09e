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
from idrstream.profile import DeepProfilerEngine
from idrstream.profile.deepprofiler.process import DeepProfilerProcess, resident_bytes
from idrstream.profile.deepprofiler.python import HOW_TO_INSTALL
from idrstream.schedule.disk.budget import tree_bytes

FAKE = Path(__file__).with_name("fake_deepprofiler_worker.py")


class FakeProcess(DeepProfilerProcess):
    """The real one; only what it starts is the stand-in."""

    how = "good"

    def _command(self, folder):
        return [sys.executable, str(FAKE), self.how, folder]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "DP engine"


@pytest.fixture
def make(model, folder):
    made = []

    def build(how="good", *, timeout_s=3600, **options):
        settings = ProfileSettings(dp_gpu="-1", profile_timeout_s=timeout_s)
        process = FakeProcess(settings, **options)
        process.how = how
        made.append(DeepProfilerEngine(model, folder, process))
        return made[-1]

    yield build
    for engine in made:
        engine.close()


@pytest.fixture
def scene(make_scene):
    frame, objects = make_scene(2)
    return [frame], [objects]


def pids(folder):
    return [int(line) for line in (folder / "pids").read_text().split()]


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    return False


def wait_until(condition, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_one_process_for_many_calls_and_folders(make, make_scene, folder):
    engine = make()
    other = engine.in_folder(folder.with_name("elsewhere"))
    assert engine.describe() == {"name": "deepprofiler"}
    scenes = [make_scene(3), make_scene(0, number=51), make_scene(2, number=52, shape=(40, 50))]
    for one in (engine, other, engine):
        found = one.profile(*zip(*scenes, strict=True))
        assert [len(features) for features in found] == [3, 0, 2]
        left = sorted(path.name for path in folder.rglob("*") if path.is_file())
        assert left == ["pids", "tiny config.json", "tiny.h5"]
    assert len({*pids(folder), *pids(folder.with_name("elsewhere"))}) == 1
    assert len(pids(folder)) == 4  # the two sizes of frames are two requests
    engine.close()
    engine.close()
    assert not alive(pids(folder)[0])
    engine.profile(*zip(make_scene(2), strict=True))
    assert len(set(pids(folder))) == 2


def test_another_size_than_configured_is_corrected_and_told_once(make, make_scene, caplog):
    engine = make()
    with caplog.at_level("INFO", "idrstream"):
        for _ in range(2):
            engine.profile(*zip(make_scene(2), make_scene(1, shape=(211, 190)), strict=True))
    assert caplog.text.count("corrected to (211, 190)") == 1
    assert "says images of (48, 64) pixels" in caplog.text


def test_without_nuclei_no_process_is_started(make, make_scene):
    (found,) = make("does not start").profile(*zip(make_scene(0), strict=True))
    assert found.values.shape == (0, 1280)


def test_two_frames_of_one_name_do_not_meet(make, make_scene):
    found = make().profile(*zip(make_scene(2), make_scene(2), strict=True))
    assert [len(features) for features in found] == [2, 2]


def test_features_left_by_an_earlier_try_are_made_anew(make, scene, folder):
    path = folder / "outputs" / "results" / "features" / "frames" / "1_1" / "1.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    (found,) = make().profile(*scene)
    assert len(found) == 2
    assert not path.exists()


def test_what_it_takes_of_the_disk(make, make_scene):
    frame, objects = make_scene(10, dtype="u2")
    need = make().disk_bytes(frame, objects)
    assert frame.pixels.nbytes + 10 * 1280 * 4 < need < 2 * (frame.pixels.nbytes + 10 * 1280 * 4)


def test_a_stop_between_frames_of_two_sizes_ends_the_call(make, make_scene, folder, monkeypatch):
    engine = make()
    ask = FakeProcess.profile

    def interrupted_afterwards(process, project):
        said = ask(process, project)
        engine.interrupt()
        return said

    monkeypatch.setattr(FakeProcess, "profile", interrupted_afterwards)
    scenes = [make_scene(3), make_scene(2, number=52, shape=(40, 50))]
    with pytest.raises(ProfileError, match="stopped"):
        engine.profile(*zip(*scenes, strict=True))
    assert len(pids(folder)) == 1
    monkeypatch.undo()
    assert len(engine.profile(*zip(*scenes, strict=True))) == 2


def test_it_takes_no_more_of_the_disk_than_it_says(make, make_scene, model, monkeypatch):
    taken = []
    ask = FakeProcess.profile

    def measured(process, project):
        said = ask(process, project)
        taken.append(tree_bytes(project.root))
        return said

    monkeypatch.setattr(FakeProcess, "profile", measured)
    engine = make()
    scenes = [make_scene(10, number=number, dtype="u2") for number in (50, 51)]
    engine.profile(*zip(*scenes, strict=True))
    assert max(taken) <= sum(engine.disk_bytes(*scene) for scene in scenes)
    assert model.checkpoint_path.is_file()


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
def test_what_goes_wrong_fails_the_call_and_says_why(make, scene, folder, how, message, attempts):
    with pytest.raises(ProfileError, match=f"(?s){message}"):
        make(how).profile(*scene)
    assert len(pids(folder)) == attempts


@pytest.mark.parametrize("how", ["dies once", "fails once"])
def test_after_a_death_or_failure_there_is_a_new_process(make, scene, folder, how):
    engine = make(how)
    if how == "fails once":
        with pytest.raises(ProfileError):
            engine.profile(*scene)
    engine.profile(*scene)
    assert len(set(pids(folder))) == 2


def test_a_hanging_one_is_ended(make, scene, folder):
    engine = make("hangs", timeout_s=2)
    with pytest.raises(ProfileError, match="not done after 2 s"):
        engine.profile(*scene)
    assert len(pids(folder)) == 1
    assert not alive(pids(folder)[0])


def test_an_interrupted_batch_fails_and_the_engine_goes_on(make, scene, folder):
    engine = make("hangs")
    failures = []

    def run():
        try:
            engine.profile(*scene)
        except ProfileError as error:
            failures.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    wait_until((folder / "pids").exists)
    engine.interrupt()
    thread.join(20)
    assert failures == ["the profiling was stopped"]
    engine._process.how = "good"
    engine.profile(*scene)


def test_one_that_grew_is_started_anew(make, scene, folder, caplog):
    engine = make(memory_limit_bytes=1)
    for _ in range(2):
        engine.profile(*scene)
    assert len(set(pids(folder))) == 2
    assert "is restarted for the next call" in caplog.text
    assert resident_bytes(os.getpid()) > 1e6
    assert resident_bytes(2**22 + 1) == 0


def test_not_installed_and_not_starting(make, scene, folder):
    with pytest.raises(MissingToolError, match=r'deepprofiler==0.5.1.*engine = "torch"'):
        make("not installed").profile(*scene)
    with pytest.raises(ProfileError, match=r"(?s)did not start.*libcuda"):
        make("does not start").profile(*scene)


def test_what_it_starts_is_the_python_that_is_named(monkeypatch, tmp_path, model, scene):
    named, other = tmp_path / "named", tmp_path / "other"
    monkeypatch.setenv("IDRSTREAM_DEEPPROFILER_PYTHON", str(other))
    for engine, python in (
        (DeepProfilerEngine(model, tmp_path, ProfileSettings(deepprofiler_python=named)), named),
        (DeepProfilerEngine(model, tmp_path), other),
    ):
        for use in (engine.load, lambda: engine.profile(*scene)):  # noqa: B023, used at once
            with pytest.raises(MissingToolError, match=f"not installed for {python} ") as caught:
                use()
            for command in HOW_TO_INSTALL:
                assert command in str(caught.value)
        assert engine.describe() == {"name": "deepprofiler"}


def test_nothing_of_ours_can_be_imported_there(monkeypatch, tmp_path, model, scene):
    """The worker needs no idrstream, and finds neither it nor what lies beside the script."""
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
    engine = DeepProfilerEngine(model, tmp_path / "DP", ProfileSettings(deepprofiler_python=python))
    with pytest.raises(MissingToolError, match=f"{python} .libcuda"):
        engine.profile(*scene)
    assert seen.read_text() == "[]"
    with pytest.raises(MissingToolError, match=f"{python} .*No package metadata"):
        engine.load()


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_deepprofiler_engine import FakeProcess
from objects_at import objects_at
from idrstream.config import ProfileSettings
from idrstream.profile import DeepModel, DeepProfilerEngine
from idrstream.records import Frame, ImageTask
import numpy as np
model = DeepModel.read(Path({config!r}), Path({checkpoint!r}))
frame = Frame(np.zeros((1, 48, 64), np.uint8), 1, ImageTask("P", "A1", 1, (1,)))
process = FakeProcess(ProfileSettings())
process.how = "hangs"
DeepProfilerEngine(model, Path({root!r}), process).profile([frame], [objects_at([(1, 1)])])
"""


def test_the_process_ends_with_one_that_is_killed(model, tmp_path):
    root = tmp_path / "killed"
    helpers = FAKE.parents[1] / "helpers"
    code = KILLED.format(
        paths=[str(FAKE.parent), str(helpers)],
        root=str(root),
        config=str(model.config.path),
        checkpoint=str(model.checkpoint_path),
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
