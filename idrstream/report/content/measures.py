"""Measures of frames and wells as charts, and the overview of the features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from idrstream.quality.notes import CHANNEL_MEASURES
from idrstream.report import charts

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.report.data import FolderData
    from idrstream.report.features import FeatureOverview


class Measure(NamedTuple):
    """Title, description and unit of a measure."""

    column: str
    title: str
    text: str
    digits: int
    unit: str


MEASURES = (
    Measure("Nuclei", "Nuclei", "Nuclei in a frame.", 0, "in a frame"),
    Measure(
        "Area", "Nucleus area", "Median area of the masks of a frame's nuclei, in pixels.", 0, "px²"
    ),
    Measure(
        "Intensity", "Intensity",
        "Median over a frame's nuclei of the mean grey level of the 5 x 5 pixels at their "
        "centroid, after the correction of the illumination, above the background.", 1,
        "grey levels",
    ),
    Measure(
        "Focus", "Focus",
        "Slope of the log power spectrum around the nuclei over the log spatial frequency, after "
        "Bray et al. 2012 (doi:10.1177/1087057111420292). The more negative, the more blurred; "
        "frames without nuclei have none.", 2, "log power / log frequency",
    ),
    Measure(
        "Background", "Background", "25th percentile of a frame's corrected grey levels.", 1,
        "grey levels",
    ),
    Measure(
        "Saturated", "Saturated share",
        "Share of the pixels at the camera's highest grey level, before the correction.", 4,
        "of the pixels",
    ),
)  # fmt: skip


def channel_measures(data: FolderData) -> tuple[Measure, ...]:
    """Return the intensity of each channel as a measure; none if there is but one channel."""
    return tuple(
        Measure(
            f"Intensity_{name}", f"Intensity in {name}",
            "Median over a frame's cells, or its nuclei where no cells were found, of their mean "
            f"grey level in {name}, after the correction, above the background.",
            1,
            "grey levels",
        )
        for name in data.measured_channels
    )  # fmt: skip


def channel_rows(data: FolderData) -> list[tuple[str, ...]]:
    """Return medians of each plate and channel: intensity, background, saturated share."""
    found = []
    for plate, frames in data.frames.groupby("Plate", sort=False):
        for name in data.measured_channels:
            values = [frames[f"{one}_{name}"].dropna().median() for one in CHANNEL_MEASURES]
            texts = (f"{v:.{n}f}" if v == v else "" for v, n in zip(values, (1, 1, 4), strict=True))
            found.append((str(plate), name, *texts))
    return found


def scales(data: FolderData) -> dict[str, tuple[float, float]]:
    """Return the limits of each measure's colour scale, common to all plates."""
    found = {}
    for item in (*MEASURES, *channel_measures(data)):
        values = data.frames[item.column].dropna()
        if len(values):
            low, high = np.quantile(values, (0.01, 0.99))
            found[item.column] = (float(low), float(high))
    return found


def measure_words(data: FolderData, of: Sequence[Measure] = MEASURES) -> list[dict[str, Any]]:
    """Return measures with the limits of their scales."""
    ends = scales(data)
    found = []
    for item in of:
        low, high = ends.get(item.column, (None, None))
        found.append(
            {
                "title": item.title,
                "text": item.text,
                "low": None if low is None else f"{low:.{item.digits}f}",
                "high": None if high is None else f"{high:.{item.digits}f}",
            }
        )
    return found


def histograms(data: FolderData) -> list[tuple[str, str]]:
    """Return histograms of the measures over frames; without a picture where all are alike."""
    found = []
    for item in MEASURES:
        values = data.frames[item.column].dropna().to_numpy(dtype=np.float64)
        if len(values) < 2:
            continue
        low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
        if values.min() == values.max():
            same = (
                f"{item.title}: {middle:.{item.digits}f} {item.unit} in all {len(values)} frames."
            )
            found.append(("", same))
            continue
        words = (
            f"Histogram of {item.title.lower()} over {len(values)} frames: median "
            f"{middle:.{item.digits}f}, 90 % from {low:.{item.digits}f} to {high:.{item.digits}f}."
        )
        label = f"{item.title} ({item.unit})"
        found.append((charts.histogram(values, words=words, label=label), words))
    return found


