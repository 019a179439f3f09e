"""Draws images/nuclei_and_features.png of a demo: nuclei in a field, and their rows in the table.

python tools/draw_features_picture.py idrstream_demo
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.patheffects import withStroke
from PIL import Image

from idrstream import CellH5Reader, read_table
from idrstream.compile import read_batch_table
from idrstream.plots import draw_field
from idrstream.preprocess import IlluminationModel

mpl.use("agg")
import matplotlib.pyplot as plt  # after the choice of where it draws

TARGET = Path(__file__).resolve().parents[1] / "images" / "nuclei_and_features.png"
HIGH, WIDE = 210, 280  # of the part of the field that is shown
SHOWN = 7
COLUMNS = {
    "Metadata_Plate": "Plate", "Well": "Well", "Metadata_Gene": "Gene",
    "Location_Center_X": "X", "Location_Center_Y": "Y",
    "efficientnet_0": "feature 0", "efficientnet_1": "1", "efficientnet_2": "2",
    "efficientnet_1279": "… 1279",
}  # fmt: skip
INK, PALE, HEAD = "#12303f", "#eef4f6", "#d5e5ec"


def main() -> None:
    """Draw the first well of the demo that is named."""
    demo = Path(sys.argv[1])
    row = read_table(demo / "screen" / "data_to_process.tsv").iloc[0]
    plate, frame = row["Plate"], int(row["Frames"].split(",")[0])
    tables = [read_batch_table(path) for path in (demo / "features").glob("batch_*.csv.gz")]
    cells = pd.concat(tables, ignore_index=True)
    here = cells["Metadata_Plate"] == plate
    cells = cells[here & (cells["Metadata_Well"] == f"{row['Well Number']}_{frame}")]
    (movie,) = (demo / "screen").rglob(f"*{plate}--*/hdf5/{int(row['Well Number']):05d}_01.ch5")
    pixels = CellH5Reader().read(movie, [frame])[frame]
    light = demo / "features" / "illumination" / f"{plate}.npz"
    if light.exists():
        pixels = IlluminationModel.load(light).correct(pixels)
    part, numbered = busiest(cells, pixels.shape)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, 3.9), width_ratios=(0.42, 0.58), layout="constrained", dpi=110
    )
    draw_field(left, pixels, cells, part=part)
    for number, (_, cell) in enumerate(numbered.iterrows(), start=1):
        left.text(
            cell["Location_Center_X"], cell["Location_Center_Y"], str(number), color="white",
            ha="center", va="center", fontsize=11, fontweight="bold",
            path_effects=[withStroke(linewidth=2.5, foreground="black")],
        )  # fmt: skip
    draw_table(right, numbered.assign(Well=row["Well"]), len(cells))
    figure.savefig(TARGET, facecolor="white")
    plt.close(figure)
    small = Image.open(TARGET).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(TARGET, optimize=True)
    print(f"{TARGET.name}: {TARGET.stat().st_size / 1000:.0f} kB")


def busiest(
    cells: pd.DataFrame, shape: tuple[int, ...]
) -> tuple[tuple[int, int, int, int], pd.DataFrame]:
    """Return the part of the field with the most nuclei, and some of those well inside it."""
    y, x = cells["Location_Center_Y"], cells["Location_Center_X"]

    def inside(top: int, left: int) -> pd.Series:
        return (y - top).between(20, HIGH - 40) & (x - left).between(20, WIDE - 20)

    places = [
        (int(inside(top, left).sum()), top, left)
        for top in range(0, shape[0] - HIGH + 1, 40)
        for left in range(0, shape[1] - WIDE + 1, 40)
    ]
    _, top, left = max(places)
    numbered = cells[inside(top, left)].sort_values("Location_Center_Y")
    step = np.linspace(0, len(numbered) - 1, min(SHOWN, len(numbered))).round().astype(int)
    return (top, left, top + HIGH, left + WIDE), numbered.iloc[step]


def draw_table(axis: Any, numbered: pd.DataFrame, in_field: int) -> None:
    """Draw the rows of the table that belong to the numbered nuclei."""
    text = pd.DataFrame({"": [str(n) for n in range(1, len(numbered) + 1)]})
    for column, name in COLUMNS.items():
        values = numbered[column].reset_index(drop=True)
        decimals = 0 if column.startswith("Location") else 2
        text[name] = [v if isinstance(v, str) else f"{v:.{decimals}f}" for v in values]
    longest = {name: max(map(len, [name, *text[name]])) for name in text.columns}
    widths = [2 + 1.3 * length if length > 9 else 2 + length for length in longest.values()]
    table = axis.table(
        cellText=text.to_numpy(), colLabels=list(text.columns), loc="center", cellLoc="right",
        colWidths=[width / sum(widths) for width in widths], bbox=(0, 0.06, 1, 0.9),
    )  # fmt: skip
    table.auto_set_font_size(False)
    table.set_fontsize(9.5)
    for (row, column), cell in table.get_celld().items():
        cell.set_linewidth(0)
        cell.set_facecolor(HEAD if row == 0 else PALE if row % 2 else "white")
        cell.get_text().set_color(INK)
        if row == 0 or column == 0:
            cell.get_text().set_fontweight("bold")
    axis.set_axis_off()
    axis.set_title(
        f"a row for each nucleus: {in_field} rows of this field, 1,280 features", fontsize="medium"
    )


if __name__ == "__main__":
    main()
