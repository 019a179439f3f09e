"""Which kinds of features tell targets from the controls: by object, family and channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from idrstream.compile.feature_names import FeatureName

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

TARGETS = 12  # most on the page
_TOP = 4


@dataclass(frozen=True, slots=True)
class FamilyEffects:
    """What a target changes.

    Attributes
    ----------
    target : str
        Its name.
    wells : int
        Its wells with features.
    rows, columns : tuple of str
        ``Cells, Texture`` ...; channels, and last what has none.
    effects : NDArray
        Shape ``(rows, columns)``: root mean square of the mean normalised features; NaN where
        there are none.
    top : tuple of (str, float)
        The features that change most, with their mean normalised values, each of another family,
        object or channel.
    """

    target: str
    wells: int
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    effects: NDArray[np.float64]
    top: tuple[tuple[str, float], ...]


def family_effects(
    values: NDArray[np.float64],
    features: Sequence[FeatureName],
    targets: pd.Series,
    channels: Sequence[str],
) -> tuple[FamilyEffects, ...]:
    """Return what each target changes, the strongest first; nothing if there is but one family.

    Parameters
    ----------
    values : NDArray
        Shape ``(wells, features)``: normalised profiles.
    features : sequence of FeatureName
        What the features are.
    targets : pandas.Series
        Target of each well; empty for none.
    channels : sequence of str
        Names of the channels in the order wanted.
    """
    rows = tuple(dict.fromkeys((one.object, one.family) for one in features))
    seen = {name for one in features for name in one.channels}
    columns = (*(name for name in channels if name in seen), *sorted(seen - set(channels)), "")
    if len(rows) < 2:
        return ()
    members = {
        (row, column): np.array(
            [
                (one.object, one.family) == row and column in (one.channels or ("",))
                for one in features
            ]
        )
        for row in rows
        for column in columns
    }
    found = []
    for target in dict.fromkeys(targets[targets != ""]):
        wells = (targets == target).to_numpy()
        mean = values[wells].mean(axis=0)
        effects = np.full((len(rows), len(columns)), np.nan)
        for (row, column), these in members.items():
            if these.any():
                rms = np.sqrt(np.mean(mean[these] ** 2))
                effects[rows.index(row), columns.index(column)] = rms
        found.append(
            FamilyEffects(
                target=str(target),
                wells=int(wells.sum()),
                rows=tuple(", ".join(row) for row in rows),
                columns=tuple(column or "none" for column in columns),
                effects=effects,
                top=_top(mean, features),
            )
        )
    found.sort(key=lambda one: float(np.nanmax(one.effects)), reverse=True)
    return tuple(found[:TARGETS])


def _top(
    mean: NDArray[np.float64], features: Sequence[FeatureName]
) -> tuple[tuple[str, float], ...]:
    top: dict[tuple[str, str, str], tuple[str, float]] = {}
    for at in np.argsort(-np.abs(mean), kind="stable"):
        one = features[at]
        top.setdefault((one.object, one.family, one.channel), (one.name, float(mean[at])))
        if len(top) == _TOP:
            break
    return tuple(top.values())
