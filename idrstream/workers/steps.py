"""Where the time and the memory go: seconds and peak memory of each step of a run.

Steps are marked in the code by ``with step(name):``; that costs nothing unless a `StepClock` runs.
Steps of several threads run side by side, so their seconds may add up to more than the run took,
and the memory of a step is that of the whole process while it ran.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

_SAMPLE_S = 0.02
_MIB = 1 << 20


class StepCall(NamedTuple):
    """One passage of a step.

    Attributes
    ----------
    step : str
        Its name.
    begun_s, seconds : float
        When it began since the clock was started, and how long it took.
    peak_bytes : int
        Largest memory of the process meanwhile.
    read_bytes : int
        What was received of files or over the network, as far as `count_read` was told.
    """

    step: str
    begun_s: float
    seconds: float
    peak_bytes: int
    read_bytes: int = 0


@dataclass(slots=True)
class _Running:
    step: str
    begun: float
    peak_bytes: int
    read_bytes: int = 0


class StepClock:
    """Measures the steps of a run; one at a time.

    Examples
    --------
    >>> with StepClock() as clock, step("read"):
    ...     pass
    >>> clock.calls[0].step
    'read'
    """

    def __init__(self) -> None:
        self.calls: list[StepCall] = []
        self.seconds = 0.0
        self._lock = threading.Lock()
        self._running: dict[int, _Running] = {}
        self._here = threading.local()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="idrstream-steps", daemon=True)
        self._begun = 0.0

    def __enter__(self) -> StepClock:
        """Start the clock."""
        _Active.clock = self
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the clock."""
        self.seconds = time.monotonic() - self._begun
        _Active.clock = None
        self._stop.set()
        self._thread.join()

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Measure what runs inside."""
        running = _Running(name, time.monotonic(), memory_bytes())
        key = id(running)
        with self._lock:
            self._running[key] = running
        outer, self._here.step = getattr(self._here, "step", None), running
        try:
            yield
        finally:
            self._here.step = outer
            ended = time.monotonic()
            now = memory_bytes()
            with self._lock:
                del self._running[key]
                self.calls.append(
                    StepCall(
                        name,
                        running.begun - self._begun,
                        ended - running.begun,
                        max(running.peak_bytes, now),
                        running.read_bytes,
                    )
                )

    def count_read(self, size_bytes: int) -> None:
        """Add to what the innermost step of this thread has read."""
        running = getattr(self._here, "step", None)
        if running is not None:
            running.read_bytes += size_bytes

    def table(self) -> str:
        """Return the steps as a table: calls, seconds, share of all steps, memory, bytes read."""
        names = list(dict.fromkeys(call.step for call in self.calls))
        total = sum(call.seconds for call in self.calls) or 1.0
        lines = [
            f"{'step':<14}{'calls':>7}{'seconds':>10}{'share':>8}{'peak memory':>14}{'read':>12}"
        ]
        for name in names:
            of = [call for call in self.calls if call.step == name]
            seconds = sum(call.seconds for call in of)
            peak = max(call.peak_bytes for call in of) / _MIB
            read = sum(call.read_bytes for call in of)
            lines.append(
                f"{name:<14}{len(of):>7}{seconds:>10.1f}{seconds / total:>8.1%}{peak:>10,.0f} MiB"
                + (f"{read / _MIB:>8,.1f} MiB" if read else "")
            )
        peak = _peak() / _MIB
        lines.append(f"{'whole run':<14}{'':>7}{self.seconds:>10.1f}{'':>8}{peak:>10,.0f} MiB")
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Return every call of a step as CSV."""
        lines = ["step,begun_s,seconds,peak_bytes,read_bytes"]
        lines += [
            f"{call.step},{call.begun_s:.3f},{call.seconds:.3f},{call.peak_bytes},{call.read_bytes}"
            for call in sorted(self.calls, key=lambda call: call.begun_s)
        ]
        return "\n".join(lines) + "\n"

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            now = memory_bytes()
            with self._lock:
                for running in self._running.values():
                    running.peak_bytes = max(running.peak_bytes, now)


class _Active:
    clock: StepClock | None = None


@contextmanager
def step(name: str) -> Iterator[None]:
    """Mark a step of the run, which a running `StepClock` measures."""
    clock = _Active.clock
    if clock is None:
        yield
        return
    with clock.measured(name):
        yield


def count_read(size_bytes: int) -> None:
    """Tell a running `StepClock` what the step of this thread has read."""
    clock = _Active.clock
    if clock is not None:
        clock.count_read(size_bytes)


def memory_bytes() -> int:
    """Return the memory that this process holds now; where it cannot be known the most so far."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123, many times a second
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return _peak()


def _peak() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)
