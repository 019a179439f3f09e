"""Whatever the interleaving, the budget and the faults: what a stream done in order gives."""

import os
import signal
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plans import plan_of
from sim_stages import FEATURE_BYTES, FRAME_BYTES, SimStages

from idrstream.config import RunOptions
from idrstream.errors import (
    BudgetError,
    DownloadError,
    FrameError,
    ProfileError,
    SegmentationError,
    StorageError,
)
from idrstream.records import ImageTask
from idrstream.schedule.disk.budget import tree_bytes
from idrstream.schedule.events import (
    BatchFinished,
    BatchPublished,
    BatchStarted,
    ImageFinished,
    LanesMeasured,
    StageFinished,
    StageStarted,
    StreamFinished,
)
from idrstream.schedule.runner import Runner
from idrstream.screen import well_name

FAULTS = {
    "download": DownloadError("gone"),
    "wait": DownloadError("never whole"),
    "process": FrameError("unreadable"),
    "segment": SegmentationError("no"),
    "add": KeyError("a bug"),
    "profile": ProfileError("exit 1"),
    "publish": RuntimeError("a bug"),
}
STAGES = {"wait": "download", "process": "preprocess"}


@st.composite
def streams(draw):
    """Return the tasks, batch size, faults and invalid frames of a stream."""
    count = draw(st.integers(1, 9))
    tasks = []
    for row in range(count):
        well = draw(st.integers(1, 3))  # rows of one well, too
        plate = draw(st.sampled_from("PQ"))
        frames = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True)))
        tasks.append(ImageTask(plate, well_name(well), well, frames, row=row))
    faults, invalid = {}, set()
    for task in tasks:
        step = draw(st.sampled_from([*FAULTS, *[""] * 8]))
        frame = draw(st.sampled_from(task.frames))
        if step:
            key = (task.row, frame) if step in ("segment", "add") else task.row
            faults[step, key] = FAULTS[step]
        if draw(st.integers(0, 5)) == 0:
            invalid.add((task.row, draw(st.sampled_from(task.frames))))
    return tuple(tasks), draw(st.integers(1, 4)), faults, frozenset(invalid)


lanes = st.builds(
    RunOptions,
    batches_in_flight=st.integers(1, 3),
    downloads_at_once=st.integers(1, 4),
    prefetch=st.integers(1, 6),
    preprocess_workers=st.integers(1, 3),
    cores=st.integers(0, 4),
    frames_at_once=st.integers(1, 4),
)


