"""Time of each family of CellProfiler's measurements, beside the segmentation of the same frame.

    OMP_NUM_THREADS=1 python benchmarks/classical.py --out benchmarks/results/classical.json

One process, one thread. Frames are a simulated one like Mitocheck's, CellProfiler's ExampleHuman
(three channels, 512 x 512) and a real field of five channels (NYSCF, 1080 x 1080), with cells by
expansion. With --side-by-side also the default set on several frames with one and two threads, and
with one and two processes, by the clock: what holds Python's lock. Other times are seconds of the
processor, which say the same on a machine that does other things, too.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tifffile
from _common import write_result

from idrstream.config import ProfileSettings, SegmentSettings
from idrstream.config.sections import ClassicalFamily
from idrstream.profile.classical.engine import ClassicalEngine
from idrstream.profile.classical.measure import measure_objects
from idrstream.records import Frame, ImageTask, Objects
from idrstream.segment import make_segmentor
from idrstream.simulate import ScreenSpec, simulate_movie

FAMILIES = get_args(ClassicalFamily)
DEFAULT = ProfileSettings().classical_features
SCENES = {
    "examplehuman": [
        ("DNA", "AS_09125_050116030001_D03f00d0.tif"),
        ("PH3", "AS_09125_050116030001_D03f00d1.tif"),
        ("Body", "AS_09125_050116030001_D03f00d2.tif"),
    ],
    "nyscf": [
        (name, f"r03c03f01p01-ch{number}sk1fk1fl1.tiff")
        for name, number in (("DNA", 4), ("A", 1), ("B", 2), ("C", 3), ("D", 5))
    ],
}


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cellpainting"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side-by-side", action="store_true", help="threads and processes, too")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    scenes = {"simulated": measured(simulated(), chosen.repeats)}
    scenes |= {
        name: measured(read(chosen.data / name, files), chosen.repeats)
        for name, files in SCENES.items()
    }
    for name, scene in scenes.items():
        report(name, scene)
    found = None
    if chosen.side_by_side:
        found = side_by_side(read(chosen.data / "examplehuman", SCENES["examplehuman"]))
        print(found)
    write_result(
        chosen.out,
        "How long does each family of measurements take, beside the segmentation of the frame?",
        ["cp-measure", "cellpose", "scikit-image", "scipy", "numpy", "torch"],
        processor_flags=processor_flags(),
        default=list(DEFAULT),
        scenes=scenes,
        side_by_side=found,
        peak_memory_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    )


def processor_flags() -> list[str]:
    """Return the vector instructions that the processor says it has."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    return [flag for flag in flags if flag.startswith(("sse", "avx", "amx", "fma", "bmi"))]


def simulated() -> Frame:
    """Return a frame like Mitocheck's: one channel."""
    movie = simulate_movie(ScreenSpec(frames=1), well="A15")
    return Frame(movie.frames[:1], 1, ImageTask("simulated", "A15", 15, (1,)))


def read(folder: Path, files: Sequence[tuple[str, str]]) -> Frame:
    """Return a frame of several channels."""
    pixels = np.stack([tifffile.imread(folder / file) for _, file in files])
    task = ImageTask(folder.name, "A1", 1, (1,))
    return Frame(pixels, 1, task, channels=tuple(name for name, _ in files))


def best(call: Callable[[], Any], repeats: int) -> float:
    """Return the shortest time of some calls, in seconds of the processor."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def measured(frame: Frame, repeats: int) -> dict[str, Any]:
    """Return times of the segmentation and of each family, by kind of objects."""
    segmentor = make_segmentor(SegmentSettings(cells="expand", threads=1, gpu=False))
    nuclei = make_segmentor(SegmentSettings(threads=1, gpu=False))
    objects = segmentor.segment(frame)
    nuclei.segment(frame)
    families = {
        family: {
            kind.name: round(best(partial(measure, frame, kind, [family]), repeats), 4)
            for kind in objects.kinds
        }
        for family in FAMILIES
    }
    return {
        "shape": list(frame.pixels.shape),
        "objects": len(objects),
        "diameter_px": round(objects.diameter_px, 1),
        "segment_nuclei_s": round(best(lambda: nuclei.segment(frame), repeats), 3),
        "families_s": families,
        "columns": {
            family: sum(len(measure(frame, kind, [family])[0]) for kind in objects.kinds)
            for family in FAMILIES
        },
        "default_s": round(sum(sum(families[name].values()) for name in DEFAULT), 3),
        "all_s": round(sum(sum(times.values()) for times in families.values()), 3),
    }


def measure(
    frame: Frame, objects: Objects, families: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray[Any, Any]]:
    """Measure one kind of objects in this process."""
    rows = objects.table["label"]
    return measure_objects(
        objects.name, objects.labels, rows, frame.pixels, frame.channels, families
    )


def side_by_side(frame: Frame, count: int = 8) -> dict[str, float]:
    """Return how long several frames take with threads and with processes."""
    objects = make_segmentor(SegmentSettings(cells="expand", gpu=False)).segment(frame)
    jobs = [kind for _ in range(count) for kind in objects.kinds]
    times = {}
    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:
            start = time.perf_counter()
            list(pool.map(lambda kind: measure(frame, kind, DEFAULT), jobs))
            times[f"threads_{threads}_s"] = round(time.perf_counter() - start, 2)
    for processes in (1, 2):
        engine = ClassicalEngine(ProfileSettings(classical_processes=processes))
        engine.profile([frame] * processes, [objects] * processes)  # the processes start
        start = time.perf_counter()
        engine.profile([frame] * count, [objects] * count)
        times[f"processes_{processes}_s"] = round(time.perf_counter() - start, 2)
        engine.close()
    return times


def report(name: str, scene: dict[str, Any]) -> None:
    """Print the table of one frame."""
    print(f"{name}: {scene['objects']} nuclei, segmentation {scene['segment_nuclei_s']} s")
    for family, times in scene["families_s"].items():
        mark = "*" if family in DEFAULT else " "
        each = "  ".join(f"{kind} {seconds:7.3f}" for kind, seconds in times.items())
        print(f" {mark} {family:20} {sum(times.values()):7.3f} s  ({each})"
              f"  {scene['columns'][family]} columns")  # fmt: skip
    print(f"   default {scene['default_s']} s, all {scene['all_s']} s")


if __name__ == "__main__":
    main()
