"""Whether a GPU finds the nuclei that the processor finds, and gives the same features.

    python benchmarks/gpu_equal.py --out benchmarks/results/gpu_equal.json

Simulated frames, the diameter given, are segmented on both, in single precision and in that which
the GPU chooses: AP is the agreement of the masks with the processor's in single precision. The
nuclei of the processor are then profiled on both: the largest difference of a feature over the
largest feature, and the relative error of all.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import RESULTS, show, write_result

from idrstream.config import ProfileSettings
from idrstream.evaluate.segmentation import THRESHOLDS, SegmentationResult, compare
from idrstream.models import profiler_checkpoint_path, profiler_config_path
from idrstream.profile import DeepModel, TorchEngine
from idrstream.records import Frame, ImageTask, Objects
from idrstream.segment import CellPoseSegmentor
from idrstream.simulate import ScreenSpec, simulate_movie

NUCLEUS_PX = 22.0


def make_frames(options: argparse.Namespace) -> list[Frame]:
    """Return different frames."""
    spec = ScreenSpec(
        frames=1, height=options.height, width=options.width, nuclei_per_frame=options.nuclei,
        diameter_px=NUCLEUS_PX,
    )  # fmt: skip
    return [
        Frame(
            simulate_movie(replace(spec, seed=seed), well="A15").frames[:1],
            1,
            ImageTask("P1", "A15", seed + 1, (1,)),
        )
        for seed in range(options.frames)
    ]


def segmented(frames: list[Frame], *, gpu: bool, precision: str) -> list[Objects]:
    """Return the nuclei of the frames, segmented in one group."""
    made = CellPoseSegmentor(
        {"model_type": "idrstream-nuclei", "diameter": NUCLEUS_PX, "gpu": gpu,
         "precision": precision}
    )  # fmt: skip
    found = made.segment_many(frames)
    for one in found:
        if not isinstance(one, Objects):
            raise one
    return found  # type: ignore[return-value]


def agreement(found: list[Objects], usual: list[Objects]) -> dict[str, Any]:
    """Return AP of masks with those of the processor."""
    results = SegmentationResult(
        tuple(
            compare(str(i), a.labels, b.labels)
            for i, (a, b) in enumerate(zip(found, usual, strict=True))
        )
    )
    return {"nuclei": sum(map(len, found))} | {
        f"AP@{threshold:g}": value
        for threshold, value in zip(THRESHOLDS, results.mean_average_precision(), strict=True)
    }


def features(
    frames: list[Frame], objects: list[Objects], device: str, precision: str
) -> np.ndarray[Any, Any]:
    """Return the features of all nuclei."""
    model = DeepModel.read(profiler_config_path(), profiler_checkpoint_path())
    settings = ProfileSettings(profile_device=device, profile_precision=precision)  # type: ignore[arg-type]
    return np.concatenate([f.values for f in TorchEngine(model, settings).profile(frames, objects)])


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1344)
    parser.add_argument("--nuclei", type=int, default=150, help="in each frame")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu_equal.json")
    options = parser.parse_args()
    frames, gpu = make_frames(options), options.device == "cuda"
    usual = segmented(frames, gpu=False, precision="single")
    if not sum(map(len, usual)):
        parser.error("no nuclei in these frames; take larger ones")
    masks = [
        {"precision": precision} | agreement(segmented(frames, gpu=gpu, precision=precision), usual)
        for precision in ("single", "auto")
    ]
    expected = features(frames, usual, "cpu", "float32")
    profiled = []
    for precision in ("float32", "bfloat16", "float16"):
        off = features(frames, usual, options.device, precision) - expected
        profiled.append(
            {
                "precision": precision,
                "largest": float(np.abs(off).max() / np.abs(expected).max()),
                "relative": float(np.linalg.norm(off) / np.linalg.norm(expected)),
            }
        )
    show(masks)
    show(profiled)
    question = "Are masks and features of a GPU those of the processor?"
    write_result(
        options.out, question, ["cellpose", "torch"], device=options.device, frames=len(frames),
        shape=[options.height, options.width], masks=masks, features=profiled,
    )  # fmt: skip


if __name__ == "__main__":
    main()
