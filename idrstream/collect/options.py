"""Options of a collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from idrstream.errors import ConfigError

Aggregation = Literal["median", "mean"]
Normalization = Literal["standardize", "robustize", "mad_robustize", "none"]
Reference = Literal["plate", "screen"]
Tables = Literal["one", "by-engine"]

SELECTIONS = (
    "blocklist",
    "drop_na_columns",
    "variance_threshold",
    "correlation_threshold",
    "drop_outliers",
)
"""Operations of pycytominer's ``feature_select`` that need only the profiles.

Features without values go before correlations are compared: of two that agree the one with values
has to stay.
"""

_CHOICES = {
    "aggregate": get_args(Aggregation),
    "normalize": get_args(Normalization),
    "normalize_by": get_args(Reference),
    "tables": get_args(Tables),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectOptions:
    """How batches become a dataset and profiles.

    Attributes
    ----------
    aggregate : {"median", "mean"}
        How to aggregate the cells of a well.
    control_column : str
        Column of the table that marks control wells, as named there or as ``Metadata_...``.
    negative_controls : tuple of str
        Its values for negative controls; case is ignored.
    normalize : {"standardize", "robustize", "mad_robustize", "none"}
        pycytominer's method; ``"none"`` leaves the aggregated profiles as they are.
    normalize_by : {"plate", "screen"}
        Negative controls to compare a plate's wells with: its own, or all.
    feature_select : tuple of str, optional
        Operations of pycytominer, in this order; empty for no selection. By default
        ``blocklist, drop_na_columns, variance_threshold, correlation_threshold`` of normalised
        profiles, none of others.
    correlation_threshold : float
        One of two features that correlate more is dropped; 0 to 1.
    tables : {"one", "by-engine"}
        Write the cells as one dataset, or one for each engine with the same rows, in the folders
        ``cells/classical``, ``cells/efficientnet`` …
    anndata : bool
        Also write the cells and the final profiles as AnnData.
    partial : bool
        Collect although batches are missing.
    minutes_per_frame : float
        Time between the frames of a movie, for rates of tracks.
    rows_at_once : int
        About how many cells to hold in memory.
    """

    aggregate: Aggregation = "median"
    control_column: str = "Control Type"
    negative_controls: tuple[str, ...] = ("negative control",)
    normalize: Normalization = "standardize"
    normalize_by: Reference = "plate"
    feature_select: tuple[str, ...] | None = None
    correlation_threshold: float = 0.9
    tables: Tables = "one"
    anndata: bool = False
    partial: bool = False
    minutes_per_frame: float = 30.0
    rows_at_once: int = 20_000

    def __post_init__(self) -> None:
        """Check the values.

        Raises
        ------
        ConfigError
            Names the option and its valid values.
        """
        if self.feature_select is None:
            object.__setattr__(self, "feature_select", _usual_selections(self.normalize))
        values = asdict(self)
        for name, known in _CHOICES.items():
            _check(name, [values[name]], known)
        _check("feature_select", self.selections, SELECTIONS)
        if not 0 < self.correlation_threshold <= 1:
            msg = f"correlation_threshold is {self.correlation_threshold}; it must be in 0 to 1"
            raise ConfigError(msg)
        if not self.minutes_per_frame > 0:
            msg = f"minutes_per_frame is {self.minutes_per_frame}; it must be more than 0"
            raise ConfigError(msg)
        if self.rows_at_once < 1:
            msg = f"rows_at_once is {self.rows_at_once}; it must be at least 1"
            raise ConfigError(msg)
        if not self.negative_controls:
            msg = "negative_controls is empty; give the values of the column for negative controls"
            raise ConfigError(msg)

    @property
    def selections(self) -> tuple[str, ...]:
        """The operations of feature selection that are done."""
        return self.feature_select or ()

    def changed(self, **changes: Any) -> CollectOptions:
        """Return the options with other values.

        Raises
        ------
        ConfigError
            If there is no such option, or it cannot have the value.
        """
        known = [item.name for item in fields(self)]
        unknown = sorted(changes.keys() - set(known))
        if unknown:
            msg = f"collect has no option {unknown[0]!r}; it has {', '.join(known)}"
            raise ConfigError(msg)
        if self.feature_select == _usual_selections(self.normalize):
            changes.setdefault("feature_select", None)  # those that are usual after the change
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        """Return the options that change the result, as plain values."""
        values = asdict(self)
        del values["rows_at_once"]
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


def _usual_selections(normalize: str) -> tuple[str, ...]:
    return () if normalize == "none" else SELECTIONS[:4]


def _check(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            msg = f"{name} is {value!r}; it can be {', '.join(known)}"
            raise ConfigError(msg)
