"""Write simulated frames with their masks as ``images/`` and ``masks/``, for training or tests.

Example: ``python simulate_nuclei.py simulated --count 48 --seed 100 --vary``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tifffile import imwrite

from idrstream.simulate import ScreenSpec, simulate_movie

WELLS = ("A15", "A4", "P21", "M13")


def random_spec(rng: np.random.Generator, side: int, seed: int) -> ScreenSpec:
    """Return a screen of random size, density, light and sharpness."""
    diameter = float(np.exp(rng.uniform(np.log(13), np.log(28))))
    crowding = rng.uniform(0.05, 0.35)
    return ScreenSpec(
        frames=2,
        height=side,
        width=side,
        nuclei_per_frame=max(4, round(crowding * side * side / (0.785 * diameter**2))),
        diameter_px=diameter,
        seed=seed,
        background=float(rng.uniform(8, 40)),
        brightness=float(rng.uniform(25, 130)),
        vignetting=float(rng.uniform(0, 0.5)),
        noise=float(rng.uniform(0.3, 2.0)),
        blur_px=float(rng.uniform(0.5, 1.6)),
    )


def main() -> None:
    """Read the options and write the frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--side", type=int, default=384, help="height and width with --vary")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument(
        "--vary", action="store_true", help="random sizes, densities and light; else the demo's"
    )
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    for folder in ("images", "masks"):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    for index in range(options.count):
        seed = options.seed + index
        spec = (
            random_spec(rng, options.side, seed)
            if options.vary
            else ScreenSpec(frames=3, seed=seed)
        )
        movie = simulate_movie(spec, well=WELLS[index % len(WELLS)])
        name = f"simulated_{seed:05d}.tif"
        imwrite(options.out / "images" / name, movie.frames[-1])
        imwrite(options.out / "masks" / name, movie.masks[-1].astype(np.uint16), compression="zlib")


if __name__ == "__main__":
    main()
