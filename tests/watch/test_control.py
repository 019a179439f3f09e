"""Streams in the background, controlled from this process and from others: real files and runs."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

import idrstream
from idrstream.cli.main import main
from idrstream.errors import ConfigError, JournalError, LockedError, TableError
from idrstream.folder.live import LIVE_NAME, Live, read_live, write_live, write_small
from idrstream.folder.locks import Holder, folder_lock, holder
from idrstream.schedule.events import BatchFinished
from idrstream.watch.control import CONTROL_NAME, STOPPED, ask

PROJECT = Path(__file__).resolve().parents[2]
OWN_FILES = (CONTROL_NAME, LIVE_NAME)


@pytest.fixture(scope="module")
def screen(quick, tmp_path_factory):
    return quick.make_screen(tmp_path_factory.mktemp("screen") / "mirror", plates=1)


@pytest.fixture
def stream(quick, screen, tmp_path):
    stream = quick.make_stream(screen, tmp_path)
    yield stream
    stream.close()


class Gate:
    """A listener that holds the stream after each finished batch until it is told to let go."""

    def __init__(self, batches=1):
        self.reached, self.open = threading.Event(), threading.Event()
        self._batches = batches

    def __call__(self, event):
        if isinstance(event, BatchFinished):
            self._batches -= 1
            if self._batches == 0:
                self.reached.set()
                assert self.open.wait(20)


def until(condition, timeout_s=20.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


class TestBackground:
    def test_gives_what_a_blocking_call_gives(self, quick, screen, stream, tmp_path):
        run = stream.run_stream(quick.table_of(screen), 2, background=True)
        result = run.result(30)
        assert [item.batch.number for item in result.batches] == [0, 1, 2]
        assert run.status().state == "done"
        assert not run.running
        other = quick.make_stream(screen, tmp_path / "blocking")
        other.run_stream(quick.table_of(screen), 2, progress=False)
        assert quick.results(tmp_path / "out") == quick.results(other.final_data_dir)
        assert not [name for name in OWN_FILES if (tmp_path / "out" / name).exists()]
        other.close()

    def test_what_is_wrong_is_raised_by_the_call(self, quick, screen, stream):
        table = quick.table_of(screen)
        with pytest.raises(TableError):
            stream.run_stream(table.assign(Frames="x"), 2, background=True)
        with (
            folder_lock(stream.final_data_dir, "final_data_dir"),
            pytest.raises(LockedError, match="this process"),
        ):
            stream.run_stream(table, 2, background=True)

    def test_what_ends_it_later_is_raised_where_it_is_waited_for(self, quick, screen, stream):
        class NoModel:
            def load(self):
                raise ConfigError("there is no such model")

            def segment(self, frame):
                raise AssertionError

        stream.init_segmentor(NoModel())
        run = stream.run_stream(quick.table_of(screen), 2, background=True)
        with pytest.raises(ConfigError, match="no such model"):
            run.result(20)
        assert "ended by ConfigError: there is no such model" in repr(run)

    def test_pause_resume_and_stop(self, quick, screen, stream):
        gate = Gate()
        run = stream.run_stream(
            quick.table_of(screen), 1, background=True, listeners=[gate],
            batches_in_flight=1,
        )  # fmt: skip
        assert gate.reached.wait(20)
        paused = run.pause()
        gate.open.set()
        assert paused.state == "pausing"  # the gate holds the stream in the middle of a batch
        until(lambda: run.status().state == "paused")
        done = run.status().batches_done
        time.sleep(0.3)
        assert run.status().batches_done == done < 6
        with pytest.raises(TimeoutError):
            run.result(0.01)
        assert "paused" in repr(run)
        assert run.resume().state == "running"
        until(lambda: run.status().batches_done > done or not run.running)
        result = run.result(30)
        assert len(result.batches) == 6
        assert run.stop().state == "done"  # nothing to stop is no error
        with pytest.raises(ConfigError, match="no stream is running"):
            run.pause()

    def test_a_paused_stream_stops_at_once_and_goes_on_later(self, quick, screen, stream):
        gate = Gate()
        run = stream.run_stream(
            quick.table_of(screen), 1, background=True, listeners=[gate],
            batches_in_flight=1,
        )  # fmt: skip
        assert gate.reached.wait(20)
        run.pause()
        gate.open.set()
        until(lambda: run.status().live.phase == "paused")
        status = run.stop()
        assert (status.state, status.stopped_by) == ("stopped", STOPPED)
        assert run.result(1).remaining_batches
        assert stream.resume(progress=False).remaining_batches == ()

    def test_a_stream_that_finishes_while_it_is_paused_ends(self, quick, screen, stream):
        gate = Gate(batches=3)
        run = stream.run_stream(quick.table_of(screen), 2, background=True, listeners=[gate])
        assert gate.reached.wait(20)
        run.pause()
        gate.open.set()
        assert run.result(20).remaining_batches == ()


class TestRequests:
    def test_one_for_another_run_is_not_heeded(self, quick, screen, stream, tmp_path):
        gate = Gate()
        run = stream.run_stream(quick.table_of(screen), 2, background=True, listeners=[gate])
        assert gate.reached.wait(20)
        me = holder(tmp_path / "out")
        earlier = Holder(me.pid, me.host, me.since - 100)  # same process number, another run
        request = {"id": "1", "request": "stop", "holder": asdict(earlier)}
        write_small(tmp_path / "out" / CONTROL_NAME, request)
        gate.open.set()
        assert run.result(20).remaining_batches == ()

    @pytest.mark.parametrize("content", ["", "[1]", "{", '{"holder": {}}', '{"id": 1}'])
    def test_nonsense_is_not_heeded(self, quick, screen, stream, tmp_path, content):
        gate = Gate()
        run = stream.run_stream(quick.table_of(screen), 3, background=True, listeners=[gate])
        assert gate.reached.wait(20)
        (tmp_path / "out" / CONTROL_NAME).write_text(content)
        (tmp_path / "out" / LIVE_NAME).write_text(content)
        assert run.status().state == "running"
        gate.open.set()
        assert run.result(20).remaining_batches == ()

    def test_a_process_that_does_not_answer_is_told(self, tmp_path):
        with (
            folder_lock(tmp_path, "final_data_dir"),
            pytest.raises(LockedError, match="did not answer within"),
        ):
            ask(tmp_path, "pause", timeout_s=0.2)

    def test_what_a_dead_process_said_does_not_count(self, tmp_path):
        dead = Holder(4194304, "here", 1.0)
        write_live(tmp_path, Live(holder=dead, time=1.0, phase="paused"))
        assert read_live(tmp_path, None) is None
        assert read_live(tmp_path, Holder(4194304, "here", 2.0)) is None
        assert read_live(tmp_path, dead).phase == "paused"


def test_attach_needs_an_output_folder(tmp_path):
    with pytest.raises(JournalError, match="not the output folder"):
        idrstream.attach(tmp_path)


@pytest.fixture
def elsewhere(quick, screen, tmp_path):
    """Run a stream of slow batches in another process; give its output folder."""
    script = f"""
        import sys, time
        sys.path[:0] = [{str(PROJECT)!r}, {str(PROJECT / "tests" / "faults")!r}]
        from pathlib import Path
        import quick_parts as quick
        from idrstream.schedule import BatchFinished
        from idrstream.simulate import ScreenSpec
        from types import SimpleNamespace

        def slowly(event):
            if isinstance(event, BatchFinished):
                time.sleep(0.4)

        screen = SimpleNamespace(
            folder=Path({str(screen.folder)!r}), screens_path=Path({str(screen.screens_path)!r}),
            table_path=Path({str(screen.table_path)!r}),
        )
        stream = quick.make_stream(screen, Path({str(tmp_path)!r}))
        stream.run_stream(
            quick.table_of(screen), 1, progress=False, listeners=[slowly],
            batches_in_flight=1,
        )
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stderr=subprocess.PIPE, text=True
    )
    out = tmp_path / "out"
    until(lambda: process.poll() is not None or read_live(out, holder(out)) is not None)
    assert process.poll() is None, process.stderr.read()
    yield out, process
    process.kill()
    process.communicate()


