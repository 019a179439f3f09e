# ruff: noqa: T201
"""Stands in for DeepProfiler's command; STAND_IN says what it does."""

from __future__ import annotations

import csv
import os
import signal
import sys
import time
from pathlib import Path

how = os.environ["STAND_IN"]
options = dict(part.removeprefix("--").split("=", 1) for part in sys.argv[1:-1])
root = Path(options["root"])
assert sys.argv[-1] == "profile"
assert (root / "inputs" / "config" / options["config"]).is_file()
assert sys.stdin.read() == ""
print("cwd", Path.cwd())
print("gpu", options["gpu"])
if how == "exit":
    print("ValueError: no such layer: avg_pool", file=sys.stderr)
    sys.exit(1)
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how in {"hang", "stubborn"}:
    if how == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("hanging", flush=True)
    Path(root / "hanging").write_text(str(os.getpid()))
    time.sleep(600)
if how == "chatty":
    for number in range(20_000):
        print(f"line {number} " + "x" * 1000)
    sys.exit(3)

import numpy as np  # noqa: E402, slow, and not needed to fail

rng = np.random.default_rng(0)
with (root / "inputs" / "metadata" / "index.csv").open(newline="") as stream:
    rows = list(csv.DictReader(stream))
for row in rows:
    plate, well, site = (row[f"Metadata_{name}"] for name in ("Plate", "Well", "Site"))
    path = root / "inputs" / "locations" / plate / f"{well}-{site}-Nuclei.csv"
    with path.open(newline="") as stream:
        lines = list(csv.reader(stream))[1:]
    if not lines or how == "nothing":
        continue
    locations = np.array([line[:2] for line in lines], dtype=float)
    features = rng.normal(size=(len(lines), 1280)).astype(np.float32)
    if how == "short":
        features = features[:-1]
    elif how == "narrow":
        features = features[:, :100]
    elif how == "nan":
        features[0, 0] = np.nan
    elif how == "constant":
        features[:] = 0
    elif how == "alike":
        features[:] = rng.normal(size=1280)
    elif how == "untrained":
        features *= 1e-7
    elif how == "moved":
        locations += 1
    target = root / "outputs" / "results" / "features" / plate / well / f"{site}.npz"
    target.parent.mkdir(parents=True, exist_ok=True)
    assert not target.exists(), "DeepProfiler would take it for done"
    metadata = {**row, "Metadata_Model": "efficientnet"}
    np.savez_compressed(target, features=features, metadata=metadata, locations=locations)
    if how == "truncated":
        target.write_bytes(target.read_bytes()[:500])
    elif how == "other":
        np.savez_compressed(target, locations=locations)
