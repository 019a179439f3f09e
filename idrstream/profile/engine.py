"""What computes the features of a batch."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from typing import Protocol, runtime_checkable

from idrstream.errors import MissingToolError, ProfileError
from idrstream.profile.command import Finished, end, run_command
from idrstream.profile.deepprofiler.outputs import check_features
from idrstream.profile.deepprofiler.project import DeepProfilerProject
from idrstream.workers import guarded as _guarded

_log = logging.getLogger("idrstream.profile")

_DEFAULT_TIMEOUT_S = 3600.0

QUIET = {
    "PYTHONIOENCODING": "utf-8",
    "PYTHONSAFEPATH": "1",
    "PYTHONWARNINGS": "ignore",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Not all of the GPU at once: the segmentation needs some of it.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}
"""Environment of DeepProfiler's processes."""


@runtime_checkable
class Engine(Protocol):
    """Computes the features of all nuclei in a project.

    After `profile` returned, every frame with nuclei has a features file at
    ``project.features_path(image)``: an npz with ``features`` (n, d) float32, ``locations`` and
    ``metadata``, as DeepProfiler writes it. An engine may keep a model or a process from one
    batch to the next; `close` ends it.
    """

    def profile(self, project: DeepProfilerProject) -> None:
        """Compute the features of the batch in `project`.

        Raises
        ------
        idrstream.errors.ProfileError
            When that failed, or features are missing or wrong.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds; it may be called twice."""
        ...


class CommandEngine:
    """DeepProfiler's own command, run anew for every batch.

    Parameters
    ----------
    gpu : str, default: "0"
        Number of the GPU to use when there is one; "-1" for none.
    timeout_s : float, default: 3600
        Seconds after which the command is ended.
    """

    def __init__(self, gpu: str = "0", timeout_s: float = _DEFAULT_TIMEOUT_S) -> None:
        self._gpu = gpu
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def describe(self) -> dict[str, object]:
        """Return what changes a result: that it is DeepProfiler."""
        return {"name": "deepprofiler"}

    def profile(self, project: DeepProfilerProject) -> None:
        """Write ``index.csv``, run the command, and check what it wrote.

        Nothing is run when no frame of the batch has nuclei.

        Raises
        ------
        idrstream.errors.ProfileError
            When the command failed, was ended, took too long, or left features out; the message
            quotes the end of its output.
        idrstream.errors.MissingToolError
            When DeepProfiler is not installed.
        """
        project.write_index()
        if not any(image.nuclei for image in project.images):
            _log.info("No nuclei in this batch: DeepProfiler is not run")
            return
        # DeepProfiler takes an image whose features are there, even half, for done.
        forget_features(project)
        finished = self._run(project)
        _check_end(finished, self._timeout_s)
        try:
            check_features(project)
        except ProfileError as error:
            raise ProfileError(f"{error}{_quote(finished)}") from error

    def close(self) -> None:
        """End the command when one is running."""
        with self._lock:
            if self._process is not None:
                end(self._process)

    def command(self, project: DeepProfilerProject) -> list[str]:
        """Return the command that is run for a project."""
        options = {"gpu": self._gpu, "root": str(project.root), "config": project.config_name}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, _guarded.__file__, "deepprofiler", *arguments, "profile"]

    def _run(self, project: DeepProfilerProject) -> Finished:
        try:
            return run_command(
                self.command(project),
                # A folder with nothing but index.csv: Python would import modules from the
                # working directory, and DeepProfiler takes a folder there that has a plate's
                # name for the folder of its images.
                cwd=project.index_path.parent,
                env={**os.environ, **QUIET},
                timeout_s=self._timeout_s,
                started=self._remember,
            )
        except OSError as error:
            raise ProfileError(f"DeepProfiler cannot be started: {error}") from error
        finally:
            self._remember(None)

    def _remember(self, process: subprocess.Popen[bytes] | None) -> None:
        with self._lock:
            self._process = process


def forget_features(project: DeepProfilerProject) -> None:
    """Remove the features files of a batch that is to be profiled."""
    for image in project.images:
        project.features_path(image).unlink(missing_ok=True)


def missing_deepprofiler(why: str) -> MissingToolError:
    """Return the error that says how to get DeepProfiler."""
    return MissingToolError(
        f"DeepProfiler is not installed for {sys.executable} ({why}): "
        "pip install 'idrstream[deepprofiler]', or use engine = \"torch\", which needs none"
    )


def _check_end(finished: Finished, timeout_s: float) -> None:
    if finished.timed_out:
        raise ProfileError(
            f"DeepProfiler was not done after {timeout_s:g} s and was ended; make batches "
            f"smaller or the limit longer{_quote(finished)}"
        )
    if finished.returncode == 0:
        return
    if finished.tail.endswith("No module named deepprofiler"):
        raise missing_deepprofiler("No module named deepprofiler")
    if finished.returncode < 0:
        name = signal.Signals(-finished.returncode).name
        hint = " (usually: not enough memory)" if name == "SIGKILL" else ""
        raise ProfileError(f"DeepProfiler was killed by {name}{hint}{_quote(finished)}")
    raise ProfileError(
        f"DeepProfiler ended with exit status {finished.returncode}{_quote(finished)}"
    )


def _quote(finished: Finished) -> str:
    return f"; the end of its output:\n{finished.tail}" if finished.tail else "; it printed nothing"
