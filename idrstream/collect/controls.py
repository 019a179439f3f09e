"""Find the negative controls and check that there are enough."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idrstream.collect.annotations import Annotations
from idrstream.collect.options import CollectOptions
from idrstream.collect.source import WellKey
from idrstream.compile.names import find_column
from idrstream.errors import CollectError
from idrstream.text import counted

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_ENOUGH = 2  # one well has no spread to compare with
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Controls:
    """The negative controls of a screen.

    Attributes
    ----------
    column : str
        Column that marks them, with ``Metadata_``.
    values : frozenset of str
        Its values for negative controls, in lower case.
    counts : dict
        Number of negative controls with cells on each plate.
    wells : frozenset of (str, int)
        Plate and well number of each.
    """

    column: str
    values: frozenset[str]
    counts: dict[str, int]
    wells: frozenset[WellKey]

    @classmethod
    def of(
        cls, annotations: Annotations, options: CollectOptions, wells: Sequence[WellKey]
    ) -> Controls:
        """Find the negative controls among wells with cells.

        Raises
        ------
        CollectError
            If the column is missing or a plate has too few; names the options that help.
        """
        column = _column(annotations, options)
        at = annotations.columns.index(column)
        values = frozenset(value.strip().casefold() for value in options.negative_controls)
        said: dict[WellKey, set[str]] = {}
        for (plate, number, _, _), known in annotations.images.items():
            said.setdefault((plate, number), set()).add(known[at].strip())
        negative = frozenset(
            key for key in wells if {value.casefold() for value in said[key]} <= values
        )
        mixed = [key for key in wells if key not in negative and _overlap(said[key], values)]
        if mixed:
            log.warning(
                "%s in some rows only (the first: plate %s well %d, %s in %s): not taken as such",
                counted(len(mixed), "well is a negative control", "wells are negative controls"),
                *mixed[0], " and ".join(map(repr, sorted(said[mixed[0]]))), column,
            )  # fmt: skip
        counts = {plate: 0 for plate, _ in wells}
        for plate, _ in negative:
            counts[plate] += 1
        found = cls(column, values, counts, negative)
        found._check(options, Counter(value for key in wells for value in said[key]))
        return found

    def are_negative(self, table: pd.DataFrame) -> list[bool]:
        """Return whether each well of a table is a negative control."""
        keys = zip(table["Metadata_Plate"], table["Metadata_Well_Number"], strict=True)
        return [(plate, int(number)) in self.wells for plate, number in keys]

    def as_json(self) -> dict[str, Any]:
        """Return plain values for the record."""
        return {
            "control_column": self.column,
            "negative_controls": sorted(self.values),
            "negative_control_wells": self.counts,
        }

    def _check(self, options: CollectOptions, said: Counter[str]) -> None:
        if options.normalize_by == "screen":
            few = [] if sum(self.counts.values()) >= _ENOUGH else list(self.counts)
        else:
            few = [plate for plate, count in self.counts.items() if count < _ENOUGH]
        if not few:
            return
        shown = ", ".join(f"{plate}: {self.counts[plate]}" for plate in few[:_SHOWN])
        more = f" and {len(few) - _SHOWN} more plates" if len(few) > _SHOWN else ""
        values = ", ".join(f"{value!r} ({n} wells)" for value, n in said.most_common(_SHOWN))
        msg = (
            f"too few negative controls with nuclei on plate {shown}{more}; normalisation needs "
            f"{_ENOUGH}. Negative controls have {' or '.join(map(repr, sorted(self.values)))} in "
            f"the column {self.column}; its values are {values}. Give other values with "
            "--negative-control (negative_controls), use the controls of all plates with "
            "--normalize-by screen (normalize_by), or --normalize none"
        )
        raise CollectError(msg)


def _overlap(said: set[str], values: frozenset[str]) -> bool:
    return any(value.casefold() in values for value in said)


def _column(annotations: Annotations, options: CollectOptions) -> str:
    found = find_column(annotations.sources[1:], options.control_column)
    if found is not None:
        return annotations.columns[annotations.sources.index(found, 1)]
    if options.control_column in annotations.columns:
        return options.control_column
    msg = (
        f"the table has no column {options.control_column!r} to mark control wells; it has "
        f"{', '.join(annotations.columns[1:]) or 'no metadata columns'}. Name one with "
        "--control-column (control_column), or give --normalize none"
    )
    raise CollectError(msg)
