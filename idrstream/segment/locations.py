"""The locations file that DeepProfiler reads: one line per nucleus. Pure functions.

Columns are ``Nuclei_Location_Center_X`` and ``Nuclei_Location_Center_Y`` in pixels, origin at
the centre of the upper left pixel, and ``object_outline`` when there are outlines. An outline is
a JSON list of ``[x, y]`` pairs of integers without spaces, for example ``[[3,4],[3,5]]``; the
first IDR_stream wrote numpy's printed form instead, which leaves out points of long outlines.
The header is always written: DeepProfiler fails on a file without one.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

X_COLUMN = "Nuclei_Location_Center_X"
Y_COLUMN = "Nuclei_Location_Center_Y"
OUTLINE_COLUMN = "object_outline"


def format_outline(outline: NDArray[np.integer[Any]]) -> str:
    """Return an outline of ``(y, x)`` points as a JSON list of ``[x, y]`` pairs."""
    return json.dumps(outline[:, ::-1].tolist(), separators=(",", ":"))


def parse_outline(text: str) -> NDArray[np.int64]:
    """Return the ``(y, x)`` points, shape ``(k, 2)``, of what `format_outline` wrote."""
    return np.array(json.loads(text), dtype=np.int64).reshape(-1, 2)[:, ::-1]


def write_locations(
    path: Path,
    points: NDArray[np.floating[Any]],
    outlines: Sequence[NDArray[np.integer[Any]]] | None = None,
) -> None:
    """Write a locations file; numbers are written so that they read back exactly.

    Parameters
    ----------
    path : Path
        The file; its folder exists.
    points : NDArray
        Shape ``(n, 2)``, ``(y, x)`` in pixels.
    outlines : sequence of NDArray, optional
        For each nucleus shape ``(k, 2)``, int, ``(y, x)``.

    Raises
    ------
    ValueError
        When there are not as many outlines as points.
    """
    rows: Iterable[tuple[str, ...]] = ((repr(float(x)), repr(float(y))) for y, x in points)
    header = [X_COLUMN, Y_COLUMN]
    if outlines is not None:
        if len(outlines) != len(points):
            raise ValueError(f"{len(outlines)} outlines do not fit {len(points)} locations")
        header.append(OUTLINE_COLUMN)
        texts = [format_outline(outline) for outline in outlines]
        rows = ((*row, text) for row, text in zip(rows, texts, strict=True))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