class TestAnotherProcess:
    def test_is_paused_resumed_and_stopped(self, elsewhere, capsys):
        out, process = elsewhere
        handle = idrstream.attach(out)
        assert handle.running
        assert main(["pause", str(out)]) == 0
        assert ": pau" in capsys.readouterr().out
        until(lambda: handle.status().live.phase == "paused")
        done = handle.status().batches_done
        time.sleep(0.6)
        assert handle.status().batches_done == done
        assert handle.status().holder.pid == process.pid
        assert main(["status", str(out)]) == 0
        assert ": paused" in capsys.readouterr().out
        assert main(["resume", str(out)]) == 0  # goes on there, not here
        assert f"process {process.pid}" in capsys.readouterr().out
        until(lambda: handle.status().batches_done > done)
        assert main(["stop", str(out)]) == 0
        assert process.wait(20) == 0
        status = handle.status()
        assert (status.state, status.stopped_by) == ("stopped", STOPPED)
        assert not [name for name in OWN_FILES if (out / name).exists()]

    def test_that_was_killed_is_told_as_died(self, elsewhere):
        out, process = elsewhere
        handle = idrstream.attach(out)
        handle.pause()
        process.kill()
        process.wait()
        assert not handle.running
        assert handle.status().state == "died"
        assert handle.status().live is None
        with pytest.raises(ConfigError, match="no stream is running"):
            handle.resume()

    def test_watch_is_left_by_ctrl_c_and_ends_with_the_stream(self, elsewhere):
        out, process = elsewhere
        command = ["status", str(out), "--watch", "--interval", "0.2"]
        text, code = on_a_terminal(command, interrupt=True, NO_COLOR="1")
        assert code == 130
        assert "Traceback" not in text
        assert not re.search(r"\x1b\[\d*m", text)
        assert process.poll() is None  # the stream goes on
        text, code = on_a_terminal(command)
        assert code == 0
        assert "\x1b[34m" in text  # coloured
        assert re.search(r"\x1b\[\d+F", text)  # drawn again over what was there
        last = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", text.split("F", 1)[1]).replace("\r", "")
        assert "6 of 6 done" in last
        assert max(map(len, last.splitlines())) <= 79


