"""How many frames a second are segmented, and whether the masks are those of Cellpose.

    python benchmarks/segment.py --frames 6 --out benchmarks/results/segment.json

Simulated frames go through Cellpose's own `eval` in a loop (model loaded once), through it with the
model loaded anew for every frame as in the first IDR_stream (`--reload`), and through the ways of
this package: frame by frame in single precision, and groups of frames as a stream does it, on the
processor and, where there is one, on the GPU. Every way first segments a small frame that does not
count. AP is the average precision of a way's masks with those of Cellpose's own `eval`; with an
estimated diameter the estimates differ by a part of a percent, which moves some borders: for the
agreement at one diameter give `--diameter 20`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import write_result
from numpy.typing import NDArray

from idrstream.evaluate.segmentation import THRESHOLDS, compare
from idrstream.records import Frame, ImageTask
from idrstream.segment import SHIPPED, CellPoseSegmentor
from idrstream.segment.labels import as_labels, trace_outlines
from idrstream.simulate import ScreenSpec, simulate_movie

FLOW_THRESHOLD = 0.8
TASK = ImageTask("benchmark", "A1", 1, (1,))

Masks = list[NDArray[Any]]


def make_frames(options: argparse.Namespace) -> list[Frame]:
    """Return simulated frames, each another one."""
    spec = ScreenSpec(
        frames=1,
        height=options.height,
        width=options.width,
        nuclei_per_frame=options.nuclei,
        diameter_px=options.nucleus_px,
    )
    movies = (
        simulate_movie(replace(spec, seed=seed), well="A15") for seed in range(options.frames)
    )
    return [Frame(movie.frames[:1], 1, TASK) for movie in movies]


def cellpose_loop(
    frames: Sequence[Frame], options: argparse.Namespace, *, reload: bool, gpu: bool
) -> Masks:
    """Segment with Cellpose's own `eval`, frame by frame."""
    made: list[Any] = []
    masks = []
    for frame in frames:
        if reload or not made:
            made = list(_cellpose_model(options.model, gpu=gpu))
        model, estimator = made
        diameter = options.diameter or estimator.estimate(frame.plane(), model)
        masks.append(
            model.eval(
                frame.plane(),
                diameter=diameter,
                channels=[0, 0],
                flow_threshold=FLOW_THRESHOLD,
                batch_size=8 if not gpu else 32,
            )[0]
        )
    return masks


def _cellpose_model(name: str, *, gpu: bool) -> tuple[Any, Any]:
    if name == SHIPPED:
        from idrstream.segment.cellpose.shipped import load_shipped

        return load_shipped(gpu)  # not prepared: all of `eval` is Cellpose's
    from cellpose.models import CellposeModel

    return CellposeModel(gpu=gpu, pretrained_model=name), None


class Ours:
    """One way of this package: keeps the masks of each frame beside its nuclei."""

    def __init__(
        self, options: argparse.Namespace, *, gpu: bool, many: bool, precision: str
    ) -> None:
        self.segmentor = CellPoseSegmentor(
            {
                "model_type": options.model,
                "diameter": options.diameter,
                "flow_threshold": FLOW_THRESHOLD,
                "remove_edge_masks": False,  # as `eval`
                "gpu": gpu,
                "precision": precision,
                "threads": options.threads,
            }
        )
        self.many, self.group = many, options.group

    def __call__(self, frames: Sequence[Frame]) -> list[Any]:
        """Return the nuclei of the frames."""
        if not self.many:
            return [self.segmentor.segment(frame, outlines=True) for frame in frames]
        groups = (frames[i : i + self.group] for i in range(0, len(frames), self.group))
        return [
            nuclei
            for group in groups
            for nuclei in self.segmentor.segment_many(group, outlines=True)
        ]


def fill_outlines(outlines: Sequence[NDArray[np.int64]], shape: tuple[int, int]) -> NDArray[Any]:
    """Return the label image of nuclei from their outlines, the same way for every way."""
    import cv2

    labels = np.zeros(shape, np.int32)
    for label, outline in enumerate(outlines, start=1):
        cv2.drawContours(labels, [outline[:, ::-1].astype(np.int32)], -1, label, cv2.FILLED)
    return labels


