"""Overview of the features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idrstream.report import charts

if TYPE_CHECKING:
    from idrstream.report.features import FeatureOverview


def feature_words(overview: FeatureOverview) -> dict[str, Any]:
    """Return the section on features."""
    from idrstream.report.features import NULL

    groups = []
    for group, rows in overview.wells.groupby("Group", sort=True):
        groups.append((str(group) or "other wells", rows[["PC1", "PC2"]].to_numpy()))
    words = "Scatter of wells in the first two principal components: " + ", ".join(
        f"{len(points)} of {name}" for name, points in groups
    )
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
    precise: list[tuple[str, ...]] | None = None
    if overview.precision is not None:
        precise = [
            (str(target), str(wells), f"{precision:.3f}", f"{p:.3f}")
            for target, wells, precision, p in overview.precision.itertuples(index=False)
        ]
    first, second = overview.explained
    return {
        "text": text,
        "figure": charts.scatter(
            groups, words=words, labels=(f"PC 1 ({first:.0%})", f"PC 2 ({second:.0%})")
        ),
        "legend": [
            (charts.symbol(charts.SYMBOLS[at % len(charts.SYMBOLS)], 7, 7), name, len(points))
            for at, (name, points) in enumerate(groups)
        ],
        "explained": f"{first + second:.0%}",
        "precision": precise,
        "why": overview.why_no_precision,
        "null": f"{NULL:,}",
    }
