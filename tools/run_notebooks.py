"""Runs the notebooks in a scratch folder and keeps their outputs."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

PROJECT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run the notebooks that are named, or all, and write them back."""
    os.environ.setdefault("IDRSTREAM_SHARED_DATA", str(PROJECT.parent / "shared" / "data"))
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        if sys.argv[1:] and path.stem not in sys.argv[1:]:
            continue
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(
                notebook, timeout=3600, kernel_name="python3",
                resources={"metadata": {"path": folder}},
            ).execute()  # fmt: skip
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times of day change with every run
            for output in cell.get("outputs", []):
                output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        notebook.metadata.pop("widgets", None)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
