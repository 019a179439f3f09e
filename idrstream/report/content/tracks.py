"""Tracks: numbers of each well, films, a lineage, and time courses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.errors import IdrStreamError
from idrstream.opening import inside, read_regular
from idrstream.report import charts
from idrstream.track import lineage_svg, read_tracks
from idrstream.track.batch import FILM
from idrstream.track.read import track_folders
from idrstream.track.wells import well_tracks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from idrstream.report.data import FolderData

_FILMS = 4
_MOST_BYTES = 8 << 20
_WELLS = 24
_COURSES = 3


def tracks(data: FolderData) -> dict[str, Any] | None:
    """Return what the page shows of tracks; None if there are none or they cannot be read."""
    try:
        found, objects = read_tracks(data.folder), read_tracks(data.folder, "objects")
        wells = well_tracks(found, objects)
        films = _films(data.folder)
        lineage = _lineage(found)
    except (IdrStreamError, OSError, ValueError, KeyError):
        return None
    of_wells = "1 well" if len(wells) == 1 else f"{len(wells):,} wells"
    shown = f", {_WELLS} of them below" if len(wells) > _WELLS else ""
    return {
        "text": (
            f"{len(found):,} tracks in {of_wells}{shown}; times at half an hour between "
            "frames. A track ends where its nucleus divides, leaves the field or is lost."
        ),
        "wells": [_words(row) for row in wells.head(_WELLS).to_dict("records")],
        "films": films,
        "lineage": lineage,
        "courses": _courses(objects, found),
    }


def _words(row: Mapping[Any, Any]) -> list[str]:
    return [
        str(row["Plate"]), str(row["Well"]), f"{row['Tracks']:,}",
        f"{row['Median_Track_Frames']:.0f}", f"{row['Divisions']:,}",
        _number(row["Divisions_Per_100_Nuclear_Hours"], 2),
        _number(row["Median_Mitotic_Minutes"], 0), _number(row["Speed_Px_Per_Hour"], 1),
        _number(row["Confinement_Ratio"], 2), _number(row["MSD_1_Px2"], 1),
    ]  # fmt: skip


def _number(value: float, digits: int) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def _films(folder: Path) -> list[dict[str, str]]:
    films: list[dict[str, str]] = []
    for number, path in track_folders(folder):
        if len(films) < _FILMS and (path / FILM).is_file():
            content = read_regular(inside(path, FILM), _MOST_BYTES)
            films.append(
                {
                    "film": charts.data_uri(content, "image/webp"),
                    "words": f"Film of a movie of batch {number} with the tracks of its nuclei",
                    "caption": f"Batch {number}: outlines, and the ways of the last twelve frames, "
                    "in the colour of the track.",
                }
            )
    return films


def _lineage(found: pd.DataFrame) -> tuple[str, str] | None:
    """Return the tree with most divisions, and its caption."""
    best: tuple[int, Any, int] = (0, None, 0)
    for _, movie in found.groupby(["Plate", "Well", "Site"], sort=False):
        founders: dict[int, int] = {}
        columns = (movie[name].tolist() for name in ("Track", "Parent", "Divides"))
        divisions: dict[int, int] = {}
        for track, parent, divides in zip(*columns, strict=True):
            root = founders[track] = founders.get(parent, track)
            divisions[root] = divisions.get(root, 0) + divides
        root = max(divisions, key=lambda one: (divisions[one], -one))
        if divisions[root] > best[0]:
            best = (divisions[root], movie, root)
    count, movie, root = best
    if not count:
        return None
    first = movie.iloc[0]
    caption = f"Track {root} of plate {first['Plate']}, well {first['Well']}: {count} divisions."
    return lineage_svg(movie, root), caption


def _courses(objects: pd.DataFrame, found: pd.DataFrame) -> list[tuple[str, str]]:
    """Return area and likeness to mitosis of the mothers that were seen longest, over time."""
    mothers = found[found["Divides"] == 1].nlargest(_COURSES, "Frames", keep="first")
    figures = []
    for column, label in (("Area", "area, pixels"), ("Mitotic", "likeness to mitosis")):
        series = []
        for row in mothers.to_dict("records"):
            mine = objects[
                (objects["Plate"] == row["Plate"]) & (objects["Well"] == row["Well"])
                & (objects["Site"] == row["Site"]) & (objects["Track"] == row["Track"])
            ].sort_values("Frame")  # fmt: skip
            since = (mine["Frame"] - row["First_Frame"]).to_numpy(np.float64)
            series.append((since, mine[column].to_numpy(np.float64)))
        if series:
            words = f"Lines: {label} of {len(series)} nuclei over time, up to their division."
            since = "frames since it was first seen"
            svg = charts.lines(series, words=words, label=since, y_label=label)
            figures.append((svg, words))
    return figures
