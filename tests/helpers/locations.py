"""Locations files read by pandas, with every digit."""

from __future__ import annotations

import pandas as pd


def read_points(path):
    """Return the points of a locations file, ``(y, x)``, and its outlines as texts."""
    table = pd.read_csv(path, float_precision="round_trip", keep_default_na=False)
    points = table[["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]].to_numpy(float)
    return points, tuple(table.get("object_outline", ()))