def measure(
    name: str, way: Callable[[Sequence[Frame]], Any], frames: Sequence[Frame], warm: Frame
) -> tuple[float, Any]:
    """Return the seconds that a way takes for all frames, after one small frame, and its result."""
    way([warm])
    started = time.perf_counter()
    result = way(frames)
    seconds = time.perf_counter() - started
    sys.stderr.write(f"{name}: {seconds:.1f} s\n")
    return seconds, result


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every way and return a row for each."""
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    frames = make_frames(options)
    warm = replace(frames[0], pixels=frames[0].pixels[:, :200, :200])
    gpu = torch.cuda.is_available()
    ways: dict[str, Callable[[Sequence[Frame]], Any]] = {
        "Cellpose eval, loop": lambda f: cellpose_loop(f, options, reload=False, gpu=False),
        "ours, single precision": Ours(options, gpu=False, many=False, precision="single"),
        "ours, groups": Ours(options, gpu=False, many=True, precision="auto"),
    }
    if options.reload:
        ways["Cellpose eval, loaded anew"] = lambda f: cellpose_loop(
            f, options, reload=True, gpu=False
        )
    if gpu:
        ways["Cellpose eval, loop, GPU"] = lambda f: cellpose_loop(
            f, options, reload=False, gpu=True
        )
        for precision in ("single", "auto"):
            ways[f"ours, groups, GPU, {precision}"] = Ours(
                options, gpu=True, many=True, precision=precision
            )
    if options.only:
        ways = {name: way for name, way in ways.items() if any(o in name for o in options.only)}
    return _rows(ways, frames, warm)


def _rows(ways: dict[str, Any], frames: Sequence[Frame], warm: Frame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    own: Masks | None = None
    for name, way in ways.items():
        seconds, result = measure(name, way, frames, warm)
        if isinstance(way, Ours):
            shape = frames[0].shape
            masks = [fill_outlines(nuclei.outlines, shape) for nuclei in result]
        else:
            outlines = [trace_outlines(as_labels(mask)) for mask in result]
            masks = [fill_outlines(o, m.shape) for o, m in zip(outlines, result, strict=True)]
        own = masks if own is None else own
        agreement = np.array(
            [
                compare("", ours, theirs).average_precision
                for ours, theirs in zip(masks, own, strict=True)
            ]
        ).mean(axis=0)
        rows.append(
            {
                "way": name,
                "seconds": seconds,
                "frames_per_second": len(frames) / seconds,
                "ratio": rows[0]["seconds"] / seconds if rows else 1.0,
                "nuclei": int(sum(mask.max() for mask in masks)),
                "agreement": {str(t): float(v) for t, v in zip(THRESHOLDS, agreement, strict=True)},
            }
        )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text."""
    head = f"{'way':<30} {'s/frame':>8} {'frames/s':>9} {'times':>6} {'nuclei':>7}"
    lines = [head + "".join(f" {f'AP@{t}':>8}" for t in THRESHOLDS)]
    for row in rows:
        per_second = row["frames_per_second"]
        line = f"{row['way']:<30} {1 / per_second:>8.3f} {per_second:>9.3f} {row['ratio']:>6.2f}"
        values = "".join(f" {value:>8.4f}" for value in row["agreement"].values())
        lines.append(f"{line} {row['nuclei']:>7}{values}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1344)
    parser.add_argument("--nuclei", type=int, default=150, help="in each frame")
    parser.add_argument("--nucleus-px", type=float, default=22.0, help="their diameter")
    parser.add_argument("--diameter", type=float, default=0.0, help="given; 0: each way estimates")
    parser.add_argument(
        "--model", default=SHIPPED, help="or the path of a model file of Cellpose's"
    )
    parser.add_argument("--group", type=int, default=8, help="frames handed over together")
    parser.add_argument("--threads", type=int, help="of the processor; as PyTorch chooses")
    parser.add_argument("--reload", action="store_true", help="also load Cellpose for every frame")
    parser.add_argument("--only", action="append", help="ways whose name holds this text")
    parser.add_argument("--out", type=Path, help="write the raw numbers to this file (JSON)")
    options = parser.parse_args()
    if options.model != SHIPPED and not options.diameter:
        parser.error("--model needs --diameter")
    rows = run(options)
    sys.stdout.write(table(rows))
    settings = {key: str(v) if isinstance(v, Path) else v for key, v in vars(options).items()}
    write_result(
        options.out, __doc__.split("\n")[0], ("torch", "cellpose", "numpy", "numba"),
        settings=settings, rows=rows,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
