"""The tables of tracks of an output folder, read back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from idrstream.errors import JournalError
from idrstream.opening import inside, open_regular
from idrstream.track.batch import TRACKS

if TYPE_CHECKING:
    import pandas as pd

_BATCH = re.compile(r"batch_([0-9]{1,18})")


def read_tracks(folder: Path | str, what: Literal["tracks", "objects"] = "tracks") -> pd.DataFrame:
    """Return the tracks of an output folder, or the objects along them.

    Parameters
    ----------
    folder : path
        Output folder of a stream with ``track = true``.
    what : {"tracks", "objects"}
        A row for each track, or for each object.

    Returns
    -------
    pandas.DataFrame
        With ``Batch, Plate, Well, Well_Number, Site`` and the columns of `docs/movies.md`.
        A track's number counts within its movie.

    Raises
    ------
    JournalError
        If the folder has none.
    """
    import pandas as pd

    tables = []
    for number, path in track_folders(Path(folder)):
        with open_regular(inside(path, f"{what}.csv")) as file:
            table = pd.read_csv(file, converters={"Plate": str, "Well": str})  # also 0001
        table.insert(0, "Batch", number)
        tables.append(table)
    if not tables:
        msg = f"{folder} has no tracks: run the stream with track = true"
        raise JournalError(msg)
    with_rows = [table for table in tables if len(table)]  # without any the types are unknown
    if with_rows:
        return pd.concat(with_rows, ignore_index=True)
    texts = ("Plate", "Well")
    types = {name: "int64" if name == "Batch" else "float64" for name in tables[0]}
    return tables[0].astype({**types, **dict.fromkeys(texts, "object")})


def list_movies(folder: Path | str) -> pd.DataFrame:
    """Return the tracked movies of an output folder, a row for each.

    Parameters
    ----------
    folder : path
        Output folder of a stream with ``track = true``.

    Returns
    -------
    pandas.DataFrame
        ``Movie`` (``<plate>_<well>_<site>``), ``Frames`` (the last one in which a nucleus was
        found), ``Tracks``, ``Divisions``, and ``Median_Frames`` of the tracks.

    Raises
    ------
    JournalError
        If the folder has none.
    """
    tracks = read_tracks(folder)
    found = tracks.groupby(movie_names(tracks), sort=False)
    return found.agg(
        Frames=("Last_Frame", "max"),
        Tracks=("Track", "count"),
        Divisions=("Divides", "sum"),
        Median_Frames=("Frames", "median"),
    ).reset_index(names="Movie")


def movie_names(table: pd.DataFrame) -> pd.Series[str]:
    """Return of each row of a table of tracks the name of its movie."""
    return table["Plate"] + "_" + table["Well"] + "_" + table["Site"].astype(str)


def track_folders(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield the batches of an output folder that have tracks, and where, by number."""
    root = inside(folder, TRACKS)
    if not root.is_dir():
        return
    found = {int(m[1]): p for p in root.iterdir() if (m := _BATCH.fullmatch(p.name))}
    for number in sorted(found):
        yield number, inside(folder, f"{TRACKS}/{found[number].name}")
