"""How many images a second one GPU segments and profiles, and where the time goes.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json

Simulated frames wait in memory, all different, and are handed over by rank as a stream does it:
groups of frames to the segmentor, two at once on a GPU, and what has nuclei to the profiler as soon
as it is free, beside the segmentation of the next ones. A first batch warms everything up and does
not count. The table tells the seconds of each part, added up over its threads, an image, and
what share of the time at least one thread was at it. `--device cpu` does the same on the processor
(`--images 8 --batch 4 --frames 4`, some minutes); `--compare` tries other ways of the GPU, too.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from _common import show, write_result

from idrstream.config import ProfileSettings, RunOptions
from idrstream.errors import SegmentationError
from idrstream.models import profiler_checkpoint_path, profiler_config_path
from idrstream.profile import DeepModel, DeepProfilerProject, make_engine
from idrstream.records import Frame, ImageTask, Objects
from idrstream.run.profiling import EngineProfiling
from idrstream.schedule.options import choose_sizes
from idrstream.segment import CellPoseSegmentor
from idrstream.simulate import ScreenSpec, simulate_movie

GOAL = 20.0
"""Images a second: a screen of 191,368 images in under three hours."""

PARTS = {
    "segmentor": {
        "_prepare": "grey levels, diameter",
        "_run_network": "Cellpose's network",
        "_finish": "masks, nuclei",
    },
    "engine": {
        "_features": "crops, EfficientNet",
        "profile": "profiler in all",
    },
    "profiling": {"_add": "locations"},
}


@dataclass
class Clock:
    """When threads were at each part."""

    spans: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count the time inside."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            with self.lock:
                self.spans.setdefault(part, []).append((begun, time.perf_counter()))

    def watch(self, owner: object, method: str, part: str) -> None:
        """Count the time of all calls of a method."""
        inner: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **options: Any) -> Any:
            with self.of(part):
                return inner(*args, **options)

        setattr(owner, method, timed)

    def rows(self, seconds: float, images: int) -> list[dict[str, Any]]:
        """Return a row for each part."""
        return [
            {
                "part": part,
                "thread_s": sum(end - begun for begun, end in spans),
                "ms_per_image": 1e3 * sum(end - begun for begun, end in spans) / images,
                "share_of_time": covered(spans) / seconds,
            }
            for part, spans in self.spans.items()
        ]


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Return the length of the union of spans."""
    length, reached = 0.0, float("-inf")
    for begun, end in sorted(spans):
        length += max(0.0, end - max(begun, reached))
        reached = max(reached, end)
    return length


def make_frames(options: argparse.Namespace) -> list[Frame]:
    """Return different frames, as many as are asked for."""
    spec = ScreenSpec(
        frames=1, height=options.height, width=options.width,
        nuclei_per_frame=options.nuclei, diameter_px=options.nucleus_px,
    )  # fmt: skip
    task = ImageTask("benchmark", "A1", 1, (1,))
    return [
        Frame(simulate_movie(replace(spec, seed=seed), well="A15").frames[:1], 1, task)
        for seed in range(options.frames)
    ]


