"""Progress bars, from made-up events."""

from dataclasses import replace

import pytest
from plans import plan_of

from idrstream.records import ImageTask, Published, Skipped
from idrstream.schedule.events import (
    BatchFinished,
    BatchStarted,
    ImageFinished,
    StageFinished,
    StageStarted,
    StreamFinished,
    StreamStarted,
)
from idrstream.schedule.result import RunResult
from idrstream.watch.progress import ProgressBars


@pytest.fixture
def events(tmp_path):
    task = ImageTask("P", "A1", 1, (1,))
    plan = plan_of((task,), batch_size=1)
    batch = plan.batch(0)
    skipped = (Skipped(task, 1, "preprocess", "FrameError", "not valid"),)
    done = BatchFinished(
        batch, Published(tmp_path / "batch_0.csv.gz", 3, "d"), 3, skipped, seconds={"segment": 1.5}
    )
    return [
        StreamStarted(plan),
        BatchStarted(batch),
        StageStarted("segment", batch, task),
        StageStarted("segment", batch, task),
        StageFinished("segment", batch, task, 1.0),
        StageFinished("segment", batch, task, 1.0),
        ImageFinished(batch, task, 3, skipped),
        StageStarted("profile", batch),
        done,
        StreamFinished(RunResult((done,), plan, 2.0)),
    ]


def test_bars_show_batches_images_stages_and_failures(events, capsys, monkeypatch):
    monkeypatch.setattr("idrstream.watch.progress._DRAW_S", 0.0)
    bars = ProgressBars()
    for event in events:
        bars(event)
    shown = capsys.readouterr().err
    for text in ("Batches", "1/1", "now 0", "segment 2", "profile, 1 failed", "done, 1 failed"):
        assert text in shown


def test_a_batch_without_a_table_counts_by_its_images(events, capsys, monkeypatch):
    monkeypatch.setattr("idrstream.watch.progress._DRAW_S", 0.0)
    bars = ProgressBars()
    for event in [*events[:8], replace(events[8], published=None), events[9]]:
        bars(event)
    assert "done, 1 failed" in capsys.readouterr().err


def test_a_batch_that_is_reset_is_counted_once(events, capsys):
    bars = ProgressBars()
    for event in [*events[:7], *events[1:]]:
        bars(event)
    assert "2/1" not in capsys.readouterr().err


def test_bars_outside_a_stream_do_nothing(events, capsys):
    ProgressBars()(events[1])
    assert capsys.readouterr().err == ""
