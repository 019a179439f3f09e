"""The journal: as a state machine against a simple model, and its file."""

import json
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from plans import plan_of

from idrstream.config import RunOptions
from idrstream.errors import JournalError, StorageError
from idrstream.folder.decide import decide
from idrstream.folder.journal import file as schema
from idrstream.folder.journal.journal import Journal, RunInfo
from idrstream.folder.journal.reader import open_journal
from idrstream.folder.plans import RequestedPlan
from idrstream.folder.status import read_status
from idrstream.records import Batch, ImageTask, Published, Skipped
from idrstream.schedule.events import (
    BatchFinished,
    BatchPublished,
    BatchStarted,
    ImageFinished,
    LanesMeasured,
    StageFinished,
    StreamFinished,
    StreamStarted,
)
from idrstream.schedule.lanes import LaneReport
from idrstream.schedule.result import RunResult
from idrstream.screen import well_name

INFO = RunInfo(pid=1, host="here", options={}, parts={}, versions={"python": "3"})
GOLDEN = Path(__file__).parent / "golden"


def tasks(count):
    return tuple(
        ImageTask(f"P{plate or ''}", well_name(well + 1), well + 1, (1, 2))
        for plate, well in (divmod(i, 384) for i in range(count))
    )


def begin(journal, images, batch_size=2, identity=None, **options):
    """Begin a run as the session does."""
    options = RunOptions(batch_size=batch_size, **options)
    want = RequestedPlan.of(images, identity or {}, options, columns=())
    decision = decide(want, journal.plan(), images=journal.images())
    assert decision.refused == ""
    journal.begin(INFO, want, decision)
    return decision


def skip(task, frame=None):
    return Skipped(task, frame, "preprocess", "FrameError", f"frame {frame}")


def run_batch(journal, folder, batch, *, bad=(), publish=True, finish=True, error=""):
    """Send the events of one batch; `bad` are positions whose first frame is skipped."""
    journal(BatchStarted(batch))
    skipped = tuple(skip(batch.tasks[position], 1) for position in bad)
    for position, task in enumerate(batch.tasks):
        journal(StageFinished("download", batch, task, 0.5, 1000 + position))
        journal(StageFinished("segment", batch, task, 0.25))
        journal(StageFinished("segment", batch, task, 0.25))
        own = tuple(item for item in skipped if item.task is task)
        journal(ImageFinished(batch, task, 3, own))
    published = None
    if publish:
        path = folder / f"batch_{batch.number}.csv.gz"
        path.write_bytes(b"table")
        published = Published(path, 3, "sha", 11, "columns")
        journal(BatchPublished(batch, published, 3, skipped, {"segment": 1.0}))
    if finish:
        kind = "ProfileError" if error else ""
        journal(BatchFinished(batch, published, 3, skipped, kind, error, {"segment": 1.0}))


def rows(journal, query):
    return journal._connection.execute(query).fetchall()


def flushes(journal):
    """Return a function that says of each transaction since its last call if it was flushed."""
    seen, level = [], [rows(journal, "PRAGMA synchronous")[0][0]]

    def note(statement):
        if statement.startswith("PRAGMA synchronous="):
            level[0] = {"FULL": 2, "NORMAL": 1}[statement.partition("=")[2]]
        elif statement == "COMMIT":
            seen.append(level[0] == 2)

    def since():
        found, seen[:] = list(seen), []
        return found

    journal._connection.set_trace_callback(note)
    return since


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path)
    yield journal
    journal.close()


