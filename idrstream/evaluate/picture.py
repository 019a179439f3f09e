"""A picture of a confusion matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from idrstream.errors import ConfigError, MissingToolError
from idrstream.evaluate.probe import ProbeResult


def draw_confusion(result: ProbeResult, path: Path, title: str) -> None:
    """Draw the confusion matrix, each row as parts of its class, with the number of cells.

    Parameters
    ----------
    result : ProbeResult
        What to draw.
    path : Path
        File to write; its ending chooses the format (``.png``, ``.svg``, ``.pdf``).
    title : str
        Text above the picture.

    Raises
    ------
    idrstream.errors.MissingToolError
        When matplotlib is not installed.
    idrstream.errors.ConfigError
        When the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingToolError(
            "the confusion picture needs matplotlib: pip install matplotlib"
        ) from error
    counts = result.confusion
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.42 * len(result.classes)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    picture = axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(result.classes))
    rows = [f"{name} ({n})" for name, n in zip(result.classes, counts.sum(axis=1), strict=True)]
    axes.set_xticks(ticks, result.classes, rotation=90)
    axes.set_yticks(ticks, rows)
    axes.set_xlabel("guessed")
    axes.set_ylabel("true (cells)")
    axes.set_title(title)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if parts[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(picture, ax=axes, shrink=0.7, label="part of the true class")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the picture {path} cannot be written: {error}") from error
