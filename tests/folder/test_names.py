"""Which files in an output folder are a stream's."""

import pytest

from idrstream.folder.names import is_leftover, is_of_cluster


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("cluster/stream.json", True),
        ("cluster/logs/worker-1.log", True),
        ("cluster/dask/dask-worker-1.err", True),
        ("cluster/notes.txt", False),
        ("cluster", False),
        ("my/cluster/logs/a.log", False),
    ],
)
def test_files_of_workers(name, ours):
    assert is_of_cluster(name) is ours


@pytest.mark.parametrize(
    ("whole", "ours"),
    [
        ("batch_3.csv.gz", True),
        (".idrstream.live.json", True),
        ("cluster/stream.json", True),
        ("cluster/deaths.json", True),
        ("cluster/jobs/book.json", True),
        ("cluster/workers/one.json", False),  # a worker's, which may still write it
        ("cluster/logs/worker-1.log", False),
        ("notes.txt", False),
    ],
)
def test_partial_files_that_a_crash_left(whole, ours):
    folder, _, name = whole.rpartition("/")
    part = f"{folder}/.{name}.{'0a' * 16}.part" if folder else f".{name}.{'0a' * 16}.part"
    assert is_leftover(part) is ours
    assert not is_leftover(whole)
