"""The process that DeepProfiler works in."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from idrstream.config import ProfileSettings
from idrstream.errors import ProfileError
from idrstream.profile.deepprofiler.project import DeepProfilerProject
from idrstream.profile.deepprofiler.python import (
    deepprofiler_python,
    deepprofiler_versions,
    missing_deepprofiler,
)
from idrstream.workers.process import DiedError, WorkerProcess

_log = logging.getLogger("idrstream.profile")

_START_TIMEOUT_S = 300.0
_WORKER = Path(__file__).with_name("worker.py")
# Isolated: neither our PYTHONPATH nor the folder of the script is where it looks for modules.
_PYTHON_FLAGS = ("-I", "-X", "utf8", "-W", "ignore")
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Not all of the GPU at once: the segmentation needs some of it.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}


class DeepProfilerProcess:
    """DeepProfiler in a process of its own, with a model that is built once.

    The process is started at the first call and again when it died, hung or grew; it ends with
    this process, also when that is killed. Thread-safe; one call at a time.

    Parameters
    ----------
    settings : ProfileSettings
        DeepProfiler's Python, number of the GPU, and time limit of a call.
    memory_limit_bytes : int, optional
        A process that holds more after a call is replaced for the next one; by default half of
        the machine's memory.
    """

    def __init__(self, settings: ProfileSettings, memory_limit_bytes: int | None = None) -> None:
        self._gpu = settings.dp_gpu
        self._python = deepprofiler_python(settings)
        self._timeout_s = settings.profile_timeout_s
        self._memory_limit_bytes = memory_limit_bytes or _physical_memory_bytes() // 2
        self._lock = threading.Lock()
        self._worker: WorkerProcess | None = None
        self._interrupted = False

    def versions(self) -> dict[str, str]:
        """Return the versions of DeepProfiler and TensorFlow.

        Raises
        ------
        idrstream.errors.MissingToolError
            When DeepProfiler is not installed; with the commands that install it.
        """
        return deepprofiler_versions(self._python)

    def profile(self, project: DeepProfilerProject) -> str:
        """Write the features of a project; return what the process printed meanwhile.

        When the process dies at it, it is tried once more with a new one.

        Raises
        ------
        idrstream.errors.ProfileError
            When DeepProfiler failed, died twice or took too long; the message quotes the end of
            its output.
        idrstream.errors.MissingToolError
            When DeepProfiler is not installed.
        """
        with self._lock:
            self._interrupted = False
            deadline = time.monotonic() + self._timeout_s
            try:
                return self._ask(project, deadline)
            except _DiedError as error:
                _log.warning("DeepProfiler's process died and is restarted: %s", error)
                return self._ask(project, deadline)

    def interrupt(self) -> None:
        """End the call that is running, and the process; the next batch starts a new one."""
        self._interrupted = True
        worker = self._worker
        if worker is not None:
            worker.kill()

    def close(self) -> None:
        """End the process; the next batch would start a new one."""
        self.interrupt()
        with self._lock:
            self._end()

    def _command(self, folder: str) -> list[str]:
        return [self._python, *_PYTHON_FLAGS, str(_WORKER), folder]

    def _ask(self, project: DeepProfilerProject, deadline: float) -> str:
        for image in project.images:
            # DeepProfiler takes an image whose features are there, even half, for done.
            project.features_path(image).unlink(missing_ok=True)
        worker = self._ready()
        request = {"root": str(project.root), "config": project.config_name}
        try:
            reply, _ = worker.ask(request, max(0.0, deadline - time.monotonic()))
        except DiedError as error:
            said = worker.said()
            died = not worker.alive
            self._end()
            if self._interrupted:
                raise ProfileError("the profiling was stopped") from error
            if died:
                raise _DiedError(
                    f"DeepProfiler's process {error.what} (when killed, usually: not enough "
                    f"memory){quote(said)}"
                ) from error
            raise ProfileError(
                f"DeepProfiler was not done after {self._timeout_s:g} s and was ended; make "
                f"batches smaller or the limit longer{quote(said)}"
            ) from error
        said = worker.said()
        worker.forget()
        if "error" in reply:
            # Out of memory or a broken session: the next batch gets a process without a past.
            self._end()
            raise ProfileError(
                f"DeepProfiler failed: {reply['error']}: {reply['message']}{quote(said)}"
            )
        self._look_at_size(worker)
        return said

    def _look_at_size(self, worker: WorkerProcess) -> None:
        held = resident_bytes(worker.pid)
        if held > self._memory_limit_bytes:
            _log.warning(
                "DeepProfiler's process holds %.1f GB and is restarted for the next call",
                held / 1e9,
            )
            self._end()

    def _ready(self) -> WorkerProcess:
        if self._worker is not None and self._worker.alive:
            return self._worker
        self._end()
        started = time.monotonic()
        try:
            worker = WorkerProcess(
                self._command, "deepprofiler", {**_ENVIRONMENT, "CUDA_VISIBLE_DEVICES": self._gpu}
            )
        except OSError as error:
            raise missing_deepprofiler(self._python, str(error)) from error
        self._worker = worker
        try:
            reply, _ = worker.receive(_START_TIMEOUT_S)
        except DiedError as error:
            said = worker.said()
            self._end()
            raise ProfileError(
                f"DeepProfiler did not start: it {error.what}{quote(said)}"
            ) from error
        if "error" in reply:
            self._end()
            raise missing_deepprofiler(self._python, reply["message"])
        _log.debug("DeepProfiler started in %.1f s", time.monotonic() - started)
        return worker

    def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()


class _DiedError(ProfileError):
    """The process ended while it was at a call."""


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds; 0 where that cannot be seen."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _physical_memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def quote(said: str) -> str:
    """Return what a process printed, as the end of a message."""
    return f"; the end of its output:\n{said}" if said else "; it printed nothing"
