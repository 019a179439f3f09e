"""Read a table of a million rows and turn it into tasks; prints and keeps the raw numbers.

python benchmarks/table.py [--rows 1000000]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from idrstream.screen import read_table, tasks_from_table, well_name

RESULTS = Path(__file__).parent / "results" / "table.json"


def write_table(path: Path, rows: int) -> None:
    """Write a table with the columns of a whole screen, a path in every row."""
    wells = [well_name(number + 1) for number in range(384)]
    pd.DataFrame(
        {
            "Plate": [f"P{row // 384:05d}" for row in range(rows)],
            "Well": [wells[row % 384] for row in range(rows)],
            "Frames": "50",
            "Well Number": [row % 384 + 1 for row in range(rows)],
            "Control Type": "negative control",
            "Original Gene Target": [f"ENSG{row % 20_000:011d}" for row in range(rows)],
            "Path": [f"/uod/idr/filesets/s/{row}.ch5" for row in range(rows)],
        }
    ).to_csv(path, sep="\t")


def main() -> None:
    """Measure once and write the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.tsv"
        write_table(path, rows)
        began = time.perf_counter()
        table = read_table(path)
        read = time.perf_counter()
        tasks = tasks_from_table(table)
        done = time.perf_counter()
    content = {
        "rows": len(tasks),
        "read_s": round(read - began, 2),
        "tasks_s": round(done - read, 2),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "python": platform.python_version(),
        "pandas": pd.__version__,
    }
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