class Pipeline:
    """Segmentor and profiler as in a stream, with a clock on their parts."""

    def __init__(self, options: argparse.Namespace, way: dict[str, Any], folder: Path) -> None:
        gpu = options.device == "cuda"
        sizes = choose_sizes(RunOptions(frames_at_once=way["group"]), gpu=gpu)
        self.group, self.groups = sizes.frames_at_once, sizes.groups_at_once
        self.clock, self.nuclei, self.failed = Clock(), 0, 0
        self.segmentor = CellPoseSegmentor(
            {
                "model_type": "idrstream-nuclei", "diameter": way["diameter"], "gpu": gpu,
                "precision": way["precision"],
            }
        )  # fmt: skip
        model = DeepModel.read(profiler_config_path(), profiler_checkpoint_path())
        settings = ProfileSettings(
            profile_device=options.device, profile_precision=way["profile_precision"]
        )
        self.engine = make_engine(settings, model, folder / "engine")
        project = DeepProfilerProject(folder / "batch", model)
        self.profiling = EngineProfiling(project, self.engine, folder)
        self.segmented: deque[tuple[int, Frame, Objects]] = deque()
        self.batch = 0

    def watch(self) -> None:
        """Begin to count."""
        for owner, methods in PARTS.items():
            for method, part in methods.items():
                self.clock.watch(getattr(self, owner), method, part)
        if not self.segmentor._model.get().model.pools:  # whole frames side by side: one part
            self.clock.watch(self.segmentor, "segment", "segmentation")

    def images(self, frames: Sequence[Frame], batch: int) -> None:
        """Segment frames in groups, and profile them as they come, a batch after another."""
        numbered = [
            replace(frame, task=ImageTask("P1", "A1", 1 + n % batch, (1,)))
            for n, frame in enumerate(frames)
        ]
        with ThreadPoolExecutor(self.groups) as segmenting, ThreadPoolExecutor(1) as profiling:
            found = [
                segmenting.submit(self._segment, numbered[start : start + self.group], start, batch)
                for start in range(0, len(frames), self.group)
            ]
            jobs = []
            for group in found:
                self.segmented.extend(group.result())
                jobs.append(profiling.submit(self._profile))
            for job in jobs:
                job.result()
        self.profiling.clear()

    def _segment(
        self, frames: Sequence[Frame], start: int, batch: int
    ) -> list[tuple[int, Frame, Objects]]:
        """Return the number of its batch, the frame and the nuclei of each good frame."""
        found = []
        results = self.segmentor.segment_many(frames)
        for number, (frame, objects) in enumerate(zip(frames, results, strict=True), start):
            if isinstance(objects, SegmentationError):
                self.failed += 1
            else:
                found.append((number // batch, frame, objects))
        return found

    def _profile(self) -> None:
        """Profile what has nuclei by now, the frames of a batch together."""
        while self.segmented:
            number = self.segmented[0][0]
            if number != self.batch:
                self.profiling.clear()
                self.batch = number
            frames, objects = [], []
            while self.segmented and self.segmented[0][0] == number:
                _, frame, of = self.segmented.popleft()
                frames.append(frame)
                objects.append(of)
            problems = self.profiling.profile(frames, objects)
            assert not any(problems), problems
            self.nuclei += sum(map(len, objects))


def measure(
    options: argparse.Namespace, way: dict[str, Any], frames: Sequence[Frame]
) -> dict[str, Any]:
    """Return what one way of computing takes."""
    import torch

    with tempfile.TemporaryDirectory(prefix="idrstream-benchmark-") as folder:
        pipeline = Pipeline(options, way, Path(folder))
        pipeline.images([frames[i % len(frames)] for i in range(options.batch)], options.batch)
        pipeline.watch()
        pipeline.clock.spans.clear()
        pipeline.nuclei = pipeline.failed = 0
        if options.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        used = resource.getrusage(resource.RUSAGE_SELF)
        begun = time.perf_counter()
        pipeline.images([frames[i % len(frames)] for i in range(options.images)], options.batch)
        seconds = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_SELF)
        pipeline.engine.close()
    processor_s = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {
        **way,
        "images_per_s": options.images / seconds,
        "nuclei_per_s": pipeline.nuclei / seconds,
        "seconds": seconds,
        "nuclei": pipeline.nuclei,
        "failed": pipeline.failed,
        "processors_used": processor_s / seconds,
        "gpu_peak_gb": torch.cuda.max_memory_allocated() / 1e9 if options.device == "cuda" else 0.0,
        "parts": pipeline.clock.rows(seconds, options.images),
    }


def ways(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the ways to try: what a stream does first."""
    usual = {
        "group": options.group, "precision": options.precision,
        "profile_precision": options.profile_precision, "diameter": options.diameter,
    }  # fmt: skip
    if not options.compare:
        return [usual]
    others: list[dict[str, Any]] = [
        {"diameter": options.nucleus_px}, {"precision": "single"},
        {"profile_precision": "bfloat16"}, {"group": 16},
    ]  # fmt: skip
    return [usual, *(usual | other for other in others)]


def main() -> None:
    """Read the options, measure, print the tables, keep the raw numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--frames", type=int, default=32, help="different ones among the images")
    parser.add_argument("--batch", type=int, default=48, help="images")
    parser.add_argument("--group", type=int, help="frames segmented together; as a stream has it")
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1344)
    parser.add_argument("--nuclei", type=int, default=150, help="in each frame")
    parser.add_argument("--nucleus-px", type=float, default=22.0, help="their diameter")
    parser.add_argument("--diameter", type=float, default=0.0, help="given; 0: estimated")
    parser.add_argument("--precision", default="auto", help="of the segmentation")
    parser.add_argument("--profile-precision", default="float32")
    parser.add_argument("--compare", action="store_true", help="other ways, too")
    parser.add_argument("--out", type=Path, help="JSON file for the raw numbers")
    options = parser.parse_args()
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU here; --device cpu measures the processor")
    frames = make_frames(options)
    rows = [measure(options, way, frames) for way in ways(options)]
    show([{k: v for k, v in row.items() if k != "parts"} for row in rows])
    best = max(row["images_per_s"] for row in rows)
    sys.stdout.write(f"\n{best:.2f} images a second at best; the goal on one H200 is {GOAL:g}\n\n")
    show(rows[0]["parts"])
    settings = {key: str(v) if isinstance(v, Path) else v for key, v in vars(options).items()}
    write_result(options.out, "gpu", ("torch", "cellpose", "numba"), settings=settings, rows=rows)


if __name__ == "__main__":
    main()
