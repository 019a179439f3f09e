"""Every notebook runs from a clean kernel, on a small screen."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

SMALL = """
from pathlib import Path

from idrstream import IdrStream, LocalDownloader, ScreenSpec, read_table, simulate_screen

work = Path("quick_start")
spec = ScreenSpec(plates=1, wells_per_plate=2, frames=3, height=256, width=320, nuclei_per_frame=25)
"""


def parameters_of(notebook):
    return next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))


def images_in(notebook):
    return sum(
        "image/png" in output.get("data", {})
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


@pytest.mark.models
def test_quick_start_runs(tmp_path):
    notebook = nbformat.read(NOTEBOOKS / "quick_start.ipynb", as_version=4)
    parameters_of(notebook).source = SMALL
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    assert images_in(notebook) == 4
    found = notebook.cells[-2].outputs[0]["data"]["text/plain"]
    assert "nuclei found" in found


def test_notebooks_are_kept_with_their_pictures():
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        assert images_in(notebook) >= 1, path
        for cell in notebook.cells:
            assert not [o for o in cell.get("outputs", []) if o.output_type == "error"], path
