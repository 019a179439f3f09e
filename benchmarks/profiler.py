"""How many nuclei a second are profiled, and whether the features are those of DeepProfiler.

    python benchmarks/profiler.py --out benchmarks/results/profiler.json

Simulated frames with known nuclei go in batches of three images through DeepProfiler's command, run
anew for every batch, through DeepProfiler kept ready, and through PyTorch on the processor and,
where there is one, on the GPU. The first batch of a way that keeps something ready is told as its
start and does not count. Equality is the largest difference to the command's features over
their largest value; for half precisions also the relative error of the whole.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import write_result
from numpy.typing import NDArray

from idrstream.demo import config_for
from idrstream.models import profiler_checkpoint_path
from idrstream.profile import DeepProfilerProject, Engine, make_engine
from idrstream.records import Frame, ImageTask, Nuclei
from idrstream.simulate import ScreenSpec, simulate_movie

PACKAGES = ("torch", "deepprofiler", "tensorflow", "numpy")
Way = tuple[str, Callable[[], Engine]]


def make_batch(options: argparse.Namespace, folder: Path) -> DeepProfilerProject:
    """Return a project with simulated frames and nuclei at random places."""
    spec = ScreenSpec(
        frames=1, height=options.height, width=options.width, nuclei_per_frame=options.nuclei
    )
    config = config_for(options.height, options.width, folder)
    project = DeepProfilerProject(folder / "project", config, profiler_checkpoint_path())
    project.prepare()
    rng = np.random.default_rng(0)
    for seed in range(options.images):
        movie = simulate_movie(replace(spec, seed=seed), well="A15")
        task = ImageTask("P1", "A15", seed + 1, (1,))
        points = rng.uniform(0, [options.height, options.width], (options.nuclei, 2))
        nuclei = Nuclei(points, None, 1, task, spec.diameter_px)
        project.add(Frame(movie.frames[0], 1, task), nuclei)
    return project


def ways(options: argparse.Namespace) -> list[Way]:
    """Return the ways to compare; the command comes first."""
    gpu = "0" if options.gpu else "-1"
    found: list[Way] = []
    if not options.torch_only:
        found = [
            ("command", lambda: make_engine("command", gpu=gpu)),
            ("deepprofiler", lambda: make_engine("deepprofiler", gpu=gpu)),
        ]
    for device in ("cpu", "cuda") if options.gpu else ("cpu",):
        for precision in options.precisions:
            found.append(
                (
                    f"torch {device} {precision}",
                    lambda d=device, p=precision: make_engine(
                        "torch", device=d, precision=p, crops_at_once=options.crops_at_once
                    ),
                )
            )
    return found


def features_of(project: DeepProfilerProject) -> NDArray[np.float32]:
    """Return the features of a profiled batch."""
    parts = []
    for image in project.images:
        with np.load(project.features_path(image)) as file:
            parts.append(file["features"])
    return np.concatenate(parts)


def measure(way: Way, project: DeepProfilerProject, batches: int) -> dict[str, Any]:
    """Return the seconds of each batch, the first one apart, and the features."""
    name, make = way
    engine = make()
    seconds = []
    try:
        for _ in range(batches + 1):
            begun = time.perf_counter()
            engine.profile(project)
            seconds.append(time.perf_counter() - begun)
    finally:
        engine.close()
    nuclei = sum(image.nuclei for image in project.images)
    usual = float(np.median(seconds[1:]))
    return {
        "way": name,
        "first_s": seconds[0],
        "batch_s": seconds[1:],
        "nuclei_per_s": nuclei / usual,
        "features": features_of(project),
    }


def main() -> None:
    """Read the options, measure each way, print a table, keep the raw numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=3, help="images in a batch")
    parser.add_argument("--nuclei", type=int, default=120, help="nuclei in an image")
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1344)
    parser.add_argument("--batches", type=int, default=3, help="batches that count, of each way")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--crops-at-once", type=int)
    parser.add_argument("--gpu", action="store_true", help="also on the GPU")
    parser.add_argument("--torch-only", action="store_true", help="without DeepProfiler")
    parser.add_argument("--out", type=Path, help="JSON file for the raw numbers")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="idrstream-benchmark-") as folder:
        project = make_batch(options, Path(folder))
        print(
            f"{'way':24}{'first s':>9}{'batch s':>9}{'nuclei/s':>10}"
            f"{'largest diff':>14}{'error':>10}"
        )
        wanted: NDArray[np.float32] | None = None
        for way in ways(options):
            row = measure(way, project, options.batches)
            features = row.pop("features")
            wanted = features if wanted is None else wanted
            row["largest_difference"] = float(
                np.abs(features - wanted).max() / np.abs(wanted).max()
            )
            row["relative_error"] = float(
                np.linalg.norm(features - wanted) / np.linalg.norm(wanted)
            )
            rows.append(row)
            print(
                f"{row['way']:24}{row['first_s']:9.1f}{np.median(row['batch_s']):9.2f}"
                f"{row['nuclei_per_s']:10.1f}{row['largest_difference']:14.1e}"
                f"{row['relative_error']:10.1e}"
            )
    write_result(
        options.out, "profiler", PACKAGES, options=vars(options) | {"out": None}, rows=rows
    )


if __name__ == "__main__":
    main()
