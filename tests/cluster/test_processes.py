"""A stream on workers of this machine: real processes, movies, tables, journal."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from idrstream.cluster import Processes, Recipe
from idrstream.cluster.layout import ClusterFolder
from idrstream.cluster.receipts import attempts, read_receipt
from idrstream.folder.journal.reader import open_journal
from idrstream.folder.verify import verify_folder
from idrstream.report.write import write_report
from idrstream.schedule.events import BatchPublished

FAULTS = Path(__file__).parents[1] / "faults"


def left_behind(folder):
    """Return what is left of workers in an output folder and the folder for intermediates."""
    cluster = ClusterFolder(folder / "out")
    below = [cluster.inbox, cluster.staging, cluster.workers, folder / "tmp"]
    return [str(path) for where in below if where.exists() for path in where.rglob("*")]


def attempts_of(folder):
    with sqlite3.connect(f"file:{folder}/journal.sqlite?mode=ro", uri=True) as journal:
        return dict(journal.execute("SELECT number, attempts FROM batches"))


def states_of(folder):
    with sqlite3.connect(f"file:{folder}/journal.sqlite?mode=ro", uri=True) as journal:
        return dict(journal.execute("SELECT number, state FROM batches"))


def test_two_workers_make_the_same_bytes_as_one_machine(parts, screen, wanted, recipe, tmp_path):
    stream = parts.make_stream(screen, tmp_path)
    counted = tmp_path / "made"
    executor = Processes(2, recipe=recipe(made=str(counted)))
    result = stream.run_stream(parts.table_of(screen), 1, progress=False, executor=executor)
    assert not result.failed_batches
    assert not result.remaining_batches
    assert parts.results(tmp_path / "out") == wanted
    assert verify_folder(tmp_path / "out").is_good
    assert left_behind(tmp_path) == []
    assert set(attempts_of(tmp_path / "out").values()) == {1}
    # Six batches and two plates by two workers: each made its components once.
    assert len(counted.read_text().splitlines()) == 2
    logged = (tmp_path / "stream.log").read_text()
    assert logged.count(" was done by ") == 6
    with open_journal(tmp_path / "out") as journal:
        done = journal.worker_attempts()
    assert sorted(one.batch for one in done) == [*range(6)]
    assert {one.outcome for one in done} == {"done"}
    assert {one.host for one in done} == {socket.gethostname()}
    assert all(one.worked_s > 0 and one.loading_s > 0 and one.peak_bytes > 1e7 for one in done)
    page = write_report(tmp_path / "out").path.read_text()
    assert all(f">{one.worker}<" in page for one in done)


@pytest.fixture(scope="module")
def twenty(parts, tmp_path_factory):
    """Return a screen of twenty batches and what one machine makes of it."""
    folder = tmp_path_factory.mktemp("twenty")
    screen = parts.make_screen(folder / "screen", plates=2, wells=10)
    parts.make_stream(screen, folder).run_stream(parts.table_of(screen), 1, progress=False)
    return screen, parts.results(folder / "out")


def test_a_poisonous_batch_among_twenty_is_failed_after_three_deaths_and_no_other(
    parts, twenty, tmp_path
):
    screen, wanted = twenty
    table = parts.table_of(screen)
    row, deaths = table.iloc[7], tmp_path / "deaths"
    recipe = Recipe(
        function="quick_parts:make_worker_stream",
        arguments={
            "screen": str(screen.folder), "deaths": str(deaths),
            "poison": f"plate {row['Plate']} well {row['Well']}",
        },
    )  # fmt: skip
    stream = parts.make_stream(screen, tmp_path)
    result = stream.run_stream(table, 1, progress=False, executor=Processes(2, recipe=recipe))
    assert result.failed_batches == (7,)
    assert not result.remaining_batches
    (failed,) = [item for item in result.batches if item.published is None]
    assert failed.error_kind == "WorkerDiedError"
    assert "3 workers died" in failed.error
    assert "-9" in failed.error
    assert len(deaths.read_text().splitlines()) == 3
    made = parts.results(tmp_path / "out")
    assert {name: wanted[name] for name in made} == made
    tables = {f"batch_{number}.csv.gz" for number in range(20)}
    assert tables - set(made) == {"batch_7.csv.gz"}
    assert left_behind(tmp_path) == []
    assert stream.failed()["Kind"].tolist() == ["WorkerDiedError"]
    assert not (tmp_path / "out" / "cluster" / "deaths.json").read_text().strip("{}")


RUN = """
import sys
sys.path.insert(0, {faults!r})
import quick_parts as parts
from pathlib import Path
from types import SimpleNamespace
from idrstream import read_table
from idrstream.cluster import Processes, Recipe
root = Path({screen!r})
screen = SimpleNamespace(folder=root, screens_path=root / "idr0013-screenA-plates.tsv")
stream = parts.make_stream(screen, Path({folder!r}))
recipe = Recipe(function="quick_parts:make_worker_stream",
    arguments={{"screen": {screen!r}, "slow_s": 0.3}})
stream.run_stream(read_table({table!r}), 1, progress=False, executor=Processes(1, recipe=recipe))
"""


@pytest.mark.slow
def test_a_coordinator_that_is_killed_loses_nothing(parts, screen, wanted, recipe, tmp_path):
    code = RUN.format(
        faults=str(FAULTS), screen=str(screen.folder), folder=str(tmp_path),
        table=str(screen.table_path),
    )  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    cluster = ClusterFolder(tmp_path / "out")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("batch_*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    # While it sleeps its worker finishes more.
    os.kill(process.pid, signal.SIGSTOP)
    while len(attempts(cluster.inbox)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    waiting = {read_receipt(path).batch for path in attempts(cluster.inbox)}
    process.kill()
    process.wait()
    process.stderr.close()
    waiting -= {number for number, state in states_of(tmp_path / "out").items() if state == "done"}
    assert waiting
    seen = []
    stream = parts.make_stream(screen, tmp_path)
    result = stream.resume(
        progress=False, executor=Processes(1, recipe=recipe()), listeners=[seen.append]
    )
    assert not result.remaining_batches
    assert parts.results(tmp_path / "out") == wanted
    assert left_behind(tmp_path) == []
    published = [event.batch.number for event in seen if isinstance(event, BatchPublished)]
    assert set(published[: len(waiting)]) >= waiting  # from the inbox, before anything was given
    assert verify_folder(tmp_path / "out").is_good
