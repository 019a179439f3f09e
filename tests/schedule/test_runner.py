"""The runner with stages that misbehave on purpose; no image is read here."""

import errno
import logging
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from objects_at import objects_at
from plans import plan_of

from idrstream.config import RunOptions
from idrstream.download import Downloader
from idrstream.errors import (
    DownloadError,
    FrameError,
    MissingToolError,
    MovieError,
    ProfileError,
    RemoteFileNotFoundError,
    SegmentationError,
    StorageError,
    TransientDownloadError,
)
from idrstream.preprocess import BasePreprocessor
from idrstream.records import Frame, ImageTask, Movie, Published, Skipped
from idrstream.run.log import log_events
from idrstream.schedule.events import (
    BatchFinished,
    BatchPublished,
    ImageFinished,
    StageFinished,
    StageStarted,
    StreamFinished,
    StreamStarted,
)
from idrstream.schedule.runner import Runner
from idrstream.schedule.stages import BatchProfiling, DiskNeed, Stages
from idrstream.screen import well_name


@dataclass
class FakeStages(Downloader, BasePreprocessor):
    """Every stage in one; `faults` maps (step, well number or batch) to an exception."""

    folder: object
    faults: dict = field(default_factory=dict)
    skipped_frames: frozenset = frozenset()
    plate_models: set | None = None
    nuclei: int = 3
    calls: list = field(default_factory=list)
    slots: int = 2

    def _call(self, step, key):
        self.calls.append((step, key))
        if (step, key) in self.faults:
            raise self.faults[step, key]

    def download(self, task, folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{task.well_number:05d}_01.ch5"
        path.write_bytes(b"movie")
        self._call("download", task.well_number)
        return Movie(path, task, "fake", 5)

    def wait(self, movie):
        assert movie.path.exists()
        self._call("wait", movie.task.well_number)

    def process(self, movie):
        assert movie.path.exists()
        self._call("process", movie.task.well_number)
        pixels = np.zeros((1, 4, 5), np.uint8)
        return [
            Skipped(movie.task, number, "preprocess", "FrameError", "not valid")
            if (movie.task.well_number, number) in self.skipped_frames
            else Frame(pixels, number, movie.task)
            for number in movie.task.frames
        ]

    def needs_plate_model(self, plate):
        return self.plate_models is not None and plate not in self.plate_models

    def fit_plate(self, plate, movies):
        seen = [movie.task.well_number for movie in movies if movie.path.exists()]
        self._call("fit", tuple(seen))
        self.plate_models.add(plate)

    def segment(self, frames):
        for frame in frames:
            self._call("segment", frame.task.well_number)
        return [objects_at(np.zeros((self.nuclei, 2)), frame.shape) for frame in frames]

    def stages(self):
        slots = [FakeSlot(self) for _ in range(self.slots)]
        return Stages(self, self.wait, self, self.segment, slots)


@dataclass
class FakeSlot(BatchProfiling):
    fake: FakeStages
    added: list = field(default_factory=list)

    def open(self):
        self.fake._call("open", None)

    def profile(self, frames, objects):
        assert len(frames) == len(objects) > 0
        for frame in frames:
            self.fake._call("profile", frame.task.well_number)
        return [self._add(frame) for frame in frames]

    def _add(self, frame):
        try:
            self.fake._call("add", frame.task.well_number)
        except (ValueError, MovieError) as error:
            return error
        self.added.append((frame.task, frame.number))
        return None

    def publish(self, number, tasks):
        assert {task.row for task, _ in self.added} <= {task.row for task in tasks}
        assert tasks[0].row // 2 == number or len(tasks) != 2
        self.fake._call("publish", number)
        path = self.fake.folder / f"batch_{number}.csv.gz"
        path.write_bytes(b"table")
        return Published(path, 1, "digest")

    def clear(self):
        self.added.clear()
        self.fake._call("clear", None)

    def close(self):
        self.added.clear()
        self.fake._call("close", None)

    def expected_need(self, task):
        return DiskNeed(10 * len(task.frames), 5 * len(task.frames))

    def disk_need(self, frame, objects):
        return DiskNeed(10, 5)


@pytest.fixture
def run(tmp_path):
    def start(fake, wells=6, batch_size=2, frames=(1,), events=None, numbers=None):
        tasks = tuple(
            ImageTask("P", well_name(i), i, frames, row=i - 1) for i in range(1, wells + 1)
        )
        events = [] if events is None else events
        before = set(threading.enumerate())
        runner = Runner(
            fake.stages(), tmp_path / "downloads", [events.append, log_events],
            options=RunOptions(downloads_at_once=2),
        )  # fmt: skip
        try:
            runner.run(plan_of(tasks, batch_size, numbers))
        finally:
            assert not (tmp_path / "downloads").exists()
            assert fake.calls[-1] == ("close", None)
            assert set(threading.enumerate()) <= before
            start.events = events
            assert isinstance(events[0], StreamStarted)
            assert isinstance(events[-1], StreamFinished)
        return events[-1].result

    return start


@pytest.fixture
def fake(tmp_path):
    return FakeStages(tmp_path)


def test_all_is_well(run, fake):
    result = run(fake, frames=(1, 2))
    assert [item.published.path.name for item in result.batches] == [
        "batch_0.csv.gz", "batch_1.csv.gz", "batch_2.csv.gz",
    ]  # fmt: skip
    assert result.nuclei == 6 * 2 * 3
    assert not len(result.failures())
    assert result.rerun_batches == ()
    assert result.rerun_call == ""
    assert set(result.batches[0].seconds) == {
        "download", "preprocess", "segment", "profile", "compile",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("step", "stage", "error"),
    [
        ("download", "download", DownloadError("no such file")),
        ("wait", "download", DownloadError("incomplete")),
        ("process", "preprocess", FrameError("unreadable")),
        ("segment", "segment", SegmentationError("no")),
        ("add", "profile", ValueError("a library's own error")),
        ("add", "profile", MovieError("128 x 96 pixels")),
        ("process", "preprocess", KeyError("a bug")),
    ],
)
def test_one_bad_image_never_sinks_its_batch(run, fake, step, stage, error):
    fake.faults = {(step, 3): error}
    result = run(fake)
    assert result.failed_batches == ()
    failures = result.failures()
    assert failures[["Batch", "Plate", "Well", "Stage", "Kind"]].to_numpy().tolist() == [
        [1, "P", "A3", stage, type(error).__name__]
    ]
    assert str(error) in failures["Reason"][0]
    assert result.rerun_call == ("stream.run_stream(data_to_process, batch_size=2, batch_nums=[1])")


def test_one_bad_frame_leaves_the_others(run, fake):
    fake.skipped_frames = frozenset({(2, 5)})
    result = run(fake, frames=(1, 5, 9))
    assert result.nuclei == (6 * 3 - 1) * 3
    assert result.failures()["Frame"].tolist() == [5]
    told = {e.task.row: len(e.skipped) for e in run.events if isinstance(e, ImageFinished)}
    assert told == {0: 0, 1: 1, 2: 0, 3: 0, 4: 0, 5: 0}


def test_a_batch_whose_movies_the_source_does_not_have_is_done(run, fake):
    fake.faults = {("download", row): RemoteFileNotFoundError("no such well") for row in (3, 4)}
    result = run(fake)
    assert result.failed_batches == ()
    assert ("publish", 1) in fake.calls
    assert result.batches[1].nuclei == 0
    assert result.failures()["Kind"].tolist() == ["RemoteFileNotFoundError"] * 2


def test_a_batch_with_a_movie_that_may_come_later_fails(run, fake):
    fake.faults = {
        ("download", 3): RemoteFileNotFoundError("no such well"),
        ("download", 4): TransientDownloadError("no route to host"),
    }
    assert run(fake).failed_batches == (1,)


def test_a_batch_with_no_usable_image_fails_alone(run, fake):
    fake.faults = {("download", 3): DownloadError("x"), ("download", 4): DownloadError("y")}
    result = run(fake)
    assert result.failed_batches == (1,)
    assert ("publish", 1) not in fake.calls
    assert ("publish", 2) in fake.calls
    assert "none of 2 images" in result.failures()["Reason"].iloc[-1]


@pytest.mark.parametrize("error", [ProfileError("exit 1"), RuntimeError("a bug")])
@pytest.mark.parametrize("step", [("profile", 3), ("publish", 1)])
def test_one_bad_batch_never_sinks_the_stream(run, fake, step, error, caplog):
    fake.faults = {step: error}
    with caplog.at_level(logging.INFO, "idrstream"):
        result = run(fake)
    assert result.failed_batches == (1,)
    assert [item.error_kind for item in result.batches] == ["", type(error).__name__, ""]
    assert f"Error while profiling batch 1: {error}" in caplog.text
    assert ("Traceback" in caplog.text) == isinstance(error, RuntimeError)
    assert "batch_nums=[1]" in caplog.text


def test_images_without_nuclei_are_results(run, fake):
    fake.nuclei = 0
    result = run(fake)
    assert result.failed_batches == ()
    assert result.nuclei == 0


@pytest.mark.parametrize("step", ["download", "process", "segment"])
def test_what_the_user_must_mend_stops_the_stream(run, fake, step):
    fake.faults = {(step, 3): MissingToolError("install it")}
    with pytest.raises(MissingToolError):
        run(fake)
    end = run.events[-1]
    assert end.stopped_by == "install it"
    assert 1 in end.result.remaining_batches
    assert end.result.rerun_batches == end.result.remaining_batches


@pytest.mark.parametrize("place", [("profile", 3), ("publish", 1)])
def test_a_full_disk_stops_the_stream(run, fake, place):
    full = OSError(errno.ENOSPC, "No space left on device", "somewhere")
    wrapped = ProfileError("could not write")
    wrapped.__cause__ = full
    fake.faults = {place: wrapped}
    with pytest.raises(StorageError, match="somewhere cannot be written: No space left"):
        run(fake)


def test_an_interrupt_leaves_nothing_and_says_what_is_left(run, fake, caplog):
    fake.faults = {("segment", 4): KeyboardInterrupt()}
    with caplog.at_level(logging.INFO, "idrstream"), pytest.raises(KeyboardInterrupt):
        run(fake)
    assert run.events[-1].stopped_by == "interrupted"
    assert 1 in run.events[-1].result.rerun_batches
    assert "batch_nums=[" in caplog.text


def test_a_plate_is_fitted_once_on_wells_spread_over_it(run, fake):
    fake.plate_models = set()
    run(fake, wells=30, batch_size=10, numbers=(2,))
    fits = [key for step, key in fake.calls if step == "fit"]
    assert fits == [tuple(range(1, 25, 2))]


def test_a_well_that_fails_is_left_out_of_the_plate_model(run, fake):
    fake.plate_models = set()
    fake.faults = {("download", 2): DownloadError("gone")}
    result = run(fake)
    assert ("fit", (1, 3, 4, 5, 6)) in fake.calls
    assert result.failures()["Stage"].tolist() == ["download"]


def test_a_plate_that_cannot_be_fitted_skips_its_images(run, fake):
    fake.plate_models = set()
    fake.faults = {("fit", (1, 2, 3, 4, 5, 6)): FrameError("all black")}
    result = run(fake)
    assert result.failed_batches == (0, 1, 2)
    assert set(result.failures()["Stage"]) == {"illumination", "batch"}
    assert set(result.failures()["Reason"][:2]) == {"all black"}
    assert sum(step == "fit" for step, _ in fake.calls) == 1


def test_batches_are_told_one_by_one(run, fake):
    run(fake)
    finished = [event for event in run.events if isinstance(event, BatchFinished)]
    assert sorted(event.batch.number for event in finished) == [0, 1, 2]


def test_a_batch_is_told_published_before_anything_is_deleted(run, fake):
    fake.slots = 1
    cleared = []

    class Watch(list):
        def append(self, event):
            if isinstance(event, BatchPublished):
                cleared.append(fake.calls[-1])
            super().append(event)

    run(fake, events=Watch())
    assert cleared == [("publish", 0), ("publish", 1), ("publish", 2)]


def test_stages_are_told_with_time_and_bytes(run, fake):
    run(fake)
    ended = [event for event in run.events if isinstance(event, StageFinished)]
    begun = [event for event in run.events if isinstance(event, StageStarted)]

    def names(events):
        return sorted((e.stage, e.batch.number, e.task.row if e.task else -1) for e in events)

    assert names(ended) == names(begun)
    assert {(e.stage, e.bytes) for e in ended} == {
        ("download", 5), ("preprocess", None), ("segment", None), ("profile", None), ("compile", 5),
    }  # fmt: skip
