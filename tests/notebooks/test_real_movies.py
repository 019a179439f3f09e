"""Real Mitocheck movies to features from a notebook's kernel, with the first IDR_stream's calls."""

import nbformat
import pytest
from nbclient import NotebookClient

SETUP = """
from pathlib import Path

import pandas as pd

from idrstream import DeepProfilerRun, make_downloader
from idrstream.demo import config_for

movies, screens = Path({movies!r}), Path({screens!r})


def run(name, rows, size):
    stream = DeepProfilerRun("idr0013", Path(name) / "tmp", Path(name) / "features", log="s.log")
    stream.init_downloader(make_downloader(method="local", root=movies, screens_path=screens))
    stream.init_preprocessor(None, True)
    stream.init_segmentor({{"model_type": "idrstream-nuclei", "channels": [0, 0], "diameter": 0,
                           "flow_threshold": 0.8, "cellprob_threshold": 0,
                           "remove_edge_masks": True}})
    stream.copy_DP_files(config_for(*size, Path(name)))
    table = pd.DataFrame(rows, columns=["Plate", "Well", "Frames"])
    result = stream.run_dp_stream(table, batch_size=10, extra_metadata=["object_outlines"])
    stream.close()
    cells = pd.read_csv(Path(name) / "features" / "batch_0.csv.gz", index_col=0)
    assert cells.filter(like="efficientnet_").shape[1] == 1280
    return cells.groupby("Metadata_Well").size(), result.failures()
"""

SMALL = """
counts, failures = run(
    "small",
    [("LT0001_02", "A4", "1,15,30,31"), ("LT0001_02", "B2", "1,8")],
    (190, 211),
)
assert list(counts.index) == ["26_1", "4_1", "4_15", "4_30"], counts
assert counts.min() >= 5, counts
assert failures["Frame"].tolist() == [31, 8], failures
"""

LARGE = """
counts, failures = run("large", [("LT0001_02", "A15", "1")], (364, 260))
assert list(counts.index) == ["15_1"] and counts.min() >= 3, counts
assert not len(failures), failures
"""


@pytest.mark.models
def test_real_movies_stream_from_a_notebook(shared_data, tmp_path):
    setup = SETUP.format(
        movies=str(shared_data / "movies"),
        screens=str(shared_data / "idr" / "idr0013-screenA-plates.tsv"),
    )
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in (setup, SMALL, LARGE)]
    )
    NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    log = (tmp_path / "s.log").read_text()
    assert "Processing well A15 from LT0001_02, frames [1]" in log
