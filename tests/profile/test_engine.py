from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from idrstream.errors import MissingToolError, ProfileError
from idrstream.profile import CommandEngine, Engine
from idrstream.profile import engine as engine_module
from idrstream.profile.command import run_command
from idrstream.workers import guarded as _guarded


@pytest.fixture
def stand_in(monkeypatch):
    """Put a stand-in for DeepProfiler first on the path of child processes."""

    def use(how):
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("stand_in")))
        monkeypatch.setenv("STAND_IN", how)

    return use


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    return False


def test_the_command(project):
    assert isinstance(CommandEngine(), Engine)
    assert CommandEngine(gpu="1").command(project) == [
        sys.executable,
        _guarded.__file__,
        "deepprofiler",
        "--gpu=1",
        f"--root={project.root}",
        "--config=tiny config.json",
        "profile",
    ]


def test_a_good_run_leaves_features_for_frames_with_nuclei(project, stand_in, caplog, add):
    stand_in("good")
    images = [add(project, 3), add(project, 0, number=51), add(project, 1, number=52)]
    engine = CommandEngine()
    with caplog.at_level(logging.WARNING):
        engine.profile(project)
    assert caplog.text == ""
    assert [project.features_path(image).is_file() for image in images] == [True, False, True]
    engine.close()
    engine.close()


def test_features_left_by_an_earlier_try_are_made_anew(project, stand_in, add):
    stand_in("good")
    path = project.features_path(add(project))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    CommandEngine().profile(project)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("counts", [(), (0, 0)])
def test_without_nuclei_nothing_is_run(project, stand_in, counts, add):
    stand_in("exit")
    for number, count in enumerate(counts):
        add(project, count, number=number + 1)
    CommandEngine().profile(project)
    assert project.index_path.is_file()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "exit",
            r"exit status 1; the end of its output:\n(.*\n)*ValueError: no such layer: avg_pool",
        ),
        ("killed", r"killed by SIGKILL \(usually: not enough memory\)"),
        ("nothing", r"no features for plate LT0001_02 well A4 frame 50 (.*\n)+.*gpu 0"),
        ("truncated", r"features of plate LT0001_02 well A4 frame 50 in .*1\.npz cannot be read"),
        ("other", r"frame 50 in .* cannot be read: .*features"),
        ("short", r"frame 50 have shape \(1, 1280\) instead of \(2, 1280\)"),
        ("narrow", r"shape \(2, 100\) instead of \(2, 1280\)"),
        ("nan", "frame 50 are not all finite"),
        ("constant", r"all 2 nuclei are the same number: the checkpoint tiny\.h5"),
    ],
)
def test_failures_say_which_image_and_what_was_printed(project, stand_in, how, message, add):
    stand_in(how)
    add(project)
    with pytest.raises(ProfileError, match=message):
        CommandEngine().profile(project)


@pytest.mark.parametrize(("how", "count"), [("untrained", 2), ("untrained", 1), ("alike", 2)])
def test_features_that_hardly_vary_are_a_warning(project, stand_in, caplog, add, how, count):
    stand_in(how)
    add(project, count)
    with caplog.at_level(logging.WARNING, "idrstream"):
        CommandEngine().profile(project)
    assert "tiny.h5 looks untrained" in caplog.text


@pytest.mark.parametrize("how", ["hang", "stubborn"])
def test_a_command_that_hangs_is_ended(project, stand_in, monkeypatch, how, add):
    from idrstream.profile import command as _command

    monkeypatch.setattr(_command, "_GRACE_S", 0.5)
    stand_in(how)
    add(project)
    with pytest.raises(ProfileError, match=r"not done after 5 s and was ended(.*\n)*.*hanging"):
        CommandEngine(timeout_s=5).profile(project)
    assert not alive(int((project.root / "hanging").read_text()))


def test_close_ends_a_running_command(project, stand_in, add):
    stand_in("hang")
    add(project)
    engine = CommandEngine()
    errors = []

    def profile():
        try:
            engine.profile(project)
        except ProfileError as error:
            errors.append(error)

    thread = threading.Thread(target=profile)
    thread.start()
    deadline = time.monotonic() + 60
    while not (project.root / "hanging").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    engine.close()
    thread.join(60)
    assert not thread.is_alive()
    assert "SIGTERM" in str(errors[0])


def test_only_the_end_of_much_output_is_kept(project, stand_in, add):
    stand_in("chatty")
    add(project)
    with pytest.raises(ProfileError) as caught:
        CommandEngine().profile(project)
    assert "line 19999" in str(caught.value)
    assert "line 100 " not in str(caught.value)
    assert len(str(caught.value)) < 30_000


def test_the_working_directory_holds_nothing_but_the_index(
    project, stand_in, tmp_path, monkeypatch, add
):
    """A folder of the plate's name in the working directory would be taken for the images'."""
    (tmp_path / "LT0001_02").mkdir()
    monkeypatch.chdir(tmp_path)
    stand_in("nothing")
    add(project)
    with pytest.raises(ProfileError, match=r"cwd .*inputs/metadata\n"):
        CommandEngine().profile(project)
    assert os.listdir(project.index_path.parent) == ["index.csv"]  # noqa: PTH208


def test_deepprofiler_not_installed_is_the_users_matter(project, monkeypatch, add):
    add(project)
    monkeypatch.setattr(
        CommandEngine,
        "command",
        lambda self, project: [
            sys.executable,
            "-c",
            "import sys; sys.exit('python: No module named deepprofiler')",
        ],
    )
    with pytest.raises(MissingToolError, match=r"pip install .idrstream.deepprofiler"):
        CommandEngine().profile(project)


def test_a_command_that_cannot_be_started(project, monkeypatch, add):
    add(project)
    monkeypatch.setattr(engine_module.sys, "executable", "/no/such/python")
    with pytest.raises(ProfileError, match="cannot be started"):
        CommandEngine().profile(project)


def test_a_silent_failure_says_so(project, monkeypatch, add):
    add(project)
    monkeypatch.setattr(
        CommandEngine,
        "command",
        lambda self, project: [sys.executable, "-c", "raise SystemExit(7)"],
    )
    with pytest.raises(ProfileError, match="exit status 7; it printed nothing"):
        CommandEngine().profile(project)


def test_an_interrupt_ends_the_command(tmp_path):
    processes = []

    def interrupted(process):
        processes.append(process)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_command(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            cwd=tmp_path,
            env=dict(os.environ),
            timeout_s=600,
            started=interrupted,
        )
    assert processes[0].poll() is not None
