"""Measure images a second and peak memory as batches, images and cells grow.

    python benchmarks/scale.py [--images 8] [--engine torch] [--only batch_size]

Simulated movies from a local folder, one frame each, through the whole stream with the shipped
models: batch size 1, 4 and 8; frames of 512, 1024 and 2048 pixels a side; 20, 120 and 400 cells
a frame; the other two always as in the middle. Each case runs in a process of its own. Writes
benchmarks/results/scale.json. Takes many minutes without a GPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _common

VALUES = {"batch_size": (1, 4, 8), "side": (512, 1024, 2048), "cells": (20, 120, 400)}
MIDDLE = {"batch_size": 4, "side": 1024, "cells": 120}


def measure(images: int, engine: str, *, batch_size: int, side: int, cells: int) -> dict[str, Any]:
    """Simulate a small screen and stream it."""
    from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen
    from idrstream.demo import config_for

    spec = ScreenSpec(
        plates=1, wells_per_plate=images, frames=3, height=side, width=side,
        nuclei_per_frame=cells, invalid_frames=(), empty_wells=(), wanted_frames=(2,),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        screen = simulate_screen(folder / "mirror", spec)
        simulated_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        stream = IdrStream("idr0013", folder / "tmp", folder / "out")
        stream.init_downloader(
            make_downloader(method="local", root=screen.folder, screens_path=screen.screens_path)
        )
        stream.init_preprocessor()
        stream.init_segmentor({"model_type": "idrstream-nuclei", "diameter": 0})
        stream.copy_DP_files(config_for(side, side, folder), engine=engine)
        stream.segmentor.load()
        began = time.monotonic()
        result = stream.run_stream(read_table(screen.table_path), batch_size, progress=False)
        seconds = time.monotonic() - began
        stream.close()
    assert not result.rerun_batches, result.failures()
    own, children = (
        resource.getrusage(who).ru_maxrss * 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "images": images,
        "nuclei": result.nuclei,
        "seconds": seconds,
        "images_per_s": images / seconds,
        "peak_gb": own / 1e9,
        "child_peak_gb": children / 1e9,
        "peak_before_gb": simulated_bytes / 1e9,
        "disk_mb": result.disk.peak_bytes / 1e6,
        "lanes": {lane.name: round(lane.share, 3) for lane in result.lanes},
    }


def main() -> None:
    """Measure every case, print the table, keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--only", choices=sorted(VALUES), help="only this one grows")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        sys.stdout.write(json.dumps(measure(given.images, given.engine, **given.one)))
        return
    rows = []
    for name, values in VALUES.items():
        for value in values if given.only in (None, name) else ():
            case = {**MIDDLE, name: value}
            command = [
                sys.executable, __file__, "--images", str(given.images), "--engine", given.engine,
                "--one", json.dumps(case),
            ]  # fmt: skip
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            rows.append({"grows": name, **case, **json.loads(done.stdout.splitlines()[-1])})
            sys.stderr.write(f"{name} {value}: {rows[-1]['seconds']:.0f} s\n")
    hidden = ("lanes", "peak_before_gb", "child_peak_gb", "images")
    _common.show([{k: v for k, v in row.items() if k not in hidden} for row in rows])
    _common.write_result(
        _common.RESULTS / "scale.json",
        "How do speed and memory change as batches, images and cells grow?",
        ("torch", "cellpose", "numpy"),
        rows=rows,
    )


if __name__ == "__main__":
    main()
