"""Profiles of wells from single cells, with pycytominer, piece by piece.

pycytominer works on whole tables. Each step gets what it needs to give the same result: all cells
of a well to aggregate, a plate's wells and their negative controls to normalise, all wells to
select features.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.collect.annotations import Annotations
from idrstream.collect.cells import Cells, read_cells
from idrstream.collect.controls import Controls
from idrstream.collect.options import CollectOptions
from idrstream.collect.selection import select_features, selection_parameters
from idrstream.collect.source import WellKey
from idrstream.compile.names import NEGATIVE, REFERENCE, X_COLUMN
from idrstream.quiet import without_warnings
from idrstream.text import shorten_list

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_WELL = ["Metadata_Plate", "Metadata_Well_Number"]
_FEW_NUCLEI = 10
_ROUNDING = 1e-6  # of single precision, relative


@dataclass(slots=True)
class Profiles:
    """Profiles of wells as files, and the steps that made them.

    Attributes
    ----------
    folder : Path
        Has ``wells_aggregated.parquet``, ``wells_normalized.parquet``, ``wells_selected.parquet``.
    steps : list of dict
        The steps in order, with all parameters.
    last : Path or None
        The file of the last step.
    wells, features : int
        Its rows and features.
    """

    folder: Path
    steps: list[dict[str, Any]] = field(default_factory=list)
    last: Path | None = None
    wells: int = 0
    features: int = 0

    def path(self, step: str) -> Path:
        """Return the file of a step."""
        return self.folder / f"wells_{step}.parquet"

    def done(self, function: str, step: str, parameters: dict[str, Any], **seen: Any) -> None:
        """Record a step."""
        self.steps.append({"function": function, "parameters": parameters, **seen})
        self.last = self.path(step)


def make_profiles(
    cells: Cells, annotations: Annotations, options: CollectOptions, folder: Path
) -> Profiles:
    """Aggregate, annotate, normalise and select features.

    Raises
    ------
    CollectError
        If the control column is missing or a plate has too few negative controls; names the
        options that help.
    """
    made = Profiles(folder)
    plates = _plates(cells)
    if not plates:
        return made
    controls = None
    if options.normalize != "none":
        controls = Controls.of(annotations, options, [key for wells in plates for key in wells])
    _aggregate(cells, annotations, options, made, plates, controls)
    if controls is not None:
        _normalize(cells, options, made, controls)
    if options.selections:
        _select(cells, options, made)
    return made


def _plates(cells: Cells) -> list[list[WellKey]]:
    """Return the wells with cells, plate by plate."""
    return [list(wells) for _, wells in groupby(sorted(cells.wells), key=lambda key: key[0])]


def _aggregate(
    cells: Cells,
    annotations: Annotations,
    options: CollectOptions,
    made: Profiles,
    plates: list[list[WellKey]],
    controls: Controls | None,
) -> None:
    import pandas as pd
    from pycytominer import aggregate, annotate

    features = list(cells.features)
    how: dict[str, Any] = {
        "strata": _WELL, "operation": options.aggregate, "compute_object_count": True,
        "object_feature": X_COLUMN,  # every cell has one
    }  # fmt: skip
    joined: dict[str, Any] = {"join_on": [_WELL, _WELL], "clean_cellprofiler": False}
    varying = annotations.varying()
    for name, example in varying.items():
        log.warning(
            "The column %s has several values in one well (%s), so it is left out of the profiles",
            name, example,
        )  # fmt: skip
    platemaps = annotations.platemaps(varying)
    with _Writer(made.path("aggregated")) as writer:
        for wells in plates:
            groups = [
                aggregate(_cells_of(cells, some, options.rows_at_once), features=features, **how)
                for some in _groups_of(cells, wells, options.rows_at_once)
            ]
            table = pd.concat(groups, ignore_index=True)
            table = annotate(table, platemaps[wells[0][0]], **joined)
            if controls is not None:
                table.insert(2, NEGATIVE, controls.are_negative(table))
            writer.write(table)
        made.wells = writer.rows
    made.features = len(features)
    made.done(
        "pycytominer.aggregate", "aggregated", how,
        cells=cells.rows, wells=made.wells, features=len(features),
    )  # fmt: skip
    made.done(
        "pycytominer.annotate", "aggregated", {**joined, "platemap": "the table to process"},
        left_out=list(varying), examples=list(varying.values()),
    )  # fmt: skip


def _groups_of(cells: Cells, wells: Sequence[WellKey], rows: int) -> Iterator[list[WellKey]]:
    """Yield groups of whole wells of a plate with about `rows` cells each."""
    some: list[WellKey] = []
    count = 0
    for key in wells:
        size = sum(cells.wells[key].values())
        if some and count + size > rows:
            yield some
            some, count = [], 0
        some.append(key)
        count += size
    yield some


def _cells_of(cells: Cells, wells: Sequence[WellKey], rows: int) -> pd.DataFrame:
    """Read the cells of some wells of one plate, in the order of the dataset."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plate, numbers = wells[0][0], pa.array([number for _, number in wells], pa.int32())
    files = sorted({path for key in wells for path in cells.wells[key]})
    kept = []
    for piece in read_cells(files, [*_WELL, X_COLUMN, *cells.features], rows):
        ours = pc.and_(
            pc.equal(piece["Metadata_Plate"], plate),
            pc.is_in(piece["Metadata_Well_Number"], value_set=numbers),
        )
        kept.append(piece.filter(ours))
    table: pd.DataFrame = pa.concat_tables(kept).to_pandas()
    return table