def feature_words(overview: FeatureOverview) -> dict[str, Any]:
    """Return the section on features."""
    from idrstream.report.features import NULL

    share = (
        f" of {overview.batches:,} of {overview.of_batches:,} batches, evenly spread"
        if overview.batches < overview.of_batches
        else ""
    )
    text = (
        f"Mean features of {len(overview.wells):,} wells ({overview.nuclei:,} nuclei{share}), "
        "centred on each plate's negative controls, or on all its wells if it has none, and "
        "scaled by their median absolute deviation. An overview, not an analysis."
    )
    if len(overview.blocks) > 1:
        text += f" The features of {' and '.join(overview.blocks)} count alike."
    precise: list[tuple[str, ...]] | None = None
    if overview.precision is not None:
        precise = [
            (str(target), str(wells), f"{precision:.3f}", f"{p:.3f}")
            for target, wells, precision, p in overview.precision.itertuples(index=False)
        ]
    return {
        "text": text,
        "plot": _plot(overview) if overview.why_no_plot == "" else None,
        "why_no_plot": overview.why_no_plot,
        "precision": precise,
        "why": overview.why_no_precision,
        "families": _families(overview),
        "families_high": f"{_families_high(overview):.0f}",
        "null": f"{NULL:,}",
    }


def _plot(overview: FeatureOverview) -> dict[str, Any]:
    """Return the wells in two principal components, and what colours and shapes mean."""
    wells = overview.wells[overview.wells["PC1"].notna()]
    by, kind = _kinds(wells)
    groups = [
        (str(name), rows[["PC1", "PC2"]].to_numpy())
        for name, rows in wells.groupby(kind, sort=True)
    ]
    words = "Scatter of wells in the first two principal components: " + ", ".join(
        f"{len(points)} of {name}" for name, points in groups
    )
    first, second = overview.explained
    left_out = len(overview.wells) - len(wells)
    return {
        "figure": charts.scatter(
            groups,
            words=words,
            labels=(
                f"PC 1, {first:.0%} of the variance (deviations of the controls)",
                f"PC 2, {second:.0%} of the variance",
            ),
        ),
        "by": by,
        "legend": [
            (charts.symbol(charts.SYMBOLS[at % len(charts.SYMBOLS)], 7, 7), name, len(points))
            for at, (name, points) in enumerate(groups)
        ],
        "explained": f"{first + second:.0%}",
        "left_out": f"{left_out} wells of plates with a single control are left out."
        if left_out
        else "",
    }


def _kinds(wells: pd.DataFrame) -> tuple[str, pd.Series]:
    """Return what wells are told apart by, and that of each: targets if they are few."""
    control = wells["Group"].replace("", "other wells")
    negative = wells["Group"].str.contains("negative", case=False, regex=False)
    target = wells["Target"].mask(negative | (wells["Target"] == ""), control)
    if target.nunique() <= len(charts.SYMBOLS):
        return "target and control type", target
    return "control type", control


def _families(overview: FeatureOverview) -> list[dict[str, str]]:
    """Return what each target changes, as a map and in words."""
    high = _families_high(overview)
    found = []
    for one in overview.families:
        top = ", ".join(f"{name} ({value:+.1f})" for name, value in one.top)
        words = f"{one.target}, {one.wells} wells. Most changed: {top}."
        figure = charts.heat_map(one.effects, high, rows=one.rows, columns=one.columns, words=words)
        found.append({"figure": figure, "words": words})
    return found


def _families_high(overview: FeatureOverview) -> float:
    """Return the common end of the scale, at which strong effects saturate."""
    tops = [float(np.nanmax(one.effects)) for one in overview.families]
    return float(np.clip(np.median(tops), 3, 20)) if tops else 0.0
