"""Time and memory of the steps of a run."""

import subprocess
import sys
import threading

from idrstream.workers.steps import StepClock, step


def test_steps_have_their_calls_and_seconds() -> None:
    with StepClock() as clock:
        with step("small"):
            pass
        with step("large"):
            pass
        threads = [threading.Thread(target=_one, args=("side",)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    calls = {
        name: [c for c in clock.calls if c.step == name] for name in ("small", "large", "side")
    }
    assert [len(of) for of in calls.values()] == [1, 1, 3]
    assert all(call.peak_bytes > 0 for call in clock.calls)
    assert all(0 <= call.seconds <= clock.seconds for call in clock.calls)
    table = clock.table()
    assert "whole run" in table
    assert table.count("MiB") == 4
    assert len(clock.csv().splitlines()) == 6


def test_a_step_has_the_memory_meanwhile() -> None:
    # In a process of its own: here, what earlier tests left may be freed at any time.
    code = """
import numpy as np
from idrstream.workers.steps import StepClock, memory_bytes, step
before = memory_bytes()
with StepClock() as clock:
    with step("large"):
        held = np.ones(8 << 20)
    del held
    with step("after"):
        pass
large, after = (call.peak_bytes - before for call in clock.calls)
assert large >= (64 << 20) * 0.9, large
assert after <= large - (64 << 20) * 0.9, (large, after)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_clock_steps_are_not_kept() -> None:
    with StepClock() as clock:
        pass
    with step("later"):
        pass
    assert not clock.calls


def test_a_step_that_fails_counts() -> None:
    with StepClock() as clock:
        try:
            with step("bad"):
                raise KeyError
        except KeyError:
            pass
    assert [call.step for call in clock.calls] == ["bad"]


def _one(name: str) -> None:
    with step(name):
        sum(range(1000))
