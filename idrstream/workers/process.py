"""A helper process that answers requests, as its parent uses it."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import idrstream
from idrstream.workers.messages import FOLDER_VARIABLE, PREFIX, write_message

_MAX_HEADER_BYTES = 1 << 20
_TAIL_BYTES, _TAIL_LINES = 20_000, 60


class DiedError(Exception):
    """The process is gone or does not answer.

    Attributes
    ----------
    what : str
        What happened, without what it said.
    """

    def __init__(self, what: str, said: str = "") -> None:
        super().__init__(what + said)
        self.what = what


class WorkerProcess:
    """The process, its pipes and its folder.

    Parameters
    ----------
    command : callable
        Given the folder it works in, returns program and arguments.
    kind : str, default: "java"
        Becomes part of the folder's name.
    environment : Mapping[str, str], optional
        Variables beside those of this process.
    """

    def __init__(
        self,
        command: Callable[[str], list[str]],
        kind: str = "java",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = tempfile.mkdtemp(prefix=f"idrstream-{kind}-")
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, lives as long as we
        try:
            self._popen = subprocess.Popen(
                command(self.folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                cwd=self.folder,
                env={
                    **_environment(),
                    **(environment or {}),
                    FOLDER_VARIABLE: os.path.realpath(self.folder),
                },
                # Ctrl-C in the terminal is ours to handle.
                start_new_session=True,
            )
        except OSError:
            self._stderr.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        # Also at the interpreter's exit, and when the reader is forgotten.
        self.end = weakref.finalize(self, _end, self._popen, self._stderr, self.folder, os.getpid())

    @property
    def pid(self) -> int:
        """Process number of the worker."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._popen.poll() is None

    def kill(self) -> None:
        """End it at once; whoever waits for its answer gets `DiedError`."""
        self._popen.kill()

    def said(self) -> str:
        """Return the last lines of what it said beside its answers."""
        return "\n".join(self._last(_TAIL_BYTES).splitlines()[-_TAIL_LINES:])

    def forget(self) -> None:
        """Forget what it said: in a stream of days that would fill the disk."""
        self._stderr.seek(0)
        self._stderr.truncate()

    def ask(
        self, request: dict[str, Any], timeout_s: float, body: bytes = b""
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request and return the header and body of the reply."""
        assert self._popen.stdin is not None  # noqa: S101, it was asked for
        try:
            write_message(self._popen.stdin, request, body)
        except OSError as error:
            raise self._died() from error
        return self.receive(timeout_s)

    def receive(self, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """Return the header and body of the next message."""
        deadline = time.monotonic() + timeout_s
        length = PREFIX.unpack(self._read(PREFIX.size, deadline, timeout_s))[0]
        if length > _MAX_HEADER_BYTES:
            msg = "sent something that is not a message"
            raise DiedError(msg)
        header: dict[str, Any] = json.loads(self._read(length, deadline, timeout_s))
        return header, self._read(int(header["nbytes"]), deadline, timeout_s)

    def _read(self, n_bytes: int, deadline: float, timeout_s: float) -> bytes:
        assert self._popen.stdout is not None  # noqa: S101, it was asked for
        descriptor = self._popen.stdout.fileno()
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while n_bytes > 0:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise DiedError(f"did not answer within {timeout_s:g} s", self._said())
                part = os.read(descriptor, min(n_bytes, 1 << 20))
                if not part:
                    raise self._died()
                parts.append(part)
                n_bytes -= len(part)
        return b"".join(parts)

    def _died(self) -> DiedError:
        try:
            status: int | str = self._popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = "unknown"
        return DiedError(f"ended (exit status {status})", self._said())

    def _said(self) -> str:
        words = " ".join(self._last(2000).split())[-500:]
        return f"; it said: {words}" if words else ""

    def _last(self, n_bytes: int) -> str:
        # The place in the file is shared with the process: at the end again after reading.
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - n_bytes))
        return self._stderr.read().decode("utf-8", "replace")


def _end(popen: subprocess.Popen[bytes], stderr: IO[bytes], folder: str, owner: int) -> None:
    if os.getpid() != owner:
        return  # a fork of the caller ends: the process is not its own
    for pipe in (popen.stdin, popen.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue  # a broken pipe: it is gone already
    try:
        popen.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
    stderr.close()
    shutil.rmtree(folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Return an environment in which the process finds this very package."""
    package = str(Path(idrstream.__file__).absolute().parents[1])
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    paths = [package, *(str(Path(path).absolute()) for path in given)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