def expected(tasks, batch_size, faults, invalid, shift):
    """Return tables and failures that processing in order gives: the simple model."""
    tables, failures = {}, []
    for number in range((len(tasks) + batch_size - 1) // batch_size):
        batch = tasks[number * batch_size : (number + 1) * batch_size]
        lines, failed = [], []
        taken = set()
        breaks = False
        for task in batch:
            whole = next((r for r in ("download", "wait", "process") if (r, task.row) in faults), 0)
            if whole:
                error = type(faults[whole, task.row]).__name__
                failed.append((number, task.row, None, STAGES.get(whole, whole), error))
                continue
            for frame in task.frames:
                key, name = (task.row, frame), (task.plate, task.well_number, frame)
                if key in invalid:
                    failed.append((number, task.row, frame, "preprocess", "FrameError"))
                elif ("segment", key) in faults:
                    failed.append((number, task.row, frame, "segment", "SegmentationError"))
                elif ("profile", task.row) in faults:
                    breaks = True
                elif ("add", key) in faults:
                    failed.append((number, task.row, frame, "profile", "KeyError"))
                elif name in taken:
                    failed.append((number, task.row, frame, "profile", "ImageError"))
                else:
                    taken.add(name)
                    pixel = frame + shift.get(task.plate, 0)
                    lines.append(f"{task.row},{frame},{pixel},{(task.row + frame) % 4}\n")
        first = batch[0].row
        if breaks:  # which frames were profiled before is a matter of luck
            failures += [one for one in failed if one[3] != "profile"]
            failures.append((number, None, None, "batch", "ProfileError"))
            continue
        failures += failed
        if not lines:
            failures.append((number, None, None, "batch", "BatchError"))
        elif ("publish", first) in faults:
            failures.append((number, None, None, "batch", "RuntimeError"))
        else:
            tables[f"batch_{number}.csv.gz"] = "".join(lines)
    return tables, failures


def reported_failures(result):
    found = []
    for item in result.batches:
        number = item.batch.number
        found += [
            (number, s.task.row, s.frame_number, s.stage, s.kind)
            for s in item.skipped
            if (s.stage, item.error_kind) != ("profile", "ProfileError")
        ]
        if item.published is None:
            found.append((number, None, None, "batch", item.error_kind))
    return found


def run(sim, tasks, batch_size, options, budget=None, listeners=()):
    plan = plan_of(tasks, batch_size=batch_size)
    before = set(threading.enumerate())
    runner = Runner(
        sim.stages(), sim.tmp / "downloads", listeners, options=options, budget_bytes=budget,
        disk_wait_s=1.0,
    )  # fmt: skip
    try:
        return runner.run(plan)
    finally:
        assert set(threading.enumerate()) == before
        assert not list(sim.tmp.iterdir())


def tables(sim):
    return {path.name: path.read_text() for path in sim.out.iterdir()}


def new_stages(folder, **options):
    for name in ("tmp", "out"):
        (folder / name).mkdir()
    return SimStages(folder / "tmp", folder / "out", **options)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    streams(), lanes, st.integers(0, 2**16), st.booleans(), st.booleans(),
    st.sampled_from([None, "tight", "unknown"]),
)  # fmt: skip
def test_any_interleaving_gives_what_the_order_gives(
    stream, options, seed, plate_models, fail_groups, budget
):
    tasks, batch_size, faults, invalid = stream
    sizes = {task.row: 80_000 + 15_000 * (task.row % 4) for task in tasks}
    events = []
    with TemporaryDirectory() as name:
        sim = new_stages(
            Path(name), faults=faults, invalid=invalid, sizes=sizes, slow_s=0.004, seed=seed,
            plate_models=plate_models, fail_groups=fail_groups, reports_sizes=budget != "unknown",
        )  # fmt: skip
        frames = max(
            sum(len(task.frames) for task in tasks[i : i + batch_size])
            for i in range(0, len(tasks), batch_size)
        )
        limit = None
        if budget:  # what one batch needs at most: movies of the largest size and all its frames
            limit = (
                64 * 1024 + max(sizes.values()) + frames * 5 * (FRAME_BYTES + FEATURE_BYTES) // 4
            )
        result = run(sim, tasks, batch_size, options, limit, [events.append])
        shift = sim.fitted if plate_models else {}
        wanted, failures = expected(tasks, batch_size, faults, invalid, shift)
        if not plate_models or set(shift) == {task.plate for task in tasks}:
            assert tables(sim) == wanted
            assert reported_failures(result) == failures
        if limit is not None:
            assert max(sim.used, default=0) <= limit
            assert result.disk.reserved_bytes <= limit
    check_events(events)


def check_events(events):
    """Check that what is told of each batch comes in the right order."""
    open_batches, published, stages = set(), set(), {}
    for event in events[1:-1]:
        number = event.batch.number
        if isinstance(event, BatchStarted):
            open_batches.add(number)  # for the second time when it was set back
            stages = {key: left for key, left in stages.items() if key[0] != number}
            continue
        assert number in open_batches
        if isinstance(event, StageStarted):
            key = (number, event.stage, event.task and event.task.row)
            stages[key] = stages.get(key, 0) + 1
        elif isinstance(event, StageFinished):
            stages[number, event.stage, event.task and event.task.row] -= 1
        elif isinstance(event, ImageFinished):
            assert not any(
                left for (n, _, row), left in stages.items() if (n, row) == (number, event.task.row)
            )
        elif isinstance(event, BatchPublished):
            published.add(number)
        elif isinstance(event, BatchFinished):
            assert (number in published) == (event.published is not None)
            open_batches.remove(number)
    assert not open_batches
    assert not any(stages.values())