def test_watch_writes_plain_lines_or_json_elsewhere(quick, screen, stream, capsys):
    gate = Gate()
    run = stream.run_stream(quick.table_of(screen), 2, background=True, listeners=[gate])
    assert gate.reached.wait(20)
    threading.Timer(1.5, gate.open.set).start()
    command = ["status", str(run.folder), "--watch", "--interval", "0.3"]
    assert main([*command, "--json"]) == 0
    looks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [looks[0]["state"], looks[-1]["state"]] == ["running", "done"]
    assert looks[0]["live"]["phase"] in ("starting", "running")
    run.wait(20)
    assert main(command) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "done, batches 3/3, images 6/6" in line
    assert "\x1b" not in line


def on_a_terminal(arguments, *, interrupt=False, **environment):
    """Run the command line on a pseudo-terminal; return what it wrote and its exit code."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", **environment}
    env["PYTHONPATH"] = str(PROJECT)
    if "NO_COLOR" not in environment:
        env.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "idrstream", *arguments], stdout=theirs, stderr=theirs,
        stdin=theirs, env=env, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    text, end = "", time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                text += os.read(ours, 65536).decode()
            except OSError:  # its other end is closed
                break
        if interrupt and len(re.findall(r"\x1b\[\d+F", text)) > 1:
            process.send_signal(2)
            interrupt = False
    code = process.wait(10)
    os.close(ours)
    return text, code


@pytest.mark.models
def test_a_detached_stream_outlives_its_command(screen, tmp_path, capsys):
    from idrstream.demo import config_for

    config = tmp_path / "stream.toml"
    config.write_text(
        f"""
        [stream]
        table = '{screen.table_path}'
        tmp_dir = 'tmp'
        final_data_dir = 'out'
        batch_nums = [0]
        batch_size = 1
        [download]
        method = "local"
        root = '{screen.folder}'
        screens_path = '{screen.screens_path}'
        [profile]
        dp_config = '{config_for(96, 128, tmp_path)}'
        """
    )
    out = tmp_path / "out"
    assert main(["run", str(config), "--detach", "--batch-nums", "99"]) == 2
    assert "batch_nums has [99]" in capsys.readouterr().out
    assert main(["run", str(config), "--detach"]) == 0
    pid = int(re.search(r"as process (\d+)", capsys.readouterr().out)[1])
    handle = idrstream.attach(out)
    assert os.getsid(pid) == pid != os.getsid(0)
    handle.wait(120)
    assert handle.status().batches_done == 1
    # The folder is free a moment before the process has said its last words.
    patience = time.monotonic() + 30
    while " of 1 image, " not in (out / "detached.log").read_text():
        assert time.monotonic() < patience
        time.sleep(0.1)
