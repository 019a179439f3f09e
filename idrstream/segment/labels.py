"""Label images: edge removal, the table of their objects, outlines. Pure functions.

A label image has shape ``(Y, X)`` and an integer dtype; 0 is background, every other value is
one object. Objects are always listed in ascending order of their labels, so that table and
outlines of one label image belong together row by row.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.records import OBJECT_FIELDS, Objects

Labels = NDArray[np.int32]


def as_labels(masks: NDArray[Any], *, drop_edge: bool = False) -> Labels:
    """Return a label image with its nuclei numbered from 1 without gaps, in the same order.

    Parameters
    ----------
    masks : NDArray
        Label image, shape ``(Y, X)``, integers of 0 and more. It is not changed.
    drop_edge : bool, default: False
        Leave out nuclei with a pixel on the border of the image, as Cellpose's
        ``remove_edge_masks`` does.

    Returns
    -------
    NDArray of int32
        Shape ``(Y, X)``, labels 1 to n.
    """
    keep = np.zeros(int(masks.max(initial=0)) + 1, dtype=np.bool_)
    keep[masks.ravel()] = True
    if drop_edge:
        for edge in (masks[:1], masks[-1:], masks[:, :1], masks[:, -1:]):
            keep[edge.ravel()] = False
    keep[0] = False
    renumbered = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    labels: Labels = renumbered[masks]
    return labels


def objects_in(
    labels: Labels,
    name: str = "Nuclei",
    *,
    outlines: bool = False,
    diameter_px: float = math.nan,
    channel: str = "",
) -> Objects:
    """Return the objects of a label image.

    An object's location is the centre of mass of its mask, each pixel weighing the same. The
    first IDR_stream took the mean of the points of the outline instead, which leans towards
    ragged parts of the border; the two differ by a fraction of a pixel for round nuclei.

    Parameters
    ----------
    labels : NDArray of int32
        Label image, shape ``(Y, X)``; labels may have gaps.
    name : str
        Kind of the objects.
    outlines : bool
        Add the outlines.
    diameter_px : float
        Diameter that was given or estimated.
    channel : str
        Channel that they were found in; empty for the first.
    """
    from scipy.ndimage import find_objects

    rows, columns = np.nonzero(labels)
    of_pixel = labels[rows, columns]
    area = np.bincount(of_pixel)
    present = np.flatnonzero(area)
    table = np.zeros(len(present), OBJECT_FIELDS)
    table["label"], table["area"] = present, area[present]
    for axis, positions in (("y", rows), ("x", columns)):
        table[axis] = np.bincount(of_pixel, weights=positions)[present] / area[present]
    boxes = find_objects(labels)
    corners = [(y.start, x.start, y.stop, x.stop) for y, x in (boxes[at - 1] for at in present)]
    sides = np.array(corners, np.int32).reshape(-1, 4).T
    table["top"], table["left"], table["bottom"], table["right"] = sides
    height, width = labels.shape
    top, left, bottom, right = sides
    table["touches_border"] = (top == 0) | (left == 0) | (bottom == height) | (right == width)
    shapes = trace_outlines(labels) if outlines else None
    return Objects(name, labels, table, shapes, diameter_px, channel)


def same_rows(objects: Objects, rows: NDArray[Any]) -> Objects:
    """Return objects with a row for each label of the rows of another kind.

    Parameters
    ----------
    objects : Objects
        Their labels are among those of `rows`.
    rows : NDArray
        Table of the other kind.

    Returns
    -------
    Objects
        With the rows' labels in their order; those without a pixel have an area of 0 and NaN as
        centroid.
    """
    table = np.zeros(len(rows), OBJECT_FIELDS)
    table["label"] = rows["label"]
    table["y"] = table["x"] = np.nan
    place = {label: at for at, label in enumerate(rows["label"].tolist())}
    table[[place[label] for label in objects.table["label"].tolist()]] = objects.table
    return dataclasses.replace(objects, table=table)


def trace_outlines(labels: Labels) -> tuple[NDArray[np.int64], ...]:
    """Return the outer outline of every object, row by row as `objects_in` lists them.

    The points are those of Cellpose's ``outlines_list`` (OpenCV's external contours without
    approximation, the longest one of a mask in several pieces). Unlike there, tiny nuclei keep
    their points instead of getting an empty outline.

    Parameters
    ----------
    labels : NDArray of int32
        Label image, shape ``(Y, X)``; labels may have gaps.

    Returns
    -------
    tuple of NDArray of int64
        For each object shape ``(k, 2)``, ``(y, x)``, the mask's own border pixels in order.
    """
    import cv2
    from scipy.ndimage import find_objects

    found = []
    for label, box in enumerate(find_objects(labels), start=1):
        if box is None:  # no such label
            continue
        piece = np.ascontiguousarray(labels[box] == label, dtype=np.uint8)
        contours = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[-2]
        longest = max(contours, key=len)
        corner = np.array([box[0].start, box[1].start], dtype=np.int64)
        found.append(longest.reshape(-1, 2)[:, ::-1].astype(np.int64) + corner)
    return tuple(found)
