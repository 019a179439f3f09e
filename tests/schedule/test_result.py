"""The compact log of finished batches returns what was added, in the order of the plan."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idrstream.records import ImageTask, Published, Skipped
from idrstream.schedule.events import BatchFinished
from idrstream.schedule.result import BatchLog
from idrstream.screen import Plan, well_name

TASKS = tuple(ImageTask("P", well_name(n), n, (1,), row=n - 1) for n in range(1, 21))
PLAN = Plan(TASKS, 1, tuple(range(20)))


@st.composite
def finished(draw, number):
    published, error = None, ("ProfileError", draw(st.sampled_from(["", "exit 1"])))
    if draw(st.booleans()):
        name = draw(st.sampled_from([f"batch_{number}.csv.gz", "batch_1.parquet", "other"]))
        digest = draw(st.sampled_from(["ab" * 32, "", "digest"]))
        published = Published(Path("/out", name), draw(st.integers(0, 9)), digest, 7, "cd" * 32)
        error = ("", "")
    task = TASKS[number]
    skipped = draw(st.sampled_from([(), (Skipped(task, 1, "segment", "KeyError", "x"),)]))
    stages = draw(st.lists(st.sampled_from(["download", "segment", "profile"]), unique=True))
    seconds = {stage: draw(st.floats(0, 1e6)) for stage in stages}
    nuclei = draw(st.integers(0, 10**6))
    return BatchFinished(PLAN.batch(number), published, nuclei, skipped, *error, seconds)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.lists(st.integers(0, 19), unique=True))
def test_it_returns_what_was_added(data, numbers):
    log, events = BatchLog(PLAN), {}
    for number in numbers:
        events[number] = data.draw(finished(number))
        log.add(events[number])
    expected = [events[number] for number in sorted(events)]
    assert list(log) == expected
    assert log == expected
    assert list(log[1:3]) == expected[1:3]
    if expected:
        assert log[-1] == expected[-1]
