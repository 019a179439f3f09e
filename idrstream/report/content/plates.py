"""Table of plates and maps of their wells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.report import charts
from idrstream.report.content.measures import MEASURES, Measure, channel_measures, scales

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.report.data import FolderData
    from idrstream.report.findings import Warned

OPEN_PLATES = 12  # with more, only plates with warnings are open


def plate_rows(data: FolderData) -> list[dict[str, Any]]:
    """Return the table of plates."""
    rows = []
    failed = _failed_wells(data)
    for plate, frames in data.frames.groupby("Plate", sort=False):
        medians = []
        for item in MEASURES:
            values = frames[item.column].dropna()
            medians.append(f"{values.median():.{item.digits}f}" if len(values) else "")
        rows.append(
            {
                "plate": plate,
                "wells": frames["Well"].nunique(),
                "medians": medians,
                "failed": len(failed.get(str(plate), ())),
            }
        )
    return rows


def plates(data: FolderData, warned: Iterable[Warned]) -> list[dict[str, Any]]:
    """Return the maps of each plate."""
    ends = scales(data)
    subjects = " ".join(item.subject for item in warned)
    failed = _failed_wells(data)
    shape = _plate_shape(data.images)
    found = []
    names = [plate for plate in data.plates if plate in set(data.frames["Plate"]) | set(failed)]
    for plate in names:
        frames = data.frames[data.frames["Plate"] == plate]
        crosses = failed.get(plate, set())
        maps = []
        for item in (*MEASURES, *channel_measures(data)):
            if item.column not in ends or frames[item.column].isna().all():
                continue
            wells = frames.groupby(["Row", "Column"], sort=False)[item.column].median()
            values = np.full(shape, np.nan)
            at = wells.index.to_frame(index=False).to_numpy(dtype=np.intp)
            values[at[:, 0], at[:, 1]] = wells.to_numpy(dtype=np.float64)
            words = _map_words(plate, item, frames, len(crosses))
            maps.append(
                (item.title, charts.plate_map(values, *ends[item.column], words=words,
                                              crosses=sorted(crosses)))
            )  # fmt: skip
        if not maps:
            empty = np.full(shape, np.nan)
            words = f"Plate {plate}: nothing measured, {len(crosses)} wells with failures."
            maps = [("Failures", charts.plate_map(empty, 0, 1, words=words, crosses=crosses))]
        is_open = len(names) <= OPEN_PLATES or plate in subjects
        found.append({"name": plate, "maps": maps, "open": is_open})
    return found


def _map_words(plate: str, item: Measure, frames: pd.DataFrame, failed: int) -> str:
    wells = frames.groupby("Well", sort=False)[item.column].median().dropna()
    crosses = f"; {failed} wells with failures" if failed else ""
    return (
        f"{item.title} of plate {plate} by well: median {wells.median():.{item.digits}f}, lowest "
        f"{wells.min():.{item.digits}f} in {wells.idxmin()}, highest "
        f"{wells.max():.{item.digits}f} in {wells.idxmax()}{crosses}."
    )


def _failed_wells(data: FolderData) -> dict[str, set[tuple[int, int]]]:
    positions = {
        (plate, well): (row, column)
        for plate, well, row, column in data.images[
            ["Plate", "Well", "Row", "Column"]
        ].itertuples(index=False)
    }  # fmt: skip
    found: dict[str, set[tuple[int, int]]] = {}
    for plate, well in zip(data.failures["Plate"], data.failures["Well"], strict=True):
        if (plate, well) in positions:
            found.setdefault(plate, set()).add(positions[plate, well])
    return found


def _plate_shape(images: pd.DataFrame) -> tuple[int, int]:
    """Return rows and columns of the smallest standard plate with all wells."""
    rows, columns = int(images["Row"].max()) + 1, int(images["Column"].max()) + 1
    for shape in ((8, 12), (16, 24), (32, 48)):
        if rows <= shape[0] and columns <= shape[1]:
            return shape
    return rows, columns
