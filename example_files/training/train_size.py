"""Fit the size estimator of a nuclei model and write both in the form that ships.

Example: ``python train_size.py run/average.pt DSB2018 --validation run/validation.txt --out .``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from cellpose import utils
from model_files import save_nuclei_network, save_size_estimator
from nuclei_data import list_ids
from tifffile import imread
from train_nuclei import widths_of

from idrstream.segment.cellpose.shipped import (
    SizeEstimator,
    image_style,
    load_nuclei_network,
)

LARGEST_PX = 208  # one tile of Cellpose's, with its rim


def scaled_crop(image: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Return the image at another scale, cut at random to `LARGEST_PX`."""
    rows, columns = image.shape
    side = int(LARGEST_PX / scale)
    top, left = rng.integers(0, max(1, rows - side)), rng.integers(0, max(1, columns - side))
    part = image[top : top + side, left : left + side].astype(np.float32)
    size = max(32, round(part.shape[1] * scale)), max(32, round(part.shape[0] * scale))
    return cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)


def gather(
    model: object, folder: Path, names: list[str], repeats: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return styles ``(n, 256)`` and logarithms of diameters ``(n,)``, at random scales."""
    rng = np.random.default_rng(seed)
    styles, diameters = [], []
    for name in names * repeats:
        image = imread(folder / "images" / f"{name}.tif")
        diameter = float(
            utils.diameters(imread(folder / "masks" / f"{name}.tif").astype(np.int32))[0]
        )
        scale = float(np.exp(rng.uniform(np.log(0.6), np.log(1.7)))) if diameter > 0 else 1.0
        if not 5 <= diameter * scale <= 90:
            continue
        styles.append(image_style(scaled_crop(image, scale, rng), model))
        diameters.append(np.log(diameter * scale))
    return np.array(styles, np.float64), np.array(diameters)


def fit(styles: np.ndarray, diameters: np.ndarray, ridge: float) -> SizeEstimator:
    """Fit the logarithm of the diameter by ridge regression."""
    mean = styles.mean(0)
    x = styles - mean
    weights = np.linalg.solve(
        x.T @ x + ridge * np.eye(x.shape[1]), x.T @ (diameters - diameters.mean())
    )
    return SizeEstimator(weights, float(diameters.mean() - weights @ mean))


def main() -> None:
    """Read the options, write ``nuclei.npz`` and ``nuclei_size.npz``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, help="state dict of the network")
    parser.add_argument("data", type=Path, help="folder with images/ and masks/")
    parser.add_argument("--simulated", type=Path, help="another such folder")
    parser.add_argument(
        "--validation", type=Path, required=True, help="ids to leave out, one a line"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--diameter", type=float, help="of nuclei where the network works; default: as trained"
    )
    parser.add_argument("--images", type=int, help="use that many images only")
    parser.add_argument("--ridge", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = options.out / "nuclei.npz"
    state = torch.load(options.weights, weights_only=True)
    trained_at = float(state["diam_mean"][0])
    if options.diameter:
        state["diam_mean"].fill_(options.diameter)
    save_nuclei_network(network, state, widths_of(state), trained_at)
    model = load_nuclei_network(network)
    held_out = options.validation.read_text().split()
    rng = np.random.default_rng(options.seed)
    kept = [n for n in list_ids(options.data) if n not in set(held_out)]
    kept = sorted(rng.permutation(kept)[: options.images])
    styles, diameters = gather(model, options.data, kept, options.repeats, options.seed)
    if options.simulated:
        more = gather(
            model, options.simulated, list_ids(options.simulated), options.repeats, options.seed
        )
        styles, diameters = np.concatenate([styles, more[0]]), np.concatenate([diameters, more[1]])
    estimator = fit(styles, diameters, options.ridge)
    save_size_estimator(options.out / "nuclei_size.npz", estimator)
    styles, diameters = gather(model, options.data, held_out, 1, options.seed + 1)
    error = np.abs([np.log(estimator.from_style(s)) for s in styles] - diameters)
    print(
        f"style alone, left-out images: median error {np.median(error):.3f} of the logarithm, "
        f"nine of ten below {np.quantile(error, 0.9):.3f}"
    )


if __name__ == "__main__":
    main()
