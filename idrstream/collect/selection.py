"""The features that are worth keeping, by pycytominer's operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from idrstream.compile.feature_names import POSITIONS, parse_features
from idrstream.errors import CollectError
from idrstream.quiet import without_warnings

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.collect.options import CollectOptions

_NONE_LEFT = "No feature in X meets the variance threshold"  # scikit-learn refuses to leave none


def selection_parameters(options: CollectOptions) -> dict[str, Any]:
    """Return the parameters of pycytominer's ``feature_select``."""
    return {
        "corr_threshold": options.correlation_threshold,
        "na_cutoff": 0.05,
        "freq_cut": 0.05,
        "unique_cut": 0.01,
        "outlier_cutoff": 500.0,
    }


def select_features(
    profiles: pd.DataFrame,
    features: Sequence[str],
    operations: Sequence[str],
    parameters: Mapping[str, Any],
) -> tuple[list[str], dict[str, int]]:
    """Return the features that are kept, and how many each operation leaves out.

    The same as ``feature_select`` with all operations at once, which fails when one of them leaves
    none for the next; ``blocklist`` also leaves out positions in the image.

    Raises
    ------
    CollectError
        If none is left; says which operations left them out.
    """
    left, left_out = list(features), dict.fromkeys(operations, 0)
    for operation in operations:
        if left:
            kept = _kept(profiles[left], left, operation, parameters)
            if operation == "blocklist":  # where a cell lies in its image is no property of it
                kept = [one.name for one in parse_features(kept) if one.family != POSITIONS]
            left_out[operation], left = len(left) - len(kept), kept
    if not left:
        counts = ", ".join(f"{count} by {name}" for name, count in left_out.items() if count)
        msg = (
            f"feature selection leaves no feature ({counts}): choose other operations with "
            "--feature-select (feature_select), or none"
        )
        raise CollectError(msg)
    return left, left_out


def _kept(
    table: pd.DataFrame, features: list[str], operation: str, parameters: Mapping[str, Any]
) -> list[str]:
    from pycytominer import feature_select

    with without_warnings():  # of constant features
        try:
            return list(feature_select(table, features=features, operation=operation, **parameters))
        except ValueError as error:
            if not str(error).startswith(_NONE_LEFT):
                raise
            return []