class JournalMachine(RuleBasedStateMachine):
    """Runs, batches, failures, deaths in any order; the model is a few dictionaries."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.journal = Journal(self.folder, durable=False)
        self.count = 0
        self.state = {}  # number: planned, done, failed
        self.bad = {}  # number: failed images, of batches that are done or failed
        self.attempts = {}
        self.outcomes = {}
        self.batches = {}
        self.runs = []
        self.running = None

    def teardown(self):
        self.journal.close()
        shutil.rmtree(self.folder)

    @initialize(count=st.integers(1, 5))
    def first(self, count):
        self.grow_and_begin(count)

    @rule(more=st.integers(0, 3))
    def begin(self, more):
        if self.running:
            self.die()
        self.grow_and_begin(more)

    def grow_and_begin(self, more):
        self.count += more
        decision = begin(self.journal, tasks(self.count))
        assert set(decision.added) == set(decision.batches) - set(self.state)
        assert set(decision.run) == {n for n in decision.batches if self.state.get(n) != "done"}
        for number in decision.added:
            self.state[number], self.attempts[number] = "planned", 0
        self.batches = {n: Batch(n, content) for n, content in decision.batches.items()}
        self.running = True
        self.runs.append("running")

    def one(self, data):
        return self.batches[data.draw(st.sampled_from(sorted(self.batches)))]

    def outcome(self, batch, outcome):
        self.attempts[batch.number] += 1
        self.outcomes[batch.number, self.attempts[batch.number]] = outcome

    @precondition(lambda self: self.running)
    @rule(data=st.data(), finish=st.booleans())
    def publish(self, data, finish):
        batch = self.one(data)
        bad = data.draw(st.sets(st.integers(0, len(batch.tasks) - 1)))
        run_batch(self.journal, self.folder, batch, bad=bad, finish=finish)
        self.outcome(batch, "done" if finish else "published")
        self.state[batch.number], self.bad[batch.number] = "done", len(bad)
        if not finish:
            self.die()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fail(self, data):
        batch = self.one(data)
        run_batch(self.journal, self.folder, batch, publish=False, error="no")
        self.outcome(batch, "failed")
        if self.state[batch.number] != "done":
            self.state[batch.number], self.bad[batch.number] = "failed", 0

    @precondition(lambda self: self.running)
    @rule(data=st.data(), stop=st.booleans())
    def end_on_the_way(self, data, stop):
        batch = self.one(data)
        run_batch(self.journal, self.folder, batch, publish=False, finish=False)
        self.outcome(batch, "interrupted")
        if self.state[batch.number] != "done":
            self.state[batch.number] = "planned"
        if stop:
            self.finish("stopped")
        else:
            self.die()

    @precondition(lambda self: self.running)
    @rule(stopped=st.sampled_from(["", "disk full"]))
    def finish(self, stopped):
        plan = plan_of(tasks(self.count), batch_size=2)
        self.journal(StreamFinished(RunResult((), plan, 1.0), stopped))
        self.runs[-1] = "stopped" if stopped else "finished"
        self.running = None

    @precondition(lambda self: not self.running and "done" in self.state.values())
    @rule(data=st.data())
    def lose_a_table(self, data):
        done = sorted(number for number, state in self.state.items() if state == "done")
        number = data.draw(st.sampled_from(done))
        self.journal.lost([number])
        self.state[number] = "planned"

    @rule()
    def die(self):
        self.journal.close()
        self.journal = Journal(self.folder, durable=False)
        self.outcomes = {
            key: "done" if value == "published" else value for key, value in self.outcomes.items()
        }
        if self.running:
            self.runs[-1] = "died"
        self.running = None

    @invariant()
    def a_reader_finds_every_published_table_and_counts_balance(self):
        with open_journal(self.folder) as reader:
            states, totals, tables = reader.batch_states(), reader.batch_totals(), reader.outputs()
        assert states == self.state
        assert set(tables) == {number for number, state in states.items() if state == "done"}
        assert sum(sums.batches for sums in totals.values()) == len(self.batches)
        images = sum(len(batch.tasks) for batch in self.batches.values())
        assert sum(sums.images for sums in totals.values()) == images
        assert all(0 <= sums.failed_images <= sums.images for sums in totals.values())

    @invariant()
    def the_file_says_what_the_model_says(self):
        known = self.journal.plan()
        if known is None:
            assert self.state == {}
            return
        assert {n: b.state for n, b in known.batches.items()} == self.state
        assert {n: b.failed_images for n, b in known.batches.items() if b.state == "done"} == {
            n: self.bad[n] for n, state in self.state.items() if state == "done"
        }
        attempts = rows(self.journal, "SELECT batch, attempt, outcome FROM attempts")
        assert {(b, a): outcome for b, a, outcome in attempts} == self.outcomes
        assert [state for (state,) in rows(self.journal, "SELECT state FROM runs ORDER BY id")] == (
            self.runs
        )
        current = rows(
            self.journal,
            "SELECT batch, count(*) FROM failures WHERE current AND stage != 'batch' "
            "GROUP BY batch",
        )
        done = {n: count for n, count in current if self.state[n] == "done"}
        assert done == {
            n: self.bad[n] for n, s in self.state.items() if s == "done" and self.bad[n]
        }


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)


class TestWhatIsNoted:
    def test_of_an_image(self, journal, tmp_path):
        decision = begin(journal, tasks(2))
        run_batch(journal, tmp_path, Batch(0, decision.batches[0]), bad=[1])
        assert rows(
            journal, "SELECT well, frames, state, attempts, nuclei, bytes, seconds FROM images"
        ) == [
            ("A1", "1,2", "done", 1, 3, 1000, '{"download": 0.5, "segment": 0.5}'),
            ("A2", "1,2", "partial", 1, 3, 1001, '{"download": 0.5, "segment": 0.5}'),
        ]

    def test_of_a_batch(self, journal, tmp_path):
        decision = begin(journal, tasks(2))
        run_batch(journal, tmp_path, Batch(0, decision.batches[0]), bad=[1])
        path = tmp_path / "batch_0.csv.gz"
        assert rows(
            journal,
            "SELECT state, failed_images, attempts, nuclei, file, rows, columns, size_bytes, "
            "mtime_ns, sha256 FROM batches",
        ) == [("done", 1, 1, 3, path.name, 3, 11, 5, path.stat().st_mtime_ns, "sha")]

    def test_of_a_failure(self, tmp_path):
        log = tmp_path / "stream.log"
        log.write_text("what happened\n")
        journal = Journal(tmp_path)
        want = RequestedPlan.of(tasks(2), {}, RunOptions(batch_size=2))
        decision = decide(want, None)
        info = RunInfo(pid=1, host="", options={}, parts={}, versions={}, log=str(log))
        journal.begin(info, want, decision)
        batch = Batch(0, decision.batches[0])
        run_batch(journal, tmp_path, batch, bad=[0], publish=False, error="exit 1")
        assert rows(
            journal, "SELECT well, frame, stage, kind, message, log_end, current FROM failures"
        ) == [
            ("A1", 1, "preprocess", "FrameError", "frame 1", 14, 1),
            ("", None, "batch", "ProfileError", "exit 1", 14, 1),
        ]
        journal.close()

    def test_a_rerun_that_fails_leaves_the_batch_done(self, journal, tmp_path):
        batch = Batch(0, begin(journal, tasks(2)).batches[0])
        run_batch(journal, tmp_path, batch, bad=[0])
        run_batch(journal, tmp_path, batch, publish=False, error="exit 1")
        assert journal.plan().batches[0].state == "done"
        kinds = [kind for (kind,) in rows(journal, "SELECT kind FROM failures WHERE current")]
        assert kinds == ["FrameError", "ProfileError"]

    def test_a_rerun_that_succeeds_makes_failures_past(self, journal, tmp_path):
        batch = Batch(0, begin(journal, tasks(2)).batches[0])
        run_batch(journal, tmp_path, batch, publish=False, error="exit 1")
        run_batch(journal, tmp_path, batch)
        assert rows(journal, "SELECT count(*) FROM failures WHERE current") == [(0,)]
        assert rows(journal, "SELECT count(*) FROM failures") == [(1,)]

    def test_frames_of_a_plates_other_wells_belong_to_no_image(self, journal, tmp_path):
        batch = Batch(0, begin(journal, tasks(2)).batches[0])
        journal(BatchStarted(batch))
        journal(StageFinished("download", batch, tasks(9)[8], 3.0, 5))
        journal(StageFinished("profile", batch, None, 3.0))
        assert rows(journal, "SELECT count(*) FROM images WHERE seconds IS NOT NULL") == [(0,)]

    def test_the_clock_does_not_matter_for_how_long_it_took(self, journal, monkeypatch):
        begin(journal, tasks(2))
        monkeypatch.setattr("idrstream.folder.journal.runs.time.time", lambda: 10.0)  # long ago
        plan = plan_of(tasks(2), batch_size=2)
        journal(StreamStarted(plan))
        journal(StreamFinished(RunResult((), plan, 1.0)))
        ((started, ended, elapsed),) = rows(journal, "SELECT started, ended, elapsed_s FROM runs")
        assert ended == 10.0 < started
        assert 0 <= elapsed < 60

    def test_lost_files_make_their_batches_undone(self, journal, tmp_path):
        decision = begin(journal, tasks(4))
        for number, content in decision.batches.items():
            run_batch(journal, tmp_path, Batch(number, content))
        assert set(journal.outputs()) == {0, 1}
        journal.lost([1])
        journal.touched(0, 5)
        assert {n: table.mtime_ns for n, table in journal.outputs().items()} == {0: 5}


class TestLanes:
    LANES = (LaneReport("download", 4, 8, 20.0, 0.05), LaneReport("segment", 1, 3, 95.0, 0.95))

    def test_status_says_which_lane_limits_while_it_runs_and_after(self, journal, tmp_path):
        begin(journal, tasks(4))
        assert read_status(tmp_path).bottleneck == ""
        journal(LanesMeasured(self.LANES, 100.0))
        status = read_status(tmp_path)
        assert status.lanes == self.LANES
        assert "segment limits this stream; a GPU" in status.bottleneck
        assert "lanes    download 5%, segment 95%" in repr(status)
        plan = plan_of(tasks(4), batch_size=2)
        last = (LaneReport("download", 4, 8, 380.0, 0.95), *self.LANES[1:])
        journal(StreamFinished(RunResult((), plan, 100.0, last), "interrupted"))
        content = json.loads(json.dumps(read_status(tmp_path).as_json()))
        assert content["lanes"][0] == {
            "name": "download", "workers": 4, "jobs": 8, "busy_s": 380.0, "share": 0.95
        }  # fmt: skip
        assert content["bottleneck"].startswith("Busy 95%: download limits")

    def test_a_start_that_finds_nothing_to_do_does_not_hide_it(self, journal, tmp_path):
        decision = begin(journal, tasks(2))
        run_batch(journal, tmp_path, Batch(0, decision.batches[0]))
        plan = plan_of(tasks(2), batch_size=2)
        journal(StreamFinished(RunResult((), plan, 100.0, self.LANES)))
        assert begin(journal, tasks(2)).run == ()
        journal(StreamFinished(RunResult((), plan, 0.0)))
        status = read_status(tmp_path)
        assert status.lanes == self.LANES
        assert status.images_per_hour is not None


class TestTheFile:
    def test_it_can_be_read_while_it_is_written(self, journal, tmp_path):
        batch = Batch(0, begin(journal, tasks(2)).batches[0])
        journal(BatchStarted(batch))
        with schema.open_reader(journal.path) as reader:
            assert reader.execute("SELECT state FROM batches").fetchall() == [("running",)]
            run_batch(journal, tmp_path, batch)
            assert reader.execute("SELECT state FROM batches").fetchall() == [("done",)]

    def test_readers_leave_nothing_beside_it_and_take_no_log_away(self, tmp_path):
        journal = Journal(tmp_path)
        begin(journal, tasks(2))
        open_files = sorted(path.name for path in tmp_path.iterdir())
        with open_journal(tmp_path):
            pass
        assert sorted(path.name for path in tmp_path.iterdir()) == open_files
        journal.close()
        whole = journal.path.read_bytes()
        with open_journal(tmp_path) as reader, open_journal(tmp_path):
            assert reader.plan() is not None
        assert [path.name for path in tmp_path.iterdir()] == ["journal.sqlite"]
        assert journal.path.read_bytes() == whole

    def test_a_stream_may_begin_while_it_is_read(self, tmp_path):
        first = Journal(tmp_path)
        begin(first, tasks(2))
        first.close()
        with open_journal(tmp_path):
            again = Journal(tmp_path)
            begin(again, tasks(2))
        with open_journal(tmp_path) as reader:
            assert reader.plan() is not None
        again.close()
        assert [path.name for path in tmp_path.iterdir()] == ["journal.sqlite"]

    @pytest.mark.parametrize("closed", [True, False])
    def test_it_can_be_read_in_a_read_only_folder(self, tmp_path, closed, monkeypatch):
        folder = tmp_path / "out"
        folder.mkdir()
        journal = Journal(folder)
        begin(journal, tasks(2))
        if closed:
            journal.close()
        copy = tmp_path / "copy"  # of a died stream: its write-ahead log is part of it
        copy.mkdir()
        for path in folder.iterdir():
            if not path.name.endswith("-shm"):
                shutil.copyfile(path, copy / path.name)
        before = sorted(path.name for path in copy.iterdir())
        # root may write everywhere: what SQLite cannot do in such a folder is refused here
        monkeypatch.setattr(schema, "_read_only", lambda path: None)
        with schema.open_reader(copy / "journal.sqlite") as reader:
            assert reader.execute("SELECT count(*) FROM batches").fetchall() == [(1,)]
        assert sorted(path.name for path in copy.iterdir()) == before
        journal.close()

    def test_what_matters_waits_for_the_disk(self, journal, tmp_path):
        flushed = flushes(journal)
        batch = Batch(0, begin(journal, tasks(2)).batches[0])
        assert flushed() == [True]
        run_batch(journal, tmp_path, batch, finish=False)
        # Begun and two images are not waited for; published is: inputs are deleted then.
        assert flushed() == [False, False, False, True]
        journal(BatchFinished(batch, None, 3, (), "ProfileError", "no"))
        journal(LanesMeasured((), 1.0))
        assert flushed() == [False, False]
        plan = plan_of(tasks(2), batch_size=2)
        journal(StreamFinished(RunResult((), plan, 1.0)))
        assert flushed() == [True]
        journal.lost([0])
        assert flushed() == [True]
        assert rows(journal, "PRAGMA journal_mode") == [("wal",)]

    def test_of_batches_published_together_only_the_last_waits_for_the_disk(
        self, journal, tmp_path
    ):
        begin(journal, tasks(6))
        batches = [Batch(number, tasks(6)[2 * number : 2 * number + 2]) for number in range(3)]
        path = tmp_path / "batch_0.csv.gz"
        path.write_bytes(b"table")
        published = Published(path, 3, "sha", 11, "columns")
        flushed = flushes(journal)
        for batch in batches:
            journal(BatchStarted(batch))
        assert flushed() == [False, False, False]
        for batch in batches:
            journal(BatchPublished(batch, published, 3, (), more=batch is not batches[-1]))
        assert flushed() == [False, False, True]
        assert rows(journal, "SELECT state FROM batches") == [("done",)] * 3

    def test_on_a_network_file_system_it_does_without_shared_memory(
        self, tmp_path, monkeypatch, caplog
    ):
        begin_on = Journal(tmp_path)
        begin(begin_on, tasks(2))
        begin_on.close()
        monkeypatch.setattr(schema, "file_system", lambda folder: "nfs4")
        journal = Journal(tmp_path)
        flushed = flushes(journal)
        assert "nfs4" in caplog.text
        assert rows(journal, "PRAGMA journal_mode") == [("delete",)]
        run_batch(journal, tmp_path, Batch(0, tasks(2)))
        assert flushed() == [True] * 5  # a power cut could damage it otherwise
        with schema.open_reader(journal.path) as reader:
            assert reader.execute("SELECT state FROM batches").fetchall() == [("done",)]
        journal.close()

    def test_where_shared_memory_cannot_be_had_it_does_without(self, tmp_path, monkeypatch, caplog):
        class NoSharedMemory(sqlite3.Connection):
            def execute(self, statement, *values):
                if statement.endswith("=WAL"):
                    raise sqlite3.OperationalError("disk I/O error")
                return super().execute(statement, *values)

        connect = sqlite3.connect
        monkeypatch.setattr(
            schema.sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=NoSharedMemory)
        )
        journal = Journal(tmp_path)
        assert "disk I/O error" in caplog.text
        assert rows(journal, "PRAGMA journal_mode") == [("delete",)]
        journal.close()

    def test_the_file_system_of_a_folder_is_found(self, tmp_path):
        assert schema.file_system(Path("/proc/self")) == "proc"
        assert schema.file_system(tmp_path) not in ("", "proc")

    @pytest.mark.parametrize(
        ("content", "told"),
        [(b"no database at all, but long enough" * 40, "damaged"), (b"", "newer")],
    )
    def test_what_is_no_journal_is_refused(self, tmp_path, content, told):
        path = tmp_path / "journal.sqlite"
        path.write_bytes(content)
        if not content:
            with sqlite3.connect(path) as connection:
                connection.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
                connection.execute("PRAGMA user_version=999")
            connection.close()
        for opened in (lambda: Journal(tmp_path), schema.open_reader(path).__enter__):
            with pytest.raises(JournalError, match=told):
                opened()

    def test_somebody_elses_database_is_left_alone(self, tmp_path):
        with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
            connection.execute("CREATE TABLE diary (day TEXT)")
        connection.close()
        with pytest.raises(JournalError, match="not a journal"):
            Journal(tmp_path)

    def test_no_journal_is_told(self, tmp_path):
        opened = schema.open_reader(tmp_path / "journal.sqlite")
        with pytest.raises(JournalError, match="not the output folder of a stream"):
            opened.__enter__()

    def test_a_full_disk_is_a_storage_error(self, journal):
        pages = rows(journal, "PRAGMA page_count")[0][0]
        journal._connection.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(StorageError, match="disk is full"):
            begin(journal, tasks(3000))
        assert journal.plan() is None  # all of it or nothing


class TestOldVersions:
    @pytest.mark.parametrize("path", sorted(GOLDEN.glob("journal_v*.sqlite")), ids=lambda p: p.stem)
    def test_they_stay_readable_and_go_on(self, path, tmp_path):
        copy = tmp_path / "journal.sqlite"
        shutil.copyfile(path, copy)
        copy.chmod(0o444)
        before = copy.read_bytes()
        with schema.open_reader(copy) as reader:
            assert reader.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
            assert reader.execute("SELECT number, state FROM batches").fetchall() == [
                (0, "done"), (1, "failed"), (2, "planned"),
            ]  # fmt: skip
        assert copy.read_bytes() == before
        copy.chmod(0o644)
        journal = Journal(tmp_path)
        decision = begin(journal, tasks(6))
        assert (decision.plan_change, decision.run) == ("same", (1, 2))
        run_batch(journal, tmp_path, Batch(1, decision.batches[1]))
        assert [b.state for b in journal.plan().batches.values()] == ["done", "done", "planned"]
        journal.close()

    def test_there_is_one_of_every_version(self):
        there = {path.stem for path in GOLDEN.glob("journal_v*.sqlite")}
        assert there == {f"journal_v{n}" for n in range(1, schema.VERSION + 1)}
