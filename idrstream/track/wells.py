"""What the tracks of a well say together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.track.measure import LAGS

if TYPE_CHECKING:
    import pandas as pd

_SHORTEST = 5  # frames of a track whose way says something
_WELL = ["Plate", "Well", "Well_Number"]
_COLUMNS = [
    *_WELL, "Tracks", "Median_Track_Frames", "Nuclear_Hours", "Divisions",
    "Divisions_Per_100_Nuclear_Hours", "Median_Mitotic_Minutes", "Speed_Px_Per_Hour",
    "Confinement_Ratio", *(f"MSD_{lag}_Px2" for lag in LAGS), "Mitotic_Index",
]  # fmt: skip


def well_tracks(
    tracks: pd.DataFrame, objects: pd.DataFrame, *, minutes_per_frame: float = 30.0
) -> pd.DataFrame:
    """Summarise the tracks of each well.

    Parameters
    ----------
    tracks, objects : pandas.DataFrame
        As `read_tracks` returns them.
    minutes_per_frame : float
        Time between frames; Mitocheck's by default.

    Returns
    -------
    pandas.DataFrame
        A row for each well: ``Tracks``, ``Median_Track_Frames``, ``Nuclear_Hours`` (nuclei times
        the time that each was seen), ``Divisions``, ``Divisions_Per_100_Nuclear_Hours``,
        ``Median_Mitotic_Minutes`` (before divisions, NaN where there are none); of tracks of at
        least five frames the medians of ``Speed_Px_Per_Hour``, ``Confinement_Ratio`` and
        ``MSD_<lag>_Px2``; ``Mitotic_Index``, the share of nuclei that are alike to mitosis.
    """
    import pandas as pd

    hours = minutes_per_frame / 60
    grouped = objects.groupby(_WELL)["Mitotic"]
    mitotic = grouped.apply(lambda of: float((of >= 0.5).mean())).to_dict()
    seen = grouped.size().to_dict()
    rows: list[dict[str, Any]] = []
    for well, of_well in tracks.groupby(_WELL, sort=False):
        long = of_well[of_well["Frames"] >= _SHORTEST]
        nuclear_h = float(seen[well]) * hours
        divisions = int(of_well["Divides"].sum())
        rows.append(
            {
                **dict(zip(_WELL, well, strict=True)),
                "Tracks": len(of_well),
                "Median_Track_Frames": float(of_well["Frames"].median()),
                "Nuclear_Hours": nuclear_h,
                "Divisions": divisions,
                "Divisions_Per_100_Nuclear_Hours": 100 * divisions / nuclear_h,
                "Median_Mitotic_Minutes": _median(of_well["Mitotic_Frames"]) * minutes_per_frame,
                "Speed_Px_Per_Hour": _median(long["Speed_Px_Per_Frame"]) / hours,
                "Confinement_Ratio": _median(long["Confinement_Ratio"]),
                **{f"MSD_{lag}_Px2": _median(long[f"MSD_{lag}_Px2"]) for lag in LAGS},
                "Mitotic_Index": float(mitotic[well]),
            }
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


def _median(values: pd.Series[Any]) -> float:
    known = values.dropna()
    return float(known.median()) if len(known) else np.nan


def track_features(cells: pd.DataFrame) -> pd.DataFrame:
    """Aggregate the features of each track: the median over its frames.

    Parameters
    ----------
    cells : pandas.DataFrame
        A batch's table, or many, with ``Metadata_Track``.

    Returns
    -------
    pandas.DataFrame
        A row for each track: plate, well, site, ``Metadata_Track``, ``Metadata_Parent``,
        ``Metadata_Generation``, ``Metadata_Frames`` (how many), and the features.
    """
    import pandas as pd

    well = cells["Metadata_Well"].astype(str).str.split("_").str[0]  # without its frame
    keyed = cells.assign(Metadata_Well=well)
    own = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Track"]
    features = [
        name for name in map(str, cells.select_dtypes("number"))
        if not name.startswith(("Metadata_", "Location_"))
    ]  # fmt: skip
    grouped = keyed.groupby(own, sort=False)
    found = grouped[["Metadata_Parent", "Metadata_Generation"]].first()
    found["Metadata_Frames"] = grouped.size()
    medians = grouped[features].median().reset_index(drop=True)
    return pd.concat([found.reset_index(), medians], axis=1)
