"""The look at the features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idrstream.report import charts

if TYPE_CHECKING:
    from idrstream.report.features import Look


def feature_words(look: Look) -> dict[str, Any]:
    """Return the section on features."""
    from idrstream.report.features import NULL

    groups = []
    for group, rows in look.wells.groupby("Group", sort=True):
        groups.append((str(group) or "other wells", rows[["PC1", "PC2"]].to_numpy()))
    words = "Scatter of wells in the first two principal components: " + ", ".join(
        f"{len(points)} of {name}" for name, points in groups
    )
    part = (
        f" of {look.batches:,} of {look.of_batches:,} batches, evenly spread"
        if look.batches < look.of_batches
        else ""
    )
    text = (
        f"Mean features of {len(look.wells):,} wells ({look.nuclei:,} nuclei{part}), centred on "
        "each plate's negative controls, or on all its wells where it has none, and scaled by "
        "their median absolute deviation. A look, not an analysis."
    )
    precise: list[tuple[str, ...]] | None = None
    if look.precision is not None:
        precise = [
            (str(target), str(wells), f"{precision:.3f}", f"{p:.3f}")
            for target, wells, precision, p in look.precision.itertuples(index=False)
        ]
    first, second = look.explained
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
        "why": look.why_no_precision,
        "null": f"{NULL:,}",
    }
