"""How many nuclei a second are profiled, and whether the features are those of DeepProfiler.

    python benchmarks/profiler.py --out benchmarks/results/profiler.json

Simulated frames with known nuclei go in batches of three images through DeepProfiler's command, run
anew for every batch, through DeepProfiler kept ready, and through PyTorch on the processor and,
where there is one, on the GPU. The first batch of a way that keeps something ready is told as its
start and does not count; the ways take turns, batch by batch. Equality is the largest difference to
the command's features over their largest value; for half precisions also the relative error of the
whole.
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
from _common import show, write_result
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


def measure(
    found: list[Way], project: DeepProfilerProject, batches: int
) -> tuple[dict[str, list[float]], dict[str, NDArray[np.float32]]]:
    """Return the seconds of each way's batches, the first one apart, and its features.

    The ways take turns, so that what else the machine does meets them all alike.
    """
    engines = {name: make() for name, make in found}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    features = {}
    try:
        for turn in range(batches + 1):
            for name, engine in engines.items():
                if name == "command" and turn > 2:
                    continue  # it takes ten times as long as all others
                begun = time.perf_counter()
                engine.profile(project)
                seconds[name].append(time.perf_counter() - begun)
                features[name] = features_of(project)
    finally:
        for engine in engines.values():
            engine.close()
    return seconds, features


def rows_of(
    seconds: dict[str, list[float]], features: dict[str, NDArray[np.float32]]
) -> list[dict[str, Any]]:
    """Return a row for each way; times and differences are told beside the first way's."""
    wanted = next(iter(features.values()))
    worker = seconds.get("deepprofiler")
    rows = []
    for name, (first, *others) in seconds.items():
        usual, off = float(np.median(others)), features[name] - wanted
        rows.append(
            {
                "way": name,
                "first_s": first,
                "batch_s": others,
                "nuclei_per_s": len(wanted) / usual,
                "times_the_worker": float(np.median(worker[1:])) / usual if worker else None,
                "largest_difference": float(np.abs(off).max() / np.abs(wanted).max()),
                "relative_error": float(np.linalg.norm(off) / np.linalg.norm(wanted)),
            }
        )
    return rows


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
    with tempfile.TemporaryDirectory(prefix="idrstream-benchmark-") as folder:
        project = make_batch(options, Path(folder))
        rows = rows_of(*measure(ways(options), project, options.batches))
    show([{**row, "batch_s": float(np.median(row["batch_s"])), "way": row["way"]} for row in rows])
    write_result(
        options.out, "profiler", PACKAGES, options=vars(options) | {"out": None}, rows=rows
    )


if __name__ == "__main__":
    main()
