"""How well ``plan --probe`` foretells the time of a whole stream.

    python benchmarks/probe.py [--probe 3] [--plates 2] [--wells 15] [--batch-size 5]

Simulates the demo's screen with 30 images, asks ``idrstream plan --probe K`` in its own process how
long a stream of it takes, then runs that stream in another (``idrstream run``), and compares. The
interval should hold the truth, the ratio should be within 0.7 to 1.3. On a machine that does other
work meanwhile both are off; the load average is written down. Writes
benchmarks/results/probe.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _common

from idrstream.demo import config_for
from idrstream.simulate import ScreenSpec, simulate_screen

CONFIG = """
[stream]
table = '{screen.table_path}'
tmp_dir = 'tmp'
final_data_dir = 'features'
batch_size = {batch_size}
extra_metadata = ["object_outlines"]
progress = false
[download]
method = "local"
root = '{screen.folder}'
screens_path = '{screen.screens_path}'
[preprocess]
illumination_context = "{context}"
[segment]
model_type = "idrstream-nuclei"
diameter = 0
flow_threshold = 0.8
remove_edge_masks = true
[profile]
dp_config = '{dp_config}'
"""


def run(*arguments: str) -> tuple[str, float]:
    """Run the command line; return what it wrote and the seconds that it took."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "idrstream", *arguments],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return done.stdout, time.monotonic() - started


def measure(folder: Path, spec: ScreenSpec, batch_size: int, context: str, probe: int) -> Any:
    """Foretell a stream and run it; return both."""
    screen = simulate_screen(folder / "screen", spec)
    config = folder / "stream.toml"
    dp_config = config_for(spec.height, spec.width, folder)
    config.write_text(
        CONFIG.format(screen=screen, batch_size=batch_size, context=context, dp_config=dp_config),
        encoding="utf-8",
    )
    before = os.getloadavg()
    text, plan_s = run("plan", str(config), "--probe", str(probe), "--json")
    plan = json.loads(text)
    _, run_s = run("run", str(config))
    told = plan["time"]
    return {
        "images": plan["images_left"],
        "batch_size": batch_size,
        "illumination_context": context,
        "probe": probe,
        "plan_s": round(plan_s, 1),
        "told_s": round(told["seconds"], 1),
        "low_s": round(told["low_s"], 1),
        "high_s": round(told["high_s"], 1),
        "startup_s": round(told["startup_s"], 1),
        "took_s": round(run_s, 1),
        "ratio": round(told["seconds"] / run_s, 3),
        "within_interval": told["low_s"] <= run_s <= told["high_s"],
        "stages_s": {name: round(value, 3) for name, value in told["stages"].items()},
        "load_before": [round(value, 2) for value in before],
        "load_after": [round(value, 2) for value in os.getloadavg()],
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--probe", type=int, default=3)
    parser.add_argument("--plates", type=int, default=2)
    parser.add_argument("--wells", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=5)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1344)
    parser.add_argument("--nuclei", type=int, default=120)
    parser.add_argument("--contexts", nargs="+", default=["plate", "frames"])
    parser.add_argument("--output", type=Path, default=_common.RESULTS / "probe.json")
    given = parser.parse_args()
    spec = ScreenSpec(
        plates=given.plates, wells_per_plate=given.wells, frames=5, height=given.height,
        width=given.width, nuclei_per_frame=given.nuclei,
    )  # fmt: skip
    rows = []
    question = f"How well does plan --probe {given.probe} foretell the time of a whole stream?"
    for context in given.contexts:
        with tempfile.TemporaryDirectory() as name:
            rows.append(measure(Path(name), spec, given.batch_size, context, given.probe))
        _common.show([{k: v for k, v in rows[-1].items() if not isinstance(v, (list, dict))}])
        _common.write_result(given.output, question, ["torch", "cellpose"], runs=rows)


if __name__ == "__main__":
    main()
