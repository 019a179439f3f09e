"""Every notebook runs from a clean kernel, on a small screen."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

IMPORTS = """
from pathlib import Path

from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen

work = Path("work")
"""
SMALL = {
    "quick_start": """
spec = ScreenSpec(plates=1, wells_per_plate=2, frames=3, height=256, width=320, nuclei_per_frame=25)
""",
    "features_to_hits": """
spec = ScreenSpec(plates=2, wells_per_plate=7, frames=2, height=192, width=224, nuclei_per_frame=12)
""",
    "resume_and_rerun": """
spec = ScreenSpec(
    plates=1, wells_per_plate=6, frames=2, height=160, width=192, nuclei_per_frame=8,
    wanted_frames=(1, 2), invalid_frames=(2,),
)
""",
    "movies_to_tracks": """
spec = ScreenSpec(
    plates=1, wells_per_plate=5, frames=12, height=160, width=192, nuclei_per_frame=8, seed=3
)
""",
}


def parameters_of(notebook):
    return next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))


def images_in(notebook):
    return sum(
        "image/png" in output.get("data", {})
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


def text_in(notebook):
    """Return all that the cells printed or showed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(
        output.get("text")
        or output.get("data", {}).get("image/svg+xml")
        or output.get("data", {}).get("text/plain", "")
        for output in outputs
    )


def run(name, folder, parameters=None):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    if parameters is not None:
        parameters_of(notebook).source = parameters
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": folder}},
        coalesce_streams=True,  # a line may come in two messages
    ).execute()  # fmt: skip
    return notebook


@pytest.mark.models
def test_quick_start_runs(tmp_path):
    notebook = run("quick_start", tmp_path, IMPORTS + SMALL["quick_start"])
    assert images_in(notebook) == 4
    found = notebook.cells[-2].outputs[0]["data"]["text/plain"]
    assert "nuclei found" in found


@pytest.mark.models
def test_features_to_hits_runs(tmp_path):
    notebook = run("features_to_hits", tmp_path, IMPORTS + SMALL["features_to_hits"])
    assert images_in(notebook) == 2
    said = text_in(notebook)
    assert "14 wells with" in said
    assert "pycytominer.feature_select" in said
    assert "mean_average_precision" in said


@pytest.mark.models
def test_resume_and_rerun_runs(tmp_path):
    notebook = run("resume_and_rerun", tmp_path, IMPORTS + SMALL["resume_and_rerun"])
    assert images_in(notebook) == 1
    said = text_in(notebook)
    for part in ("interrupted", "IncompleteFileError", "3 of 3 batches verified"):
        assert part in said, part
    # How far the first run comes before it stops is a matter of speed.
    resumed, rerun = re.findall(r"batches run now: \[(.*)\]", said)
    assert "0" not in resumed
    assert rerun == "2"


@pytest.mark.slow
@pytest.mark.models
def test_movies_to_tracks_runs(tmp_path):
    notebook = run("movies_to_tracks", tmp_path, IMPORTS + SMALL["movies_to_tracks"])
    assert images_in(notebook) == 4
    said = text_in(notebook)
    assert "2 movies downloaded, 0 kept from before" in said
    assert "0 movies downloaded, 2 kept from before" in said
    for part in ("Lineage of track", "max_gap 0", "res_track.txt", "SIM0001_01_M13_1.geff"):
        assert part in said, part


@pytest.mark.models
def test_the_control_wells_run_on_real_movies(shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("IDRSTREAM_SHARED_DATA", str(shared_data))
    notebook = run("idr0013_controls", tmp_path)
    assert images_in(notebook) == 1
    said = text_in(notebook)
    assert "384 wells on plate LT0001_02" in said
    assert "0 failures" in said


def test_the_control_wells_say_what_they_need(tmp_path, monkeypatch):
    monkeypatch.setenv("IDRSTREAM_SHARED_DATA", str(tmp_path / "nowhere"))
    notebook = run("idr0013_controls", tmp_path)
    assert "Not there, so nothing is run below" in text_in(notebook)
    assert not images_in(notebook)
    assert not list(tmp_path.iterdir())


def test_notebooks_are_kept_with_their_pictures():
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        assert images_in(notebook) >= 1, path
        for cell in notebook.cells:
            assert not [o for o in cell.get("outputs", []) if o.output_type == "error"], path
        assert "%|" not in text_in(notebook), path  # a progress bar that stands still
        assert "/tmp" not in text_in(notebook), path  # where it was run
