"""CellProfiler's measurements as an engine of a stream."""

from __future__ import annotations

import importlib.metadata
import queue
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from idrstream.config import ProfileSettings
from idrstream.errors import ProfileError
from idrstream.packages import require_extra
from idrstream.profile.checks import check_features
from idrstream.profile.protocol import FeatureEngine
from idrstream.records import Features, Frame, Objects
from idrstream.workers.process import DiedError, WorkerProcess
from idrstream.workers.threads import all_processors

# One thread each: there are as many processes as processors.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}  # fmt: skip


class ClassicalEngine(FeatureEngine):
    """Measures size, shape, intensity, texture and more of every kind of objects, by cp_measure.

    Each kind of objects of each frame is measured in a process, several at a time: the measuring
    holds Python's lock, so threads gain nothing. The processes start with the first frame and stay
    until `close`. A measurement that is not defined for an object is NaN, and so are all of an
    object without a pixel.

    Source: Muñoz et al., cp_measure, arXiv:2507.01163 (2025); Stirling et al., CellProfiler 4, BMC
    Bioinformatics 22, 433 (2021).

    Parameters
    ----------
    settings : ProfileSettings, optional
        Families of measurements, number of processes and time limit.
    """

    def __init__(self, settings: ProfileSettings | None = None) -> None:
        settings = settings or ProfileSettings()
        self._families = settings.classical_features
        self._count = settings.classical_processes or all_processors()
        self._timeout_s = settings.profile_timeout_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._idle: queue.SimpleQueue[WorkerProcess | None] = queue.SimpleQueue()
        self._busy: set[WorkerProcess] = set()
        self._started = False

    def describe(self) -> dict[str, object]:
        """Return what changes a result: what is measured, and that it is cp_measure."""
        return {"name": "classical", "features": list(self._families)}

    def load(self) -> None:
        """Check that cp_measure is installed.

        Raises
        ------
        idrstream.errors.MissingToolError
            With the command that installs it.
        """
        require_extra("cp_measure", "classical", 'the engine "classical"')

    def versions(self) -> dict[str, str]:
        """Return the version of cp_measure."""
        self.load()
        return {"cp-measure": importlib.metadata.version("cp-measure")}

    def profile(self, frames: Sequence[Frame], objects: Sequence[Objects]) -> list[Features]:
        """Return the measurements of all kinds of objects of each frame.

        Raises
        ------
        idrstream.errors.ProfileError
            When a process fails, or takes longer than the limit.
        """
        self.load()
        with self._lock:
            self._stop.clear()
            self._start()
            jobs = [
                (frame, of, kind)
                for frame, of in zip(frames, objects, strict=True)
                for kind in of.kinds
            ]
            with ThreadPoolExecutor(max(1, min(self._count, len(jobs)))) as threads:
                found = iter(list(threads.map(self._measure, jobs)))
        features = [_side_by_side(of, [next(found) for _ in of.kinds]) for of in objects]
        check_features(features, frames, objects)
        return features

    def interrupt(self) -> None:
        """End the processes; a running `profile` raises `ProfileError`."""
        self._stop.set()
        for worker in list(self._busy):
            worker.kill()

    def close(self) -> None:
        """End the processes; the next call would start new ones."""
        self.interrupt()
        with self._lock:
            while self._started and not self._idle.empty():
                worker = self._idle.get()
                if worker is not None:
                    worker.end()
            self._started = False

    def _start(self) -> None:
        """Let as many processes work as there may be; each starts when it is needed."""
        if not self._started:
            for _ in range(self._count):
                self._idle.put(None)
            self._started = True

    def _measure(self, job: tuple[Frame, Objects, Objects]) -> Features:
        """Return the measurements of one kind of objects of a frame, from the next free process."""
        frame, _, objects = job
        rows = np.ascontiguousarray(objects.table["label"], np.int32)
        labels, pixels = np.ascontiguousarray(objects.labels, np.int32), frame.pixels
        if not len(rows):  # as an empty tile of a slide: what is sent only tells the columns
            labels, pixels = labels[:1, :1], pixels[:, :1, :1]
        request = {
            "kind": objects.name, "families": self._families, "channels": frame.channels,
            "shape": labels.shape, "rows": len(rows), "dtype": pixels.dtype.str,
        }  # fmt: skip
        body = b"".join([labels.tobytes(), rows.tobytes(), pixels.tobytes()])
        worker = self._idle.get()
        try:
            if self._stop.is_set():
                raise ProfileError("the profiling was stopped")
            if worker is None:
                command = [sys.executable, "-m", "idrstream.profile.classical.worker"]
                worker = WorkerProcess(lambda _: command, "classical", _ENVIRONMENT)
            self._busy.add(worker)
            header, answer = worker.ask(request, self._timeout_s, body)
            worker.forget()
        except DiedError as error:
            if worker is not None:
                worker.end()
            said = "was stopped" if self._stop.is_set() else f"failed: its process {error}"
            raise ProfileError(f"the measuring of {frame.name} {said}") from error
        finally:
            if worker is not None:
                self._busy.discard(worker)
            self._idle.put(worker if worker is not None and worker.alive else None)
        if "error" in header:
            raise ProfileError(f"{frame.name} cannot be measured: {header['error']}")
        columns = tuple(header["columns"])
        values = np.frombuffer(answer, np.float32).reshape(len(rows), len(columns))
        return Features(objects.name, columns, values)


def _side_by_side(objects: Objects, found: Sequence[Features]) -> Features:
    columns = tuple(name for features in found for name in features.columns)
    return Features(objects.name, columns, np.hstack([features.values for features in found]))
