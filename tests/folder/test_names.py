"""Which files in an output folder are a stream's."""

import pytest

from idrstream.folder.names import is_of_cluster


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