def some_tasks(count, frames=(1,), plate="P"):
    return tuple(
        ImageTask(plate, well_name(well), well, frames, row=well - 1)
        for well in range(1, count + 1)
    )


@pytest.fixture
def sim(tmp_path):
    return new_stages(tmp_path)


def test_of_two_rows_for_the_same_frame_the_later_one_fails(sim):
    task = some_tasks(1, (1, 2))[0]
    later = ImageTask("P", task.well, task.well_number, (2, 3), row=1)
    begun = threading.Event()
    plain = sim.download

    def download(task, folder):
        if task.row == 0:
            begun.wait(0.2)  # long enough for the other to be first if nobody stopped it
        else:
            begun.set()
        return plain(task, folder)

    sim.download = download
    result = run(sim, (task, later), 2, RunOptions())
    assert reported_failures(result) == [(0, 1, 2, "profile", "ImageError")]
    assert tables(sim) == {"batch_0.csv.gz": "0,1,1,1\n0,2,2,2\n1,3,3,0\n"}


def test_movies_of_equal_names_never_meet(sim):
    rows = tuple(ImageTask("P", "A1", 1, (row + 1,), row=row) for row in range(6))
    sim.slow_s = 0.01
    assert not len(run(sim, rows, 2, RunOptions(downloads_at_once=4)).failures())


@pytest.mark.parametrize("reports_sizes", [True, False])
def test_what_a_batch_leaves_on_the_disk_counts(tmp_path, reports_sizes):
    sim = new_stages(tmp_path, reports_sizes=reports_sizes, slow_s=0.002)
    limit = 10 * (FRAME_BYTES + FEATURE_BYTES) + 180_000  # and one movie with what is beside it
    result = run(sim, some_tasks(30), 10, RunOptions(), limit)
    assert not result.rerun_batches
    assert max(sim.used) <= limit
    assert result.disk.peak_bytes <= result.disk.reserved_bytes <= result.disk.limit_bytes == limit


def test_a_batch_gives_way_when_those_before_it_could_not_finish(sim, caplog):
    sim.expect = 1  # nobody knows that frames will need so much
    sim.sizes = {0: 5000, 1: 5000}
    limit = 199_000  # three frames of the second batch beside the movie of the first
    events, go_on, plain = [], threading.Event(), sim.download

    def download(task, folder):
        if task.row == 0 and not go_on.is_set():
            assert go_on.wait(10)
        return plain(task, folder)

    def listen(event):
        events.append(event)
        ended = [e.stage for e in events if isinstance(e, StageFinished)]
        if ended.count("segment") >= 4 and ended.count("profile") >= 2:
            go_on.set()  # what the second batch has leaves too little for the first

    sim.download = download
    with caplog.at_level("INFO", "idrstream"):
        result = run(sim, some_tasks(2, (1, 2, 3, 4)), 1, RunOptions(), limit, [listen])
    assert "Batch 1 is started again later" in caplog.text
    assert not result.rerun_batches
    assert tables(sim) == expected(some_tasks(2, (1, 2, 3, 4)), 1, {}, set(), {})[0]
    assert max(sim.used) <= limit
    check_events(events)


@pytest.mark.parametrize("budget", [100_000, 160_000])
def test_a_movie_larger_than_the_budget_is_told_before_a_byte_moves(sim, budget):
    with pytest.raises(BudgetError, match=r"plate P well A1 .*needs 165.5 kB .*\(\d+ bytes\)"):
        run(sim, some_tasks(4), 2, RunOptions(), budget)
    assert sim.downloads == []


def test_a_movie_larger_than_its_source_said_stops_the_stream(sim):
    sim.sizes = {2: 300_000}
    sim.size = lambda task: 100_000
    with pytest.raises(BudgetError, match=r"well A3 (has 300\.0 kB, more than|was stopped)"):
        run(sim, some_tasks(4), 4, RunOptions(), 320_000)


def test_a_movie_of_a_plates_model_is_brought_once(sim):
    sim.plate_models = True
    result = run(sim, some_tasks(6), 3, RunOptions())
    assert not result.rerun_batches
    assert sorted(sim.downloads) == list(range(6))


