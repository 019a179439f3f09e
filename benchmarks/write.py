"""How long it takes to write a batch's table, and how large the file is.

    python benchmarks/write.py --out benchmarks/results/write.json

A table as a stream has it (360 nuclei, 1,280 features) is written as the first IDR_stream did it
(pandas to gzip), as csv.gz and as Parquet.
"""

from __future__ import annotations

import argparse
import gzip
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _common import write_result

from idrstream.compile import WRITERS


def make_table(rows: int) -> pd.DataFrame:
    """Return a table with the columns of a stream."""
    rng = np.random.default_rng(0)
    texts = {f"Metadata_{number}": np.array(["LT0001_02"] * rows, object) for number in range(8)}
    where = {f"Location_Center_{axis}": rng.uniform(0, 1024, rows) for axis in "XY"}
    features = rng.normal(scale=0.2, size=(rows, 1280)).astype(np.float32)
    names = [f"efficientnet_{number}" for number in range(1280)]
    return pd.concat([pd.DataFrame(where | texts), pd.DataFrame(features, columns=names)], axis=1)


def with_pandas(table: pd.DataFrame, path: Path) -> None:
    """Write as the first IDR_stream did."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=1) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        table.to_csv(text)


def main() -> None:
    """Measure each way, print a table, keep the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=360)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="JSON file for the raw numbers")
    options = parser.parse_args()
    table, rows = make_table(options.rows), []
    with tempfile.TemporaryDirectory(prefix="idrstream-benchmark-") as folder:
        for name, write in {"pandas csv.gz": with_pandas, **WRITERS}.items():
            path = Path(folder) / name.replace(" ", "_")
            seconds = []
            for _ in range(options.repeats + 1):
                begun = time.perf_counter()
                write(table, path)
                seconds.append(time.perf_counter() - begun)
            rows.append({"way": name, "seconds": seconds[1:], "bytes": path.stat().st_size})
            print(f"{name:16}{np.median(seconds[1:]):8.3f} s{path.stat().st_size / 1e6:8.2f} MB")
    write_result(options.out, "write", ("pandas", "pyarrow"), nuclei=options.rows, rows=rows)


if __name__ == "__main__":
    main()
