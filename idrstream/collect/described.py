"""What a collection says of its features: object, family, channel, block and weight."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.compile.feature_names import block_weights, parse_features

if TYPE_CHECKING:
    import pandas as pd


FEATURES = "features.csv"
"""File of a collection."""


def describe_features(names: Sequence[str], channels: Sequence[str] = ()) -> pd.DataFrame:
    """Return what the names of features say, one row each, by name.

    Parameters
    ----------
    names : sequence of str
        Names of the features.
    channels : sequence of str
        Names of the channels; see `parse_features`.

    Returns
    -------
    pandas.DataFrame
        ``object``, ``family``, ``channel`` (``DNA|ER`` of two, empty where there is none),
        ``block`` (``classical``, or a network or engine) and ``weight``: multiplied with it, all
        blocks count alike in distances between profiles; see `block_weights`.
    """
    import pandas as pd

    said = parse_features(names, channels)
    return pd.DataFrame(
        {
            "object": [feature.object for feature in said],
            "family": [feature.family for feature in said],
            "channel": [feature.channel for feature in said],
            "block": [feature.block for feature in said],
            "weight": block_weights(said),
        },
        index=pd.Index(list(names), dtype=object),
    )


def write_features(
    path: Path, names: Sequence[str], profiles: Path | None, channels: Sequence[str]
) -> None:
    """Write what is known of the features of the cells; those of the profiles have a weight."""
    import pyarrow.parquet as pq

    table = describe_features(names, channels).drop(columns="weight")
    there = set(pq.read_schema(profiles).names) if profiles is not None else set()
    kept = [name for name in names if name in there]
    table["weight"] = describe_features(kept, channels)["weight"]
    table.to_csv(path, index_label="feature")


def read_features(path: Path) -> pd.DataFrame:
    """Return what `write_features` wrote, by name."""
    import pandas as pd

    table = pd.read_csv(path, index_col="feature", keep_default_na=False)
    return table.assign(weight=pd.to_numeric(table["weight"], errors="coerce"))