def test_movies_of_a_model_are_given_up_where_space_is_short(sim):
    sim.plate_models = True
    one = 100_000 + 64 * 1024
    result = run(sim, some_tasks(4), 1, RunOptions(), one)
    assert not result.rerun_batches
    assert max(sim.used) <= one
    assert set(sim.downloads) == set(range(4))


@pytest.mark.parametrize("told", [None, 50_000], ids=["no size", "a wrong size"])
def test_a_movie_that_outgrows_the_budget_is_stopped_while_it_arrives(sim, told):
    stopped = threading.Event()
    reached = []

    def download(task, folder):
        folder.mkdir(parents=True)
        with (folder / "movie.ch5.part").open("wb", buffering=0) as file:
            while not stopped.wait(0.005):
                file.write(bytes(4000))
            reached.append(file.tell())
        raise DownloadError("interrupted")

    sim.download, sim.interrupt, sim.size = download, stopped.set, lambda _task: told
    with pytest.raises(
        BudgetError, match=r"well A1 was stopped after .* its source (does|reported)"
    ):
        run(sim, some_tasks(3), 3, RunOptions(downloads_at_once=1), 400_000)
    assert 400_000 < reached[0] < 4_000_000
    assert tree_bytes(sim.tmp) == 0


def test_a_batch_larger_than_the_budget_is_told(sim):
    with pytest.raises(BudgetError, match=r"batch 0 needs at least .* batch_size smaller"):
        run(sim, some_tasks(12), 12, RunOptions(), 400_000)


def test_a_budget_of_one_movie_is_enough(sim):
    one = 100_000 + 64 * 1024
    result = run(sim, some_tasks(4), 1, RunOptions(), one)
    assert not result.rerun_batches
    assert max(sim.used) <= one


@pytest.mark.parametrize("budget", range(300_000, 800_000, 100_000))
def test_frames_keep_the_space_that_their_profiling_takes(sim, budget):
    sim.kept_bytes = sim.expect = 1_000  # as of an engine that takes arrays through a folder
    sim.scratch_bytes = 30_000
    frames = tuple(range(1, 7))
    tasks = tuple(ImageTask("P", well_name(n), n, frames, row=n - 1) for n in range(1, 9))
    result = run(sim, tasks, 8, RunOptions(cores=1, batches_in_flight=1, prefetch=6), budget)
    assert not result.rerun_batches
    assert max(sim.used) <= budget


def test_a_full_disk_is_waited_for(sim, monkeypatch):
    free = [50, 50, 10**9]
    monkeypatch.setattr(
        "idrstream.schedule.disk.space.disk_free_bytes",
        lambda _: free.pop(0) if free[1:] else free[0],
    )
    assert not run(sim, some_tasks(2), 1, RunOptions(), 10**9).rerun_batches


def test_a_disk_that_stays_full_stops_the_stream(sim, monkeypatch):
    monkeypatch.setattr("idrstream.schedule.disk.space.disk_free_bytes", lambda _: 50)
    with pytest.raises(StorageError, match=r"has 50 bytes free, but the next movie needs 165.5 kB"):
        run(sim, some_tasks(2), 1, RunOptions(), 10**9)


def test_what_a_dead_stream_left_is_counted_and_removed(sim):
    for name in ("downloads/P/a.ch5", "downloads_2/P/a.ch5", "project_1/x"):
        path = sim.tmp / name
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(1000))
    assert run(sim, some_tasks(1), 1, RunOptions()).disk.leftover_bytes == 3000


def test_next_images_are_downloaded_meanwhile_but_not_too_many(sim):
    most, now = [0], [0]
    go_on = threading.Event()
    plain_download, plain_process = sim.download, sim.process

    def download(task, folder):
        now[0] += 1
        most[0] = max(most[0], now[0])
        if now[0] == 3:
            go_on.set()
        return plain_download(task, folder)

    def process(movie):
        assert go_on.wait(5)  # three movies are there or on their way, and two wait for us
        now[0] -= 1
        return plain_process(movie)

    sim.download, sim.process = download, process
    run(sim, some_tasks(8), 2, RunOptions(prefetch=3, preprocess_workers=1, cores=1))
    assert most[0] == 3


