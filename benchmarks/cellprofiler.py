r"""Our cells, nuclei and cytoplasms beside CellProfiler's own tables of the same image.

    python benchmarks/cellprofiler.py --out benchmarks/results/cellprofiler.json \
        --figure docs/images/cellprofiler.png

The image is CellProfiler's ExampleHuman (Moffat et al. 2006), whose tables CellProfiler 4 wrote.
Nuclei by the shipped model, cells by propagation on the channel of the cell body, measurements by
the engine ``classical``. A nucleus of CellProfiler's is matched when one of ours has its centroid
within 5 px. Prints the table of docs/cells.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from _common import write_result
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import pearsonr, spearmanr

from idrstream.config import ProfileSettings, SegmentSettings
from idrstream.profile.classical.engine import ClassicalEngine
from idrstream.records import OBJECT_KINDS, Features, Frame, ImageTask, Objects
from idrstream.segment import make_segmentor

NEAR_PX = 5.0
CHANNELS = ("DNA", "PH3", "CellBody")
IMAGE = "AS_09125_050116030001_D03f00d{}.tif"
MEASURED = (
    *(f"Intensity_MeanIntensity_{channel}" for channel in CHANNELS[:2]),
    *(f"Intensity_IntegratedIntensity_{channel}" for channel in CHANNELS[:2]),
    "AreaShape_Area",
    "AreaShape_Perimeter",
    "AreaShape_Eccentricity",
    "AreaShape_FormFactor",
)


def main() -> None:
    """Compare, print the table, write numbers and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    data = Path(__file__).parents[2] / "shared" / "data" / "cellpainting" / "examplehuman"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figure", type=Path)
    chosen = parser.parse_args()
    pixels = np.stack([tifffile.imread(chosen.data / IMAGE.format(n)) for n in range(3)])
    frame = Frame(pixels, 1, ImageTask("ExampleHuman", "D3", 51, (1,)), channels=CHANNELS)
    objects, features = profile(frame)
    theirs = {kind: pd.read_csv(chosen.data / f"{kind}.csv") for kind in OBJECT_KINDS}
    points = theirs["Nuclei"][["Location_Center_Y", "Location_Center_X"]].to_numpy()
    distance, at = cKDTree(objects.locations).query(points)
    matched = distance <= NEAR_PX
    rows = [
        compared(kind, name, features, theirs, at[matched], matched)
        for kind in OBJECT_KINDS
        for name in MEASURED
    ]
    at_border = int(objects.table["touches_border"].sum())
    print(f"{len(objects)} nuclei of ours, {at_border} of them at the border")
    print(f"{len(points)} of CellProfiler's, {matched.sum()} ({matched.mean():.1%}) matched")
    print("\n| objects | measurement | r | rank r | r, alike | ratio |\n|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['objects']} | {row['name']} | {row['pearson']:.3f} | {row['spearman']:.3f} "
              f"| {row['pearson_alike']:.3f} | {row['ratio']:.2f} |")  # fmt: skip
    write_result(
        chosen.out,
        "Are nuclei, cells and their measurements those of CellProfiler?",
        ["cp-measure", "cellpose", "centrosome", "scikit-image", "torch"],
        nuclei=len(objects),
        nuclei_at_border=at_border,
        cellprofiler_nuclei=len(points),
        matched=int(matched.sum()),
        measurements=[
            {k: v for k, v in row.items() if k not in ("ours", "theirs")} for row in rows
        ],
    )
    if chosen.figure:
        draw(rows, chosen.figure)


def profile(frame: Frame) -> tuple[Objects, Features]:
    """Return the objects of a frame, also those at the border, and their measurements."""
    settings = SegmentSettings(
        cells="propagate", cell_channels=("CellBody",), remove_edge_masks=False
    )
    objects = make_segmentor(settings).segment(frame)
    engine = ClassicalEngine(ProfileSettings(classical_features=("size_shape", "intensity")))
    (features,) = engine.profile([frame], [objects])
    engine.close()
    return objects, features


def compared(
    kind: str,
    name: str,
    features: Features,
    theirs: dict[str, pd.DataFrame],
    at: NDArray[Any],
    matched: NDArray[np.bool_],
) -> dict[str, Any]:
    """Return how a measurement of matched objects correlates with CellProfiler's.

    Alike are objects whose nuclei have between two thirds and one and a half of the area.
    """
    ours = features.values[at, features.columns.index(f"{kind}_{name}")].astype(float)
    areas = features.values[at, features.columns.index("Nuclei_AreaShape_Area")]
    values = theirs[kind][name].to_numpy()[matched]
    known = np.isfinite(ours) & np.isfinite(values)
    nuclei = theirs["Nuclei"]["AreaShape_Area"].to_numpy()[matched]
    alike = known & (areas / nuclei > 2 / 3) & (areas / nuclei < 3 / 2)
    return {
        "objects": kind,
        "name": name,
        "count": int(known.sum()),
        "pearson": float(pearsonr(ours[known], values[known])[0]),
        "spearman": float(spearmanr(ours[known], values[known])[0]),
        "count_alike": int(alike.sum()),
        "pearson_alike": float(pearsonr(ours[alike], values[alike])[0]),
        "ratio": float(np.median(ours[known] / values[known])),
        "ours": ours,
        "theirs": values,
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw mean intensities and areas against CellProfiler's."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = (*MEASURED[:2], "AreaShape_Area")
    figure, axes = plt.subplots(3, 3, figsize=(9, 9), layout="constrained")
    for line, kind in zip(axes, OBJECT_KINDS, strict=True):
        for axis, name in zip(line, names, strict=True):
            row = next(r for r in rows if r["objects"] == kind and r["name"] == name)
            top = float(np.nanmax([row["ours"], row["theirs"]])) * 1.04
            axis.plot([0, top], [0, top], color="0.8", lw=1, zorder=0)
            axis.scatter(row["theirs"], row["ours"], s=9, alpha=0.5, lw=0, color="#2a6f97")
            axis.set(xlim=(0, top), ylim=(0, top), aspect="equal")
            short = name.replace("Intensity_MeanIntensity_", "mean ").replace("AreaShape_", "")
            axis.set_title(f"{kind}: {short.lower() if 'Area' in short else short}, "
                           f"r = {row['pearson']:.3f}", fontsize=9)  # fmt: skip
            axis.tick_params(labelsize=7)
    figure.supxlabel("CellProfiler 4", fontsize=10)
    figure.supylabel("idrstream", fontsize=10)
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
