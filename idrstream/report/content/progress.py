"""Progress: the numbers at the top, and images over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from idrstream.report import charts
from idrstream.text import format_duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from idrstream.report.data import FolderData

_IN_MINUTES_H = 2  # shorter runs are plotted in minutes


def tiles(data: FolderData) -> list[tuple[str, str]]:
    """Return the numbers at the top."""
    status = data.status
    found = [
        ("State", status.state),
        ("Batches", f"{status.batches_done:,} of {status.batches:,}"),
        ("Images", f"{status.images_done:,} of {status.images:,}"),
        ("Left out", f"{status.images_failed:,}"),
        (status.objects.capitalize(), f"{status.nuclei:,}"),
        ("Tables", f"{status.bytes / 1e6:,.1f} MB"),
    ]
    if status.images_per_hour is not None:
        found.append(("Images an hour", f"{status.images_per_hour:,.0f}"))
    if status.left_s is not None:
        found.append(("Time left", format_duration(status.left_s)))
    return found


def throughput(data: FolderData) -> list[tuple[str, str]]:
    """Return charts of images over time, and their captions."""
    ended = data.ended
    if len(ended) < 2:
        return []
    started = {run.number: run.started for run in data.runs}
    series, rates, before, longest = [], [], 0, 0.0
    for run, rows in ended.groupby("Run", sort=True):
        first = float(rows["Ended"].iloc[0])
        hours = (
            rows["Ended"].to_numpy(dtype=np.float64) - started.get(int(str(run)), first)
        ) / 3600
        done = rows["Images"].to_numpy().cumsum().astype(float)
        series.append((np.concatenate([[0.0], hours]), np.concatenate([[0.0], done])))
        before += int(done[-1])
        longest = max(longest, float(hours[-1]))
        if len(rows) > 2 and hours[-1] > 0:
            rates.append(_rate(hours, done))
    unit, to_unit = ("minutes", 60.0) if longest < _IN_MINUTES_H else ("hours", 1.0)
    label = f"{unit} since the run started"
    words = f"Line: images published over time, {before} in {len(series)} runs."
    figures = [
        (
            charts.lines(
                [(x * to_unit, y) for x, y in series], words=words, label=label, y_label="images"
            ),
            "Images published in each run.",
        )
    ]
    if rates:
        last = rates[-1][1]
        words = f"Line: images an hour over time, last {last[-1]:.0f}, highest {last.max():.0f}."
        figures.append(
            (
                charts.lines(
                    [(x * to_unit, y) for x, y in rates], words=words, label=label,
                    y_label="images an hour",
                ),
                "Rate, averaged over an eighth of each run.",
            )
        )  # fmt: skip
    return figures


def _rate(
    hours: NDArray[np.float64], done: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    at = np.linspace(0, hours[-1], 49)
    reached = np.interp(at, np.concatenate([[0], hours]), np.concatenate([[0], done]))
    width = 6
    return at[width:], (reached[width:] - reached[:-width]) / (at[width] - at[0])