class TestAllCores:
    """What works side by side on a machine of two cores, and what takes turns."""

    @pytest.fixture(autouse=True)
    def two_cores(self, monkeypatch):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr("idrstream.schedule.options.all_processors", lambda: 2)

    def test_images_are_read_while_others_are_segmented(self, sim):
        plain_process, plain_segment, last = sim.process, sim.segment_one, threading.Event()

        def process(movie):
            if movie.task.row == 3:
                last.set()
            return plain_process(movie)

        def segment_one(frame):
            assert last.wait(5)
            return plain_segment(frame)

        sim.process, sim.segment_one = process, segment_one
        assert not run(sim, some_tasks(4), 4, RunOptions()).rerun_batches

    def test_a_frame_that_has_all_cores_is_profiled_while_the_next_is_segmented(self, sim):
        plain_enter, second = sim.enter, threading.Event()

        def enter(step, key):
            if step == "segment" and key[0] == 1:
                second.set()
            if step == "profile" and key == 0:
                assert second.wait(5)
            plain_enter(step, key)

        sim.enter = enter
        assert not run(sim, some_tasks(3), 3, RunOptions(frames_at_once=1)).rerun_batches

    @pytest.mark.parametrize("limit", ["the option", "OpenMP's variable"])
    def test_with_one_core_of_two_nothing_is_side_by_side(self, sim, monkeypatch, limit):
        cores = 1 if limit == "the option" else None
        monkeypatch.setenv("OMP_NUM_THREADS", "2" if cores else "1")
        plain_enter, working, most = sim.enter, [0], [0]

        def enter(step, key):
            if step in ("process", "segment", "profile"):
                working[0] += 1
                most[0] = max(most[0], working[0])
                time.sleep(0.002)
                working[0] -= 1
            plain_enter(step, key)

        sim.enter = enter
        assert not run(sim, some_tasks(9), 3, RunOptions(cores=cores)).rerun_batches
        assert most[0] == 1


