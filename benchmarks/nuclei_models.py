"""How good, how large and how fast the nuclei models are that ship, in one table.

    python benchmarks/nuclei_models.py --data DSB2018 --out benchmarks/results/nuclei_models.json

Multiplications are those of the network (half of what PyTorch's flop counter counts) for one
simulated frame of 1344 x 1024 pixels with nuclei of 20, its diameter given and estimated: every
batch of tiles that the frame sends through the network is noted, and a network of the same layers
without memory is run on as large ones. Seconds are processor seconds of one thread for the same
frame, the least of a few. With `--data`, AP is on its images (`images/`, `masks/`) that the list of
`--only` names, the diameter estimated, the flow threshold 0.4; and again with the true diameters,
changed at random by 6 %.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _common import RESULTS, show, write_result
from numpy.typing import NDArray

from idrstream.config.model_names import SHIPPED_MODELS
from idrstream.evaluate.segmentation import THRESHOLDS, evaluate_segmentation, find_pairs
from idrstream.segment import CellPoseSegmentor
from idrstream.simulate import ScreenSpec, simulate_movie

HEIGHT, WIDTH, NUCLEUS_PX = 1024, 1344, 20.0
VALIDATION = Path(__file__).parents[1] / "example_files" / "training" / "nuclei_validation.txt"


def simulated_frame() -> NDArray[Any]:
    """Return the pixels of a frame."""
    spec = ScreenSpec(
        frames=1, height=HEIGHT, width=WIDTH, nuclei_per_frame=150, diameter_px=NUCLEUS_PX, seed=1
    )
    return np.asarray(simulate_movie(spec, well="A15").frames[0])


def segmentor(model: str, diameter: float, precision: str, **options: Any) -> CellPoseSegmentor:
    """Return a model on one thread of the processor."""
    made = CellPoseSegmentor(
        {"model_type": model, "diameter": diameter, "gpu": False, "threads": 1,
         "precision": precision, "remove_edge_masks": False, **options}
    )  # fmt: skip
    made.load()
    return made


@contextmanager
def noted_batches() -> Iterator[Counter[tuple[int, ...]]]:
    """Count the batches of each shape that go through a network meanwhile."""
    from idrstream.segment.network.network import FoldedNetwork

    shapes: Counter[tuple[int, ...]] = Counter()
    inner = FoldedNetwork.__call__

    def noting(self: Any, tiles: Any) -> Any:
        shapes[tuple(tiles.shape)] += 1
        return inner(self, tiles)

    FoldedNetwork.__call__ = noting  # type: ignore[method-assign]
    try:
        yield shapes
    finally:
        FoldedNetwork.__call__ = inner  # type: ignore[method-assign]


def multiplications(made: CellPoseSegmentor, pixels: NDArray[Any]) -> int:
    """Return the multiplications of the network for a frame."""
    import copy

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from idrstream.segment.network.network import FoldedNetwork

    with noted_batches() as shapes:
        made.masks(pixels)
    network = FoldedNetwork(copy.deepcopy(made._model.get().model.net).to("meta"))
    total = 0
    for shape, times in shapes.items():
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(shape, device="meta"))
        total += times * counter.get_total_flops()
    return total // 2


def seconds(made: CellPoseSegmentor, pixels: NDArray[Any], repeats: int) -> float:
    """Return the least processor seconds of a frame."""
    taken = []
    for repeat in range(repeats + 1):
        # A frame seen before at one scale would be remembered.
        begin = time.process_time()
        made.masks(np.roll(pixels, repeat, axis=1))
        taken.append(time.process_time() - begin)
    return min(taken[1:])


def with_given_diameters(
    judged: CellPoseSegmentor, pairs: list[tuple[Path, Path]]
) -> dict[str, float]:
    """Return mean APs with each image's true median diameter, changed at random by 6 %.

    The mean of three draws.
    """
    from cellpose.metrics import average_precision
    from cellpose.utils import diameters
    from tifffile import imread

    scores = []
    for seed in (3, 4, 5):
        rng = np.random.default_rng(seed)
        for image, masks in pairs:
            true = imread(masks).astype(np.int32)
            diameter_px = float(diameters(true)[0] * np.exp(rng.normal(0, 0.06)))
            found = judged.masks(imread(image), diameter_px=diameter_px)[0]
            scores.append(average_precision([true], [found], threshold=list(THRESHOLDS))[0][0])
    means = np.mean(scores, 0)
    return {f"given_AP@{t:g}": float(m) for t, m in zip(THRESHOLDS, means, strict=True)}


def measure(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the row of a model."""
    given = segmentor(model, NUCLEUS_PX, "auto")
    row: dict[str, Any] = {
        "model": Path(model).stem,
        "works_at_px": float(given._model.get().model.diam_mean),
        "weights": sum(p.numel() for p in given._model.get().model.net.parameters()),
    }
    if options.repeats:
        pixels = simulated_frame()
        estimated = segmentor(model, 0.0, "auto")
        single = segmentor(model, NUCLEUS_PX, "single")
        row |= {
            "multiplications": multiplications(given, pixels),
            "multiplications_estimated": multiplications(estimated, pixels),
            "single_s": seconds(single, pixels, options.repeats),
            "auto_s": seconds(given, pixels, options.repeats),
            "auto_estimated_s": seconds(estimated, pixels, options.repeats),
        }
    if options.data:
        pairs = find_pairs(
            options.data / "images", options.data / "masks", options.only.read_text().split()
        )
        judged = segmentor(model, 0.0, options.precision, flow_threshold=0.4)
        result = evaluate_segmentation(judged, pairs, threads=options.threads)
        row |= {
            f"AP@{threshold:g}": value
            for threshold, value in zip(THRESHOLDS, result.mean_average_precision(), strict=True)
        }
        row["result"] = result.to_json()
        row |= with_given_diameters(judged, pairs)
    return row


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=list(SHIPPED_MODELS), help="names or files")
    parser.add_argument("--data", type=Path, help="folder with images/ and masks/")
    parser.add_argument("--only", type=Path, default=VALIDATION, help="names of images, one a line")
    parser.add_argument("--precision", default="auto", help="of the network, for AP")
    parser.add_argument("--repeats", type=int, default=3, help="0: AP only")
    parser.add_argument("--threads", type=int, default=1, help="for AP")
    parser.add_argument("--out", type=Path, default=RESULTS / "nuclei_models.json")
    options = parser.parse_args()
    rows = [measure(model, options) for model in options.models]
    for row in rows:
        for key in ("multiplications", "multiplications_estimated"):
            if key in row:
                row[f"{key}_part"] = row[key] / rows[0][key]
    show([{k: v for k, v in row.items() if k != "result"} for row in rows])
    question = "How good, how large and how fast are the nuclei models?"
    write_result(options.out, question, ["cellpose", "torch", "opencv-python-headless"], rows=rows)


if __name__ == "__main__":
    main()
