"""How many nuclei a second are profiled, and whether the features are those of DeepProfiler.

    python benchmarks/profiler.py --out benchmarks/results/profiler.json

Simulated frames with known nuclei go in batches of three images through DeepProfiler's command, run
anew for every batch, through DeepProfiler kept ready, and through PyTorch on the processor and,
where there is one, on the GPU. The first batch of a way that keeps something ready is told as its
start and does not count; the ways take turns, batch by batch. Equality is the largest difference to
the command's features over their largest value; for half precisions also the relative error of the
whole. Seconds of the processors are told beside those of the clock: on a machine that does other
things too only their ratio means something.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import objects_at, show, write_result
from command_engine import CommandEngine
from numpy.typing import NDArray

from idrstream.config import ProfileSettings
from idrstream.models import profiler_checkpoint_path, profiler_config_path
from idrstream.profile import DeepModel, FeatureEngine, make_engine
from idrstream.records import Features, Frame, ImageTask, Objects
from idrstream.simulate import ScreenSpec, simulate_movie

PACKAGES = ("torch", "deepprofiler", "tensorflow", "numpy")
Way = tuple[str, Callable[[], FeatureEngine]]
Images = tuple[list[Frame], list[Objects]]


def make_batch(options: argparse.Namespace) -> Images:
    """Return simulated frames and nuclei at random places."""
    spec = ScreenSpec(
        frames=1, height=options.height, width=options.width, nuclei_per_frame=options.nuclei
    )
    frames, objects = [], []
    rng = np.random.default_rng(0)
    for seed in range(options.images):
        movie = simulate_movie(replace(spec, seed=seed), well="A15")
        task = ImageTask("P1", "A15", seed + 1, (1,))
        points = rng.uniform(0, [options.height, options.width], (options.nuclei, 2))
        frames.append(Frame(movie.frames[:1], 1, task))
        objects.append(objects_at(points, frames[-1].shape, diameter_px=spec.diameter_px))
    return frames, objects


def ways(options: argparse.Namespace, folder: Path) -> list[Way]:
    """Return the ways to compare; the command comes first."""
    model = DeepModel.read(profiler_config_path(), profiler_checkpoint_path())
    gpu = "0" if options.gpu else "-1"
    found: list[Way] = []
    if not options.torch_only:
        found = [
            (
                "deepprofiler",
                lambda: make_engine(
                    ProfileSettings(engine="deepprofiler", dp_gpu=gpu), model, folder / "kept"
                ),
            )
        ]
        if not options.no_command:
            found.insert(0, ("command", lambda: CommandEngine(model, folder / "command", gpu)))
    for device in ("cpu", "cuda") if options.gpu else ("cpu",):
        for precision in options.precisions:
            found.append(
                (
                    f"torch {device} {precision}",
                    lambda d=device, p=precision: make_engine(
                        ProfileSettings(
                            profile_device=d,
                            profile_precision=p,
                            crops_at_once=options.crops_at_once,
                        ),
                        model,
                        folder,
                    ),
                )
            )
    return found


def processor_seconds() -> float:
    """Return what this process and its children have used of the processors (Linux)."""
    ticks, parents = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        ticks[pid] = sum(map(int, fields[11:15]))  # own and those of children that ended
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks[pid] for pid in family) / os.sysconf("SC_CLK_TCK")


def measure(
    found: list[Way], images: Images, batches: int
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, NDArray[np.float32]]]:
    """Return each way's seconds, of the clock and the processors, batch by batch, and features.

    The ways take turns, so that what else the machine does meets them all alike.
    """
    engines = {name: make() for name, make in found}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    features: dict[str, NDArray[np.float32]] = {}
    try:
        for turn in range(batches + 1):
            for name, engine in engines.items():
                if name == "command" and turn > 2:
                    continue  # it takes ten times as long as all others
                used, begun = processor_seconds(), time.perf_counter()
                profiled: Sequence[Features] = engine.profile(*images)
                seconds[name].append((time.perf_counter() - begun, processor_seconds() - used))
                features[name] = np.concatenate([one.values for one in profiled])
    finally:
        for engine in engines.values():
            engine.close()
    return seconds, features


def rows_of(
    seconds: dict[str, list[tuple[float, float]]], features: dict[str, NDArray[np.float32]]
) -> list[dict[str, Any]]:
    """Return a row for each way; times and differences are told beside the first way's."""
    wanted = next(iter(features.values()))
    worker = np.median(seconds.get("deepprofiler", [(np.nan, np.nan)] * 2)[1:], axis=0)
    rows = []
    for name, (first, *others) in seconds.items():
        usual, off = np.median(others, axis=0), features[name] - wanted
        rows.append(
            {
                "way": name,
                "first_s": first[0],
                "batch_s": [clock for clock, _ in others],
                "batch_processor_s": [processor for _, processor in others],
                "nuclei_per_s": float(len(wanted) / usual[0]),
                "worker_times_clock": float(worker[0] / usual[0]),
                "worker_times_processor": float(worker[1] / usual[1]),
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
    parser.add_argument("--no-command", action="store_true", help="without the slow one")
    parser.add_argument("--torch-only", action="store_true", help="without DeepProfiler")
    parser.add_argument("--out", type=Path, help="JSON file for the raw numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="idrstream-benchmark-") as folder:
        found = ways(options, Path(folder))
        rows = rows_of(*measure(found, make_batch(options), options.batches))
    lists = ("batch_s", "batch_processor_s")
    show([row | {name: float(np.median(row[name])) for name in lists} for row in rows])
    write_result(
        options.out, "profiler", PACKAGES, options=vars(options) | {"out": None}, rows=rows
    )


if __name__ == "__main__":
    main()
