"""Run a program under a watchdog: keep its output, stop it when its files stop growing."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from idrstream.errors import MissingToolError

_TAIL_BYTES = 65536


class StoppedError(Exception):
    """The watchdog stopped the program."""


class TimeLimitError(StoppedError):
    """It ran longer than allowed."""


def run_watched(
    command: Sequence[str],
    bytes_written: Callable[[], int],
    *,
    timeout_s: float,
    stall_s: float,
    poll_s: float = 0.5,
) -> tuple[str, int]:
    """Run a program to its end, or stop it when its files do not grow.

    Parameters
    ----------
    command : sequence of str
        Argument list; run without a shell and with standard input closed.
    bytes_written : callable
        Returns how many bytes it has written so far.
    timeout_s : float
        Time limit.
    stall_s : float
        Time limit without growth.
    poll_s : float
        Time between two checks.

    Returns
    -------
    str
        The end of its output on both streams.
    int
        Its exit status: negative for a signal, 127 if there is no such program.

    Raises
    ------
    StoppedError
        If nothing grew for too long; the program and its children have ended.
    TimeLimitError
        Likewise, at the time limit.
    MissingToolError
        If the system refuses to run it.
    """
    with tempfile.TemporaryFile() as output:
        try:
            # An own session, so that the program and its children can be stopped together.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError:
            return "", 127
        except OSError as error:
            msg = f"{command[0]} cannot be run: {error.strerror}"
            raise MissingToolError(msg) from error
        try:
            _watch(process, bytes_written, timeout_s=timeout_s, stall_s=stall_s, poll_s=poll_s)
        finally:
            _stop(process)
        return _tail(output), process.returncode


def read_tail(path: Path) -> str:
    """Return the end of a log file, on lines of its own."""
    with path.open("rb") as file:
        return f"\n{_tail(file)}"


def _watch(
    process: subprocess.Popen[bytes],
    bytes_written: Callable[[], int],
    *,
    timeout_s: float,
    stall_s: float,
    poll_s: float,
) -> None:
    started = grown = time.monotonic()
    seen = bytes_written()
    while True:
        try:
            process.wait(timeout=poll_s)
        except subprocess.TimeoutExpired:
            pass
        else:
            return
        now, size = time.monotonic(), bytes_written()
        if size != seen:
            seen, grown = size, now
        if now - grown >= stall_s:
            msg = f"no growth for {stall_s:g} s at {seen:,} bytes"
            raise StoppedError(msg)
        if now - started >= timeout_s:
            msg = f"at {seen:,} bytes"
            raise TimeLimitError(msg)


def _stop(process: subprocess.Popen[bytes], patience_s: float = 5.0) -> None:
    """Terminate the process and its children; kill them if they do not end."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=patience_s)
        except (ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
            continue


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    return file.read().decode("utf-8", "replace")
