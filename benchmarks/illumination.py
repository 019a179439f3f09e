"""Measure the illumination correction against a reference and against known truth.

    python benchmarks/illumination.py [--data ../shared/data/illumination] [--plates 2]

Prints two tables, writes every number into benchmarks/results/illumination.json and draws
images/illumination_context.png. Takes about ten minutes on two cores.

1. Against the reference implementation of BaSiC (flat- and darkfields that come with BaSiCPy's
   benchmark data): correlation and mean relative error of the flatfield at 128 x 128, for
   idrstream's settings and for basicpy's own.
2. Against simulated truth: how good is the flatfield when it is fitted on 1, 3, 10 or 50 frames
   of one movie, or on 3 frames of each of 20 wells of the plate? On sparse nuclei over a grey
   medium, sparse nuclei over a nearly black one, and a crowded field; the median of two plates.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from idrstream.preprocess.illumination import fit_basic
from idrstream.simulate import ScreenSpec, simulate_movie
from idrstream.simulate.spec import WELLS

PROJECT = Path(__file__).resolve().parents[1]
BASE = ScreenSpec(frames=50, height=512, width=672, nuclei_per_frame=30)
SCENES = {
    "sparse": BASE,
    "sparse, black medium": replace(BASE, background=2.0),
    "crowded": replace(BASE, nuclei_per_frame=250),
    "crowded, black medium": replace(BASE, nuclei_per_frame=250, background=2.0),
}
MOVIE_FRAMES = (1, 3, 10, 50)
PLATE_WELLS, FRAMES_PER_WELL = 20, 3


def compare(found: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Return correlation and mean relative error of a flatfield; both are scaled to mean 1."""
    found, true = found / found.mean(), true / true.mean()
    return {
        "r": float(np.corrcoef(found.ravel(), true.ravel())[0, 1]),
        "relative_error": float(np.mean(np.abs(found / true - 1))),
    }


def basicpy_default(images: np.ndarray, *, darkfield: bool) -> np.ndarray:
    """Fit with basicpy's own settings."""
    from basicpy import BaSiC

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        basic = BaSiC(get_darkfield=darkfield)
        basic.fit(images)
    return basic.flatfield


def against_reference(data: Path) -> list[dict[str, object]]:
    """Compare with the reference implementation on every stack that is there."""
    from skimage.transform import resize

    rows: list[dict[str, object]] = []
    with np.load(data / "reference_results_plain.npz") as file:
        reference = dict(file)
    for path in sorted(data.glob("*.npz")):
        if path.stem == "reference_results_plain":
            continue
        with np.load(path) as file:
            images = file["images"]
        for darkfield in (False, True):
            true = reference[f"{path.stem}__flatfield" + ("" if darkfield else "-flatonly")]
            ours = fit_basic(images, darkfield=darkfield).flatfield
            theirs = basicpy_default(images, darkfield=darkfield)
            for settings, found in (("idrstream", ours), ("basicpy default", theirs)):
                # BaSiC works at 128 x 128 and enlarges; the reference kept the small one.
                small = resize(found, true.shape, order=1)
                rows.append(
                    {
                        "stack": path.stem,
                        "frames": len(images),
                        "darkfield": darkfield,
                        "settings": settings,
                        **compare(small, true),
                    }
                )
    return rows


def against_truth(plates: int) -> list[dict[str, object]]:
    """Fit on growing contexts of simulated plates."""
    rows: list[dict[str, object]] = []
    for scene, spec in SCENES.items():
        for number in range(1, plates + 1):
            plate = f"SIM{number:04d}_01"
            movie = simulate_movie(spec, plate=plate, well="A15")
            stacks = {str(n): movie.frames[:n] for n in MOVIE_FRAMES}
            short = replace(spec, frames=FRAMES_PER_WELL)
            wells = [
                simulate_movie(short, plate=plate, well=well).frames for well in WELLS[:PLATE_WELLS]
            ]
            stacks["plate"] = np.concatenate(wells)
            for context, stack in stacks.items():
                found = fit_basic(stack).flatfield
                rows.append(
                    {
                        "scene": scene,
                        "plate": plate,
                        "context": context,
                        "frames": len(stack),
                        **compare(found, movie.flatfield),
                    }
                )
            print(".", end="", flush=True)
    print()
    return rows


def median(rows: list[dict[str, object]], scene: str, context: str, value: str) -> float:
    """Return the median of a value over the plates."""
    return float(
        np.median([r[value] for r in rows if (r["scene"], r["context"]) == (scene, context)])
    )


def draw(rows: list[dict[str, object]], path: Path) -> None:
    """Draw the relative error against the context."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    contexts = [*(str(n) for n in MOVIE_FRAMES), "plate"]
    names = ["1 frame", "3 frames\n(default)", "10 frames", "50 frames\n(a movie)"]
    names.append(f"{PLATE_WELLS} wells\n(a plate)")
    colours = ["#0072B2", "#56B4E9", "#D55E00", "#E69F00"]
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    for axis, value, scale in ((axes[0], "relative_error", 100.0), (axes[1], "r", 1.0)):
        for (scene, marker), colour in zip(zip(SCENES, "osD^", strict=True), colours, strict=True):
            points = [median(rows, scene, context, value) * scale for context in contexts]
            axis.plot(range(len(contexts)), points, marker=marker, color=colour, label=scene)
        axis.set_xticks(range(len(contexts)), names, fontsize=8)
        axis.grid(axis="y", color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("mean error of the flatfield (%)")
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylabel("correlation with the true flatfield")
    axes[1].axhline(0.99, color="0.6", linestyle="--", linewidth=1)
    axes[0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def report(reference: list[dict[str, object]], truth: list[dict[str, object]]) -> None:
    """Print the tables, in Markdown."""
    if reference:
        print("| stack | frames | darkfield | settings | r | mean error |")
        print("|---|---|---|---|---|---|")
        for row in reference:
            print(
                f"| {row['stack']} | {row['frames']} | {'yes' if row['darkfield'] else 'no'} "
                f"| {row['settings']} | {row['r']:.4f} | {row['relative_error']:.1%} |"
            )
        print()
    contexts = [*(str(n) for n in MOVIE_FRAMES), "plate"]
    print("| scene | " + " | ".join(contexts) + " |")
    print("|---|" + "---|" * len(contexts))
    for scene in SCENES:
        cells = [
            f"{median(truth, scene, c, 'r'):.4f} ({median(truth, scene, c, 'relative_error'):.1%})"
            for c in contexts
        ]
        print(f"| {scene} | " + " | ".join(cells) + " |")


def main() -> None:
    """Measure, write, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = PROJECT.parent / "shared" / "data" / "illumination"
    parser.add_argument("--data", type=Path, default=data, help="folder of BaSiCPy's stacks")
    parser.add_argument("--plates", type=int, default=2, help="simulated plates of each scene")
    options = parser.parse_args()
    reference = against_reference(options.data) if options.data.is_dir() else []
    truth = against_truth(options.plates)
    packages = ("basicpy", "torch", "numpy", "scipy")
    results = {
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "reference": reference,
        "truth": truth,
    }
    path = PROJECT / "benchmarks" / "results" / "illumination.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(truth, PROJECT / "images" / "illumination_context.png")
    report(reference, truth)


if __name__ == "__main__":
    main()
