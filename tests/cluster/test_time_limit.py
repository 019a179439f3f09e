"""A worker begins nothing that it cannot end in time, and gives the rest back."""

from __future__ import annotations

import time

from inline_workers import InlineWorkers, make_worker

from idrstream.cluster import Processes, Work
from idrstream.cluster.layout import ClusterFolder
from idrstream.cluster.receipts import attempts, read_receipt
from idrstream.screen import tasks_from_table


def begin(parts, screen, recipe, folder):
    stream = parts.make_stream(screen, folder)
    table = parts.table_of(screen)
    executor = InlineWorkers(recipe=recipe(slow_s=0.5))  # not all batches end in 1.5 s
    stream.run_stream(table, 1, batch_nums=[0], progress=False, executor=executor)
    work = Work(batches={n: (task,) for n, task in enumerate(tasks_from_table(table)) if n})
    return stream, work, ClusterFolder(folder / "out")


def test_what_has_no_time_is_given_back(parts, screen, wanted, recipe, tmp_path):
    stream, work, cluster = begin(parts, screen, recipe, tmp_path)
    with make_worker(cluster.stream, deadline=time.time() + 31.5) as worker:
        began = time.monotonic()
        kind, _ = worker.do(work)
        assert time.monotonic() - began < 30
    assert kind == "returned"
    done = {read_receipt(path).batch for path in attempts(cluster.inbox)}
    assert done < work.batches.keys()
    with make_worker(cluster.stream, deadline=time.time() + 1) as worker:
        assert worker.do(work)[0] == "returned"
    assert {read_receipt(path).batch for path in attempts(cluster.inbox)} == done
    result = stream.resume(progress=False, executor=InlineWorkers(recipe=recipe()))
    assert not result.failed_batches
    assert parts.results(tmp_path / "out") == wanted


def test_returned_batches_are_given_to_the_next_worker(parts, screen, wanted, recipe, tmp_path):
    """Each worker has time for few batches; none of them is a failure."""
    stream = parts.make_stream(screen, tmp_path)
    table = parts.table_of(screen)

    class Short(InlineWorkers):
        def give(self, work, stream_file):
            self.options = {"deadline": time.time() + 33}
            while self.idle:
                self.idle.pop().__exit__()
            super().give(work, stream_file)

    executor = Short(recipe=recipe(slow_s=0.5))
    result = stream.run_stream(table, 1, progress=False, executor=executor)
    assert not result.failed_batches
    assert not result.remaining_batches
    assert parts.results(tmp_path / "out") == wanted
    assert sum(bool(work.batches) for work in executor.given) > 1


def test_workers_that_are_asked_to_stop_leave_what_is_done(parts, screen, wanted, recipe, tmp_path):
    stream = parts.make_stream(screen, tmp_path)
    run = stream.run_stream(
        parts.table_of(screen), 1, background=True,
        executor=Processes(1, recipe=recipe(slow_s=0.5)),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("batch_*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "workers" in repr(run.status())
    run.stop()
    left = run.result().remaining_batches
    assert left
    made = parts.results(tmp_path / "out")
    assert {name: wanted[name] for name in made} == made
    cluster = ClusterFolder(tmp_path / "out")
    assert not [*cluster.inbox.iterdir(), *cluster.staging.iterdir(), *cluster.workers.iterdir()]