def _normalize(cells: Cells, options: CollectOptions, made: Profiles, controls: Controls) -> None:
    import numpy as np
    import pandas as pd
    from pycytominer import normalize

    features = list(cells.features)
    how: dict[str, Any] = {"method": options.normalize, "samples": f"{REFERENCE} == True"}
    shared = None
    if options.normalize_by == "screen":
        shared = pd.concat(
            [table[table[NEGATIVE]] for table in _by_plate(made.path("aggregated"))],
            ignore_index=True,
        )
    no_spread: dict[str, int] = {}
    with _Writer(made.path("normalized")) as writer:
        for table in _by_plate(made.path("aggregated")):
            own = table.assign(**{REFERENCE: table[NEGATIVE] if shared is None else False})
            if shared is not None:  # reference rows, dropped after normalising
                own = pd.concat([shared.assign(**{REFERENCE: True}), own], ignore_index=True)
            meta = [name for name in table if name not in set(features)]
            with without_warnings():  # of features without values
                done = normalize(own, features=features, meta_features=meta, **how)
            reference = own.loc[own[REFERENCE].astype(bool), features]
            if flat := _without_spread(reference, options.normalize):
                done[flat] = np.nan
                no_spread[str(table["Metadata_Plate"].iloc[0])] = len(flat)
            writer.write(done.iloc[len(own) - len(table) :].reset_index(drop=True))
    made.done(
        "pycytominer.normalize", "normalized",
        {"method": options.normalize, "samples": f"{NEGATIVE} == True"},
        by=options.normalize_by, **controls.as_json(), features_without_spread=no_spread,
        negative_control_nuclei=_control_nuclei(cells, controls, options.normalize_by),
    )  # fmt: skip
    for plate, count in no_spread.items():
        log.warning(
            "%d of %d features have no spread in the negative controls of plate %s: their "
            "profiles have no value there",
            count, len(features), plate,
        )  # fmt: skip


def _without_spread(reference: pd.DataFrame, method: str) -> list[str]:
    """Return the features whose spread is nothing but rounding: a method has no scale for them."""
    middle = reference.median()
    if method == "standardize":
        spread = reference.std(ddof=0)
    elif method == "robustize":
        spread = reference.quantile(0.75) - reference.quantile(0.25)
    else:
        spread = (reference - middle).abs().median()
    flat = spread <= _ROUNDING * middle.abs()
    return [str(name) for name in reference.columns if flat[name]]


def _control_nuclei(cells: Cells, controls: Controls, by: str) -> dict[str, int]:
    """Return the nuclei of each plate's negative controls; warn where few are compared with."""
    nuclei = dict.fromkeys(controls.counts, 0)
    for key in controls.wells:
        nuclei[key[0]] += sum(cells.wells[key].values())
    groups = {f"plate {plate}": count for plate, count in nuclei.items()}
    if by == "screen":
        groups = {"all plates": sum(nuclei.values())}
    few = [f"{name} ({count})" for name, count in groups.items() if count < _FEW_NUCLEI]
    if few:
        log.warning(
            "the negative controls have fewer than %d nuclei on %s: what is compared with them is "
            "mostly noise",
            _FEW_NUCLEI, shorten_list(few, 10),
        )  # fmt: skip
    return nuclei


def _select(cells: Cells, options: CollectOptions, made: Profiles) -> None:
    import pandas as pd

    table = pd.read_parquet(
        made.path("normalized" if options.normalize != "none" else "aggregated")
    )
    how = selection_parameters(options)
    features, left_out = select_features(table, cells.features, options.selections, how)
    gone = set(cells.features) - set(features)
    with _Writer(made.path("selected")) as writer:
        writer.write(table.drop(columns=list(gone)))
    made.features = len(features)
    made.done(
        "pycytominer.feature_select", "selected", {"operation": list(options.selections), **how},
        features=len(features), left_out=left_out,
    )  # fmt: skip


def _by_plate(path: Path) -> Iterator[pd.DataFrame]:
    """Yield the wells of each plate, one row group each."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for at in range(file.num_row_groups):
            yield file.read_row_group(at).to_pandas()


class _Writer:
    """Writes profiles, one row group for each table."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None
        self.rows = 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, table: pd.DataFrame) -> None:
        """Add a table."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
        if self._file is None:
            self._file = pq.ParquetWriter(self._path, arrow.schema, compression="zstd")
        self._file.write_table(arrow, row_group_size=max(1, len(arrow)))
        self.rows += len(arrow)
