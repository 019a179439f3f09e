"""Overview of the features: well profiles, principal components, separation of controls."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from idrstream.compile.feature_names import POSITIONS, block_weights, parse_features
from idrstream.compile.names import find_column, is_feature
from idrstream.compile.readers import read_batch_table
from idrstream.quiet import without_warnings
from idrstream.records import ImageTask
from idrstream.report.families import FamilyEffects, family_effects
from idrstream.screen.columns import CONTROL, GENE

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from idrstream.report.data import FolderData

log = logging.getLogger(__name__)

MAX_NUCLEI = 60_000  # limit of what is read: an overview, not an analysis
LEAST_WELLS = 6  # of which a plot of two components says more than their names
_MAD = 1.4826
_MOST_MISSING = 0.05  # share of wells without a value, as of pycytominer's drop_na_columns
NULL = 1000
_KEYS = ["Metadata_Plate", "Metadata_Well"]


@dataclass(frozen=True, slots=True)
class FeatureOverview:
    """Overview of the features.

    Attributes
    ----------
    wells : pandas.DataFrame
        ``Plate, Well, Group, Target, PC1, PC2``: one row per well profile. Those of plates with a
        single reference well, which would be compared with itself, have no components.
    why_no_plot : str
        Why the components are not worth a plot; empty if they are.
    explained : tuple of float
        Share of the variance along the two components.
    precision : pandas.DataFrame or None
        ``Target, Wells, mAP, p``: positive controls against negative ones; None if there are none.
    why_no_precision : str
        Why `precision` is None.
    families : tuple of FamilyEffects
        What the positive controls change, by object, family and channel.
    blocks : tuple of str
        Blocks of features, which count alike.
    nuclei, batches : int
        Nuclei and batches that were read.
    of_batches : int
        Number of all batches.
    """

    wells: pd.DataFrame
    why_no_plot: str
    explained: tuple[float, float]
    precision: pd.DataFrame | None
    why_no_precision: str
    families: tuple[FamilyEffects, ...]
    blocks: tuple[str, ...]
    nuclei: int
    batches: int
    of_batches: int


def summarize_features(data: FolderData) -> FeatureOverview | None:
    """Make profiles of wells and compare them; None if fewer than three wells have features.

    A profile is the mean of the features of a well's nuclei; each feature is then centred on the
    median of the plate's negative controls (of all its wells without such) and divided by
    their scaled median absolute deviation over all plates. Blocks of features, such as those of a
    network and CellProfiler's, count alike. The axes are principal components.
    """
    import pandas as pd

    chosen = _choose(data)
    profiles, nuclei = _profiles(data, chosen)
    if len(profiles) < 3:
        return None
    meta = _metadata(profiles.index.to_frame(index=False), data)
    parsed = parse_features(map(str, profiles.columns), data.channels)
    used = np.array([one.family != POSITIONS for one in parsed])  # no property of a cell
    parsed = [one for one in parsed if one.family != POSITIONS]
    values, kept = _normalised(profiles.to_numpy(dtype=np.float64)[:, used], meta)
    named = [one for one, used in zip(parsed, kept, strict=True) if used]
    targets = meta["Target"].where(_is(meta, "positive"), "")
    families = family_effects(values, named, targets, data.channels)
    values = values * np.array(block_weights(named)) if named else np.zeros((len(values), 1))
    meta, shares, why_no_plot = _components(meta, values)
    precision, why = _precision(meta, values)
    return FeatureOverview(
        wells=pd.DataFrame(meta[["Plate", "Well", "Group", "Target", "PC1", "PC2"]]),
        why_no_plot=why_no_plot,
        explained=shares,
        precision=precision,
        why_no_precision=why,
        families=families,
        blocks=tuple(dict.fromkeys(one.block for one in named)),
        nuclei=nuclei,
        batches=len(chosen),
        of_batches=len(data.batches),
    )


def _components(
    meta: pd.DataFrame, values: NDArray[np.float64]
) -> tuple[pd.DataFrame, tuple[float, float], str]:
    """Return the wells with two principal components, their shares, and why they are no plot."""
    reference = _reference(meta)
    several = np.array([reference[meta["Plate"] == plate].sum() > 1 for plate in meta["Plate"]])
    axes = np.full((len(values), 2), np.nan)
    shares = (0.0, 0.0)
    why = ""
    if several.sum() < LEAST_WELLS:
        why = (
            f"it needs {LEAST_WELLS} wells of plates with at least two negative controls (or "
            f"without any), and there are {several.sum()}"
        )
    else:
        centred = values[several] - values[several].mean(axis=0)
        left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
        count = min(2, len(lengths))
        axes[several] = 0.0
        axes[several, :count] = left[:, :count] * lengths[:count]
        parts = np.zeros(2)
        parts[:count] = lengths[:count] ** 2 / max(float((lengths**2).sum()), 1e-12)
        shares = (float(parts[0]), float(parts[1]))
    return meta.assign(PC1=axes[:, 0], PC2=axes[:, 1]), shares, why


def _reference(meta: pd.DataFrame) -> NDArray[np.bool_]:
    """Return the wells that others are compared with: negative controls, or all of a plate."""
    negative = _is(meta, "negative")
    with_some = meta["Plate"].isin(meta["Plate"][negative]).to_numpy(dtype=bool)
    found: NDArray[np.bool_] = negative | ~with_some
    return found


def _choose(data: FolderData) -> list[tuple[int, str]]:
    """Return the batches to read, evenly spread, within the limit of nuclei."""
    rows = int(data.batches["Rows"].sum())
    step = max(1, -(-rows // MAX_NUCLEI))
    chosen = data.batches.iloc[::step]
    return list(zip(chosen["Batch"].tolist(), chosen["File"].tolist(), strict=True))


def _profiles(data: FolderData, chosen: Sequence[tuple[int, str]]) -> tuple[pd.DataFrame, int]:
    import pandas as pd

    sums, counts, nuclei = [], [], 0
    for _, file in chosen:
        try:
            cells = read_batch_table(data.folder / file)
        except (OSError, ValueError) as error:
            log.warning("%s is left out of the report's features: %s", file, error)
            continue
        features = [name for name in cells.columns if is_feature(name)]
        groups = cells[_KEYS].assign(
            Metadata_Well=cells["Metadata_Well"].str.rsplit("_", n=1).str[0]
        )
        keys = [groups[name] for name in _KEYS]
        nuclei += len(cells)
        values = cells[features].groupby(keys, sort=False)
        sums.append(values.sum())
        counts.append(values.count())  # of an object that is missing features have no value
    if not sums:
        return pd.DataFrame(), 0
    total = pd.concat(sums).groupby(level=[0, 1], sort=False).sum()
    count = pd.concat(counts).groupby(level=[0, 1], sort=False).sum()
    return total / count.where(count > 0), nuclei


def _metadata(keys: pd.DataFrame, data: FolderData) -> pd.DataFrame:
    """Add name, group and target of each well from the table."""
    keys = keys.set_axis(["Plate", "Number"], axis=1)
    names = {
        (plate, str(number)): well
        for plate, number, well in zip(
            data.images["Plate"], data.images["Well_Number"], data.images["Well"], strict=True
        )
    }
    wells = list(zip(keys["Plate"], keys["Number"], strict=True))
    keys["Well"] = [names.get(well, well[1]) for well in wells]
    for name, column in (("Group", CONTROL), ("Target", GENE)):
        values = _of_wells(data.tasks, column)
        keys[name] = [values.get(well, "") for well in wells]
    return keys


def _of_wells(tasks: Sequence[ImageTask], column: str) -> dict[tuple[str, str], str]:
    """Return a column of the table by plate and well number; not of wells with several values."""
    columns = list(dict.fromkeys(name for task in tasks for name in task.metadata))
    name = find_column(columns, column)
    values: dict[tuple[str, str], str] = {}
    if name is not None:
        for task in tasks:
            value = task.metadata.get(name, "")
            first = values.setdefault((task.plate, str(task.well_number)), value)
            if first != value:
                values[task.plate, str(task.well_number)] = ""
    return values


def _is(meta: pd.DataFrame, word: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (
        meta["Group"].str.lower().str.contains(word, regex=False).to_numpy(dtype=bool)
    )
    return found


def _normalised(
    values: NDArray[np.float64], meta: pd.DataFrame
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return normalised profiles of the features that can be, and which these are."""
    reference = _reference(meta)
    values = values.copy()
    for plate in meta["Plate"].unique():
        here = (meta["Plate"] == plate).to_numpy()
        values[here] -= _median(values[here & reference])
    spread = _MAD * _median(np.abs(values[reference]))
    # Few reference wells can agree by chance: that must not raise a feature's weight.
    whole = _MAD * _median(np.abs(values))
    spread = np.maximum(spread, 0.1 * whole)
    good = np.isfinite(spread) & (spread > 0) & (np.isnan(values).mean(axis=0) <= _MOST_MISSING)
    kept = np.clip(values[:, good] / spread[good], -50, 50)
    return np.nan_to_num(kept), good  # what is missing is as the controls are


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return medians of columns, NaN of those without values."""
    with without_warnings():
        middle: NDArray[np.float64] = np.nanmedian(values, axis=0)
    return middle


def _precision(meta: pd.DataFrame, values: NDArray[np.float64]) -> tuple[pd.DataFrame | None, str]:
    """Return the mean average precision of each positive control against negative controls.

    The phenotypic activity of Kalinin et al. (Nat Commun 2025, doi:10.1038/s41467-025-60306-2):
    do the wells of a target rank above the negative controls? Computed by `copairs`.
    """
    positive, negative = _is(meta, "positive"), _is(meta, "negative")
    if not (positive.any() and negative.any()):
        return None, "the table has no positive and negative controls among the wells with features"
    target = meta["Target"].where(meta["Target"] != "", "positive control")
    kinds = target[positive].value_counts()
    if not (kinds >= 2).any():
        return None, "no positive control has two wells with features"
    try:
        from copairs import map as copairs_map
        from copairs.matching import assign_reference_index
    except ImportError:
        return None, "copairs is not installed: pip install 'idrstream[report]'"
    import pandas as pd

    # A plate's only negative control is its own reference: a profile of zeros.
    negative = negative & np.any(values != 0, axis=1)
    if not negative.any():
        return None, "no plate has two negative controls with features to compare with"
    several = positive & target.isin(kinds[kinds >= 2].index).to_numpy()
    wanted = several | negative
    named = pd.DataFrame({"Target": target.where(several, "negative control")})[wanted]
    named = named.reset_index(drop=True)
    named = assign_reference_index(
        named, "Target == 'negative control'", reference_col="Reference", default_value=-1
    )
    scores = copairs_map.average_precision(
        named, values[wanted], ["Target", "Reference"], [], [], ["Target", "Reference"],
        progress_bar=False,
    )  # fmt: skip
    scores = scores[scores["Target"] != "negative control"]
    found = copairs_map.mean_average_precision(
        scores, ["Target"], null_size=NULL, threshold=0.05, seed=0, progress_bar=False
    )
    return pd.DataFrame(
        {
            "Target": found["Target"],
            "Wells": found["Target"].map(kinds),
            "mAP": found["mean_average_precision"],
            "p": found["p_value"],
        }
    ).sort_values("mAP", ascending=False), ""
