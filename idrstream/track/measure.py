"""What is read off tracks: how far, how straight, how long, and when nuclei divide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from idrstream.records import Frame, Objects

LAGS = (1, 2, 4, 8)
"""Frames over which the mean squared displacement is given."""
OF_TRACKS = (
    "Track", "Parent", "Generation", "First_Frame", "Last_Frame", "Frames", "Displacement_Px",
    "Path_Px", "Speed_Px_Per_Frame", "Confinement_Ratio", "Farthest_Px",
    *(f"MSD_{lag}_Px2" for lag in LAGS), "Mean_Area_Px", "Mean_Intensity", "Divides",
    "Mitotic_Frames",
)  # fmt: skip
"""Columns of a track."""

_STEEPNESS, _MIDDLE = 6.0, 0.75  # between interphase and metaphase of simulated movies
_MITOTIC = 0.5


def intensities(frame: Frame, objects: Objects) -> NDArray[np.float64]:
    """Return the mean grey level of each object above the background, in the first channel.

    Parameters
    ----------
    frame : Frame
        The frame.
    objects : Objects
        Its objects.

    Returns
    -------
    NDArray
        Shape ``(n,)``, float64, in the order of the table. The background is the median of the
        pixels outside of all objects.
    """
    pixels, labels = frame.plane(), objects.labels
    count = int(labels.max(initial=0)) + 1
    total = np.bincount(labels.ravel(), weights=pixels.ravel(), minlength=count)
    size = np.bincount(labels.ravel(), minlength=count)
    outside = pixels[labels == 0]
    background = float(np.median(outside)) if len(outside) else 0.0
    rows = objects.table["label"]
    mean: NDArray[np.float64] = total[rows] / np.maximum(size[rows], 1) - background
    return mean


def mitotic_likeness(
    area: NDArray[np.float64], intensity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how alike the nuclei of a movie are to those in mitosis, 0 to 1.

    Parameters
    ----------
    area, intensity : NDArray
        Shape ``(n,)``: of all nuclei of one movie; most of them must be in interphase.

    Returns
    -------
    NDArray
        Shape ``(n,)``. Condensed chromatin is small and bright: the logarithm of the intensity
        over that of the median nucleus, less that of the area, on a logistic scale. Nuclei in
        apoptosis are alike.
    """
    if not len(area):
        return np.zeros(0)
    bright = np.log(np.maximum(intensity, 1e-3) / max(float(np.median(intensity)), 1e-3))
    large = np.log(np.maximum(area, 1) / max(float(np.median(area)), 1))
    scaled = _STEEPNESS * (np.clip(bright - large, -10, 10) - _MIDDLE)
    likeness: NDArray[np.float64] = 1 / (1 + np.exp(-scaled))
    return likeness


def track_table(objects: pd.DataFrame) -> pd.DataFrame:
    """Return the tracks of one movie: a row for each, with the columns of `OF_TRACKS`.

    Parameters
    ----------
    objects : pandas.DataFrame
        A row per object: ``Track``, ``Parent``, ``Generation``, ``Frame``, ``Y`` and ``X`` in
        pixels, ``Area``, ``Intensity``, ``Mitotic`` as `mitotic_likeness` gives it.

    Returns
    -------
    pandas.DataFrame
        ``Displacement_Px`` from the first to the last frame, ``Path_Px`` along the track,
        ``Confinement_Ratio`` the one over the other, ``Farthest_Px`` the greatest distance from
        the first frame; ``MSD_<lag>_Px2`` the mean squared displacement over so many frames
        (https://doi.org/10.1016/j.ymeth.2016.09.016), NaN where the track is too short;
        ``Divides`` whether two daughters follow; ``Mitotic_Frames`` how many frames in a row it
        was alike to mitosis before them, NaN where it does not divide.
    """
    import pandas as pd

    ordered = objects.sort_values(["Track", "Frame"], kind="stable")
    daughters = ordered.drop_duplicates("Track")["Parent"].value_counts()
    divide = set(daughters.index[daughters >= 2]) - {0}
    rows = [
        _row(of_track, divides=track in divide)
        for track, of_track in ordered.groupby("Track", sort=True)
    ]
    return pd.DataFrame(rows, columns=list(OF_TRACKS))


def _row(of_track: pd.DataFrame, *, divides: bool) -> list[Any]:
    frame = of_track["Frame"].to_numpy()
    place = of_track[["Y", "X"]].to_numpy(np.float64)
    path = float(np.linalg.norm(np.diff(place, axis=0), axis=1).sum())
    from_first = np.linalg.norm(place - place[0], axis=1)
    elapsed = int(frame[-1] - frame[0])
    first = of_track.iloc[0]
    return [
        int(first["Track"]), int(first["Parent"]), int(first["Generation"]),
        int(frame[0]), int(frame[-1]), len(frame),
        float(from_first[-1]), path, path / elapsed if elapsed else np.nan,
        float(from_first[-1]) / path if path else np.nan, float(from_first.max()),
        *(mean_squared_displacement(frame, place, lag) for lag in LAGS),
        float(of_track["Area"].mean()), float(of_track["Intensity"].mean()), int(divides),
        _mitotic_frames(of_track["Mitotic"].to_numpy()) if divides else np.nan,
    ]  # fmt: skip


def mean_squared_displacement(
    frame: NDArray[np.integer[Any]], place: NDArray[np.float64], lag: int
) -> float:
    """Return the mean squared displacement of a track over `lag` frames; NaN if there is none.

    Parameters
    ----------
    frame : NDArray
        Shape ``(n,)``: its frames, ascending; some may be missing.
    place : NDArray
        Shape ``(n, 2)``, ``(y, x)``.
    lag : int
        Frames.
    """
    later = np.searchsorted(frame, frame + lag)
    there = later < len(frame)
    there[there] = frame[later[there]] == frame[there] + lag
    if not there.any():
        return float("nan")
    return float(((place[later[there]] - place[there]) ** 2).sum(axis=1).mean())


def _mitotic_frames(likeness: NDArray[np.float64]) -> int:
    """Return how many frames in a row up to the last are alike to mitosis."""
    alike = likeness >= _MITOTIC
    return int(len(alike) if alike.all() else np.argmin(alike[::-1]))
