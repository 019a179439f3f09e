"""Objects at given places, for tests that need no masks."""

from __future__ import annotations

import numpy as np

from idrstream.records import OBJECT_FIELDS, Objects


def objects_at(points, shape=(64, 64), *, outlines=None, areas=None, name="Nuclei"):
    """Return objects with centroids ``(y, x)``; each has one labelled pixel, if it is inside."""
    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    table = np.zeros(len(points), OBJECT_FIELDS)
    labels = np.zeros(shape, np.int32)
    table["label"] = np.arange(1, len(points) + 1)
    table["y"], table["x"] = points.T
    table["area"] = 1 if areas is None else areas
    for label, (y, x) in enumerate(np.rint(points).astype(int), start=1):
        if 0 <= y < shape[0] and 0 <= x < shape[1]:
            labels[y, x] = label
    return Objects(name, labels, table, outlines, 17.0)