class TestStopping:
    @pytest.mark.parametrize("number", range(1, 40))
    def test_at_every_event(self, sim, number):
        seen = []

        def stop(event):
            seen.append(event)
            if len(seen) == number:
                runner.stop("enough")

        runner = Runner(sim.stages(), sim.tmp / "downloads", [stop])
        result = runner.run(plan_of(some_tasks(4), batch_size=2))
        published = {e.batch.number for e in seen if isinstance(e, BatchPublished)}
        finished = {e.batch.number for e in seen if isinstance(e, BatchFinished)}
        assert published == finished == {item.batch.number for item in result.batches}
        assert set(result.remaining_batches) == {0, 1} - finished
        assert seen[-1].stopped_by == (
            "enough" if result.remaining_batches else seen[-1].stopped_by
        )
        assert not list(sim.tmp.iterdir())
        assert not [t for t in threading.enumerate() if t.name.startswith("idrstream")]

    @pytest.mark.parametrize("number", range(1, 40, 3))
    def test_when_a_listener_fails_at_any_event(self, sim, number):
        seen = []

        def fail(event):
            seen.append(event)
            if len(seen) == number:
                raise StorageError("the journal cannot be written")

        with pytest.raises(StorageError, match="journal"):
            run(sim, some_tasks(4), 2, RunOptions(), listeners=[fail])

    def test_a_transfer_that_can_be_interrupted_is(self, sim):
        ended = threading.Event()

        def download(task, folder):
            runner.stop()
            assert ended.wait(5)
            raise DownloadError("interrupted")

        sim.download, sim.interrupt = download, ended.set
        runner = Runner(sim.stages(), sim.tmp / "downloads", [])
        started = time.monotonic()
        result = runner.run(plan_of(some_tasks(4), batch_size=2))
        assert time.monotonic() - started < 4
        assert len(result.batches) == 0

    def test_what_cannot_be_interrupted_is_not_waited_for(self, sim, monkeypatch, caplog):
        monkeypatch.setattr("idrstream.schedule.flow._GRACE_S", 0.2)
        go_on = threading.Event()

        def download(task, folder):
            runner.stop()
            go_on.wait(30)
            raise DownloadError("too late")

        sim.download = download
        runner = Runner(sim.stages(), sim.tmp / "downloads", [])
        runner.run(plan_of(some_tasks(1), batch_size=1))
        assert "left behind at work, as they do not end: download" in caplog.text
        go_on.set()

    def test_a_paused_stream_begins_nothing_until_it_goes_on(self, sim):
        def pause(event):
            if isinstance(event, BatchFinished) and event.batch.number == 0:
                runner.pause()
                threading.Timer(
                    0.2, lambda: (begun.append(len(sim.downloads)), runner.resume())
                ).start()

        begun = []
        options = RunOptions(batches_in_flight=1, prefetch=1)
        runner = Runner(sim.stages(), sim.tmp / "downloads", [pause], options=options)
        result = runner.run(plan_of(some_tasks(4), batch_size=2))
        assert begun[0] <= 3
        assert len(result.batches) == 2

    @pytest.mark.parametrize("pause_at", range(1, 40, 3))
    def test_nothing_is_told_once_it_rests(self, sim, pause_at):
        """Pause at any event: until the stream rests it may go on, from then on it may not."""
        seen, resumed = [], threading.Event()

        def listen(event):
            seen.append(event)
            if len(seen) == pause_at:
                runner.pause()
                assert not runner.is_resting()
                threading.Thread(target=watch).start()

        def watch():
            while not runner.is_resting() and not ended.is_set():
                time.sleep(0.001)
            before = len(seen)
            time.sleep(0.05)
            told.append(len([e for e in seen[before:] if not isinstance(e, LanesMeasured)]))
            runner.resume()
            assert not runner.is_resting() or ended.is_set()
            resumed.set()

        told, ended = [], threading.Event()
        options = RunOptions(batches_in_flight=2, prefetch=2)
        runner = Runner(sim.stages(), sim.tmp / "downloads", [listen], options=options)
        try:
            result = runner.run(plan_of(some_tasks(4), batch_size=2))
        finally:
            ended.set()
        assert resumed.wait(10)
        assert len(result.batches) == 2
        assert told == [0] or isinstance(seen[-1], StreamFinished)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_stops_and_the_handlers_come_back(self, sim, number):
        before = signal.getsignal(number)
        seen = []

        def send(event):
            seen.append(event)
            if len(seen) == 8:
                signal.raise_signal(number)

        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
            run(sim, some_tasks(8), 2, RunOptions(), listeners=[send])
        assert seen[-1].stopped_by == "interrupted"
        assert signal.getsignal(number) is before

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_after_the_last_batch_is_raised_too(self, sim, number):
        finished = []

        def send(event):
            if isinstance(event, BatchFinished):
                finished.append(event.batch.number)
                if len(finished) == 2:
                    signal.raise_signal(number)

        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
            run(sim, some_tasks(4), 2, RunOptions(), listeners=[send])
        assert sorted(finished) == [0, 1]

    def test_a_second_signal_stops_at_once(self, sim):
        def download(task, folder):
            time.sleep(3)
            raise DownloadError("never")

        def send(event):
            if isinstance(event, StageStarted):
                threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
                threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()

        sim.download = download
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            Runner(sim.stages(), sim.tmp / "downloads", [send]).run(
                plan_of(some_tasks(1), batch_size=1)
            )
        assert time.monotonic() - started < 2

    def test_a_stream_in_another_thread_can_be_stopped(self, sim):
        sim.slow_s = 0.01
        runner = Runner(sim.stages(), sim.tmp / "downloads", [])
        results = []
        thread = threading.Thread(
            target=lambda: results.append(runner.run(plan_of(some_tasks(200), batch_size=2)))
        )
        thread.start()
        while not sim.downloads:
            time.sleep(0.01)
        runner.stop()
        thread.join(10)
        assert results[0].remaining_batches
