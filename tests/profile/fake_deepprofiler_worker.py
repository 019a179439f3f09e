# ruff: noqa: T201
"""A stand-in for the process that holds DeepProfiler: no TensorFlow, but every way to misbehave.

Called as ``fake_deepprofiler_worker.py HOW FOLDER``. What happens once leaves a file behind, in
the folder of the project.
"""

from __future__ import annotations

import csv
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from idrstream.profile.deepprofiler.worker import serve
from idrstream.workers.messages import watched_requests, write_message

how = sys.argv[1]


def profile(root: str, config: str) -> int:
    place = Path(root)
    assert (place / "inputs" / "config" / config).is_file()
    with (place / "pids").open("a") as pids:
        pids.write(f"{os.getpid()}\n")
    attempts = len((place / "pids").read_text().split())
    print("noise of TensorFlow", os.environ["CUDA_VISIBLE_DEVICES"], Path.cwd(), flush=True)
    if how == "dies always" or (how == "dies once" and attempts == 1):
        print("Killed, says the kernel", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exits":
        os._exit(7)
    if how == "hangs":
        time.sleep(600)
    if how == "fails" or (how == "fails once" and attempts == 1):
        raise ValueError("no such layer:\navg_pool")
    with (place / "inputs" / "metadata" / "index.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        plate, well, site = (row[f"Metadata_{name}"] for name in ("Plate", "Well", "Site"))
        locations = place / "inputs" / "locations" / plate / f"{well}-{site}-Nuclei.csv"
        nuclei = len(locations.read_text().splitlines()) - 1
        if nuclei == 0 or how == "writes nothing":
            continue
        target = place / "outputs" / "results" / "features" / plate / well / f"{site}.npz"
        assert not target.exists(), "DeepProfiler would take it for done"
        target.parent.mkdir(parents=True, exist_ok=True)
        features = np.random.default_rng(nuclei).normal(size=(nuclei, 1280)).astype(np.float32)
        np.savez(target, features=features)
        if how == "truncates":
            target.write_bytes(target.read_bytes()[:500])
    return 8


replies = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
if how == "does not start":
    sys.exit("ImportError: libcuda")
if how == "not installed":
    write_message(replies, {"error": "missing", "message": "No module named 'deepprofiler'"})
    sys.exit(1)
write_message(replies, {"ready": "fake"})
serve(profile, watched_requests(sys.stdin.buffer), replies)
