"""Jobs of a real SLURM with two nodes on loopback."""

from __future__ import annotations

from idrstream.cluster.jobs import JobArrays
from idrstream.cluster.layout import ClusterFolder
from idrstream.cluster.queues import Resources

SMALL = Resources(cores=1, memory="600MB", duration="00:10:00")


def arrays(folder, recipe, **options):
    cluster = ClusterFolder(folder / "out")
    return JobArrays(
        "slurm", options.pop("resources", SMALL), cluster, batches_per_job=2, recipe=recipe,
        interval_s=0.5, **options,
    )  # fmt: skip


def test_an_array_of_jobs_makes_the_same_bytes(slurm, parts, screen, wanted, recipe, tmp_path):
    stream = parts.make_stream(screen, tmp_path)
    table = parts.table_of(screen)
    result = stream.run_stream(table, 1, progress=False, executor=arrays(tmp_path, recipe()))
    assert not result.failed_batches
    assert not result.remaining_batches
    assert parts.results(tmp_path / "out") == wanted
    cluster = ClusterFolder(tmp_path / "out")
    assert not list(cluster.inbox.iterdir())
    assert not list(cluster.staging.iterdir())
