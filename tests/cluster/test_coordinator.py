"""What the coordinator takes, gives and refuses; its workers are threads of this process."""

from __future__ import annotations

import json
import shutil
import threading

import pytest
from inline_workers import InlineWorkers, make_worker

from idrstream.cluster import Processes, Work
from idrstream.cluster.layout import ClusterFolder
from idrstream.cluster.receipts import attempts, read_receipt
from idrstream.errors import ClusterError, ConfigError
from idrstream.screen import tasks_from_table


@pytest.fixture
def begun(parts, screen, recipe, tmp_path):
    """Return a stream with one batch done, its executor, and the images of the others."""
    stream = parts.make_stream(screen, tmp_path)
    table = parts.table_of(screen)
    executor = InlineWorkers(recipe=recipe())
    stream.run_stream(table, 1, batch_nums=[0], progress=False, executor=executor)
    return stream, executor, tasks_from_table(table)


def test_two_workers_at_the_same_batch_at_the_same_time(parts, wanted, begun, tmp_path):
    stream, executor, tasks = begun
    cluster = ClusterFolder(tmp_path / "out")
    work = [Work(batches={1: (tasks[1],), 2: (tasks[2],)}) for _ in range(2)]
    workers = [make_worker(cluster.stream) for _ in work]
    ends = []
    threads = [
        threading.Thread(target=lambda c=c, w=w: ends.append(c.do(w)))
        for c, w in zip(workers, work, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        worker.__exit__()
    assert ends == [("finished", "")] * 2
    assert sorted(read_receipt(path).batch for path in attempts(cluster.inbox)) == [1, 1, 2, 2]
    result = stream.resume(progress=False, executor=executor)
    assert not result.remaining_batches
    assert parts.results(tmp_path / "out") == wanted
    assert attempts(cluster.inbox) == []


def test_a_changed_or_hostile_attempt_is_not_taken(parts, wanted, begun, tmp_path):
    stream, executor, tasks = begun
    cluster = ClusterFolder(tmp_path / "out")
    with make_worker(cluster.stream) as worker:
        work = Work(batches={n: (tasks[n],) for n in (1, 2)})
        assert worker.do(work) == ("finished", "")
    one, two = sorted(attempts(cluster.inbox), key=lambda path: path.name)
    with (one / "batch_1.csv.gz").open("r+b") as file:  # damaged on its way
        file.seek(100)
        file.write(b"\0\0")
    content = json.loads((two / "receipt.json").read_text())
    digest = content["files"]["batch_2.csv.gz"]
    content["files"]["../../stolen"] = digest
    (two / "receipt.json").write_text(json.dumps(content))
    linked = cluster.inbox / f"3-{'0' * 32}"
    linked.symlink_to(tmp_path)
    result = stream.resume(progress=False, executor=executor)
    assert not result.remaining_batches
    assert parts.results(tmp_path / "out") == wanted
    assert not (tmp_path / "stolen").exists()
    assert tmp_path.is_dir()


def test_what_workers_cannot_make_is_told_at_once(parts, screen, recipe, tmp_path):
    stream = parts.make_stream(screen, tmp_path)
    table = parts.table_of(screen)
    with pytest.raises(ConfigError, match="from_settings"):
        stream.run_stream(table, 1, progress=False, executor=Processes(1))
    with pytest.raises(ConfigError, match="connections"):
        Processes(20, connections=4)
    other = InlineWorkers(recipe=recipe(quantile=0.8))
    with pytest.raises(ClusterError, match="models or settings on"):
        stream.run_stream(table, 1, progress=False, executor=other)
    shutil.rmtree(tmp_path / "out" / "cluster")


def test_masks_are_kept_and_go_with_a_table_that_has_none(parts, screen, recipe, tmp_path):
    stream = parts.make_stream(screen, tmp_path)
    table = parts.table_of(screen)
    options = {"batch_nums": [0], "progress": False}
    executor = InlineWorkers(recipe=recipe())
    stream.run_stream(table, 1, executor=executor, keep_masks=True, **options)
    masks = tmp_path / "out" / "masks" / "batch_0.zarr"
    here = parts.make_stream(screen, tmp_path / "here")
    here.run_stream(table, 1, keep_masks=True, **options)
    other = tmp_path / "here" / "out" / "masks" / "batch_0.zarr"
    assert parts.files_below(masks) == parts.files_below(other) != []
    assert stream.verify().problems == ()
    stream.run_stream(table, 1, executor=executor, force_recompute=True, **options)
    assert not masks.exists()
    assert stream.verify().problems == ()
