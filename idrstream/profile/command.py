"""Runs a command to its end, with a time limit and a memory of its last output."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_TAIL_LINES = 60
_LINE_LENGTH = 400
_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended.

    Attributes
    ----------
    returncode : int
        Exit status; negative is the signal that ended it.
    timed_out : bool
        Whether it was ended because of the time limit.
    tail : str
        The last lines of its output and errors together.
    """

    returncode: int
    timed_out: bool
    tail: str


def run_command(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    started: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
) -> Finished:
    """Run a command; end it with all its children when time is up.

    Its input is a pipe that nothing is written to and that ends when this process does, so that
    a command that watches it does not outlive us.

    Parameters
    ----------
    command : sequence of str
        Program and arguments; no shell.
    cwd : Path
        Its working directory.
    env : Mapping
        Its whole environment.
    timeout_s : float
        Seconds until it is ended.
    started : callable
        Is given the process, so that another thread can `end` it.

    Raises
    ------
    OSError
        When it cannot be started.
    """
    # A session of its own, so that its children can be ended with it and Ctrl-C in the
    # terminal reaches only us: we end it in our own time.
    process = subprocess.Popen(
        list(command),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    lines: deque[str] = deque(maxlen=_TAIL_LINES)
    assert process.stdout is not None  # noqa: S101, it is a pipe
    reader = threading.Thread(target=_keep_tail, args=(process.stdout, lines), daemon=True)
    reader.start()
    timed_out = False
    try:
        started(process)
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        end(process)
        assert process.stdin is not None  # noqa: S101, it is a pipe
        process.stdin.close()
    # A grandchild outside the group may still hold the pipe: do not wait for it.
    reader.join(_GRACE_S)
    return Finished(process.returncode, timed_out, "\n".join(lines))


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: politely first, then for sure. Ended ones are left alone."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _keep_tail(stream: IO[bytes], lines: deque[str]) -> None:
    with stream:
        while line := stream.readline(_LINE_LENGTH):
            text = line.decode(errors="replace").strip()
            if text:
                lines.append(text)
