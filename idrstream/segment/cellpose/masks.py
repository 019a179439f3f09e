"""Label images: edge removal, centroids and outlines. Pure functions.

A label image has shape ``(Y, X)`` and an integer dtype; 0 is background, every other value is
one nucleus. Nuclei are always listed in ascending order of their labels, so that centroids and
outlines of one label image belong together row by row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def centroids(labels: Labels) -> NDArray[np.float64]:
    """Return the centre of mass of every nucleus's mask, each pixel weighing the same.

    The first IDR_stream took the mean of the points of the outline instead, which leans
    towards ragged parts of the border; the two differ by a fraction of a pixel for round nuclei.

    Parameters
    ----------
    labels : NDArray of int32
        Label image, shape ``(Y, X)``, labels 1 to n without gaps.

    Returns
    -------
    NDArray of float64
        Shape ``(n, 2)``, ``(y, x)`` in pixels, origin at the centre of the upper left pixel.
    """
    rows, columns = np.nonzero(labels)
    of_pixel = labels[rows, columns]
    count = int(of_pixel.max(initial=0))
    area = np.bincount(of_pixel, minlength=count + 1)[1:]
    sums = [
        np.bincount(of_pixel, weights=axis, minlength=count + 1)[1:] for axis in (rows, columns)
    ]
    centres: NDArray[np.float64] = np.stack(sums, axis=1) / area[:, np.newaxis]
    return centres


def trace_outlines(labels: Labels) -> tuple[NDArray[np.int64], ...]:
    """Return the outer outline of every nucleus, row by row as `centroids` lists them.

    The points are those of Cellpose's ``outlines_list`` (OpenCV's external contours without
    approximation, the longest one of a mask in several pieces). Unlike there, tiny nuclei keep
    their points instead of getting an empty outline.

    Parameters
    ----------
    labels : NDArray of int32
        Label image, shape ``(Y, X)``, labels 1 to n without gaps.

    Returns
    -------
    tuple of NDArray of int64
        For each nucleus shape ``(k, 2)``, ``(y, x)``, the mask's own border pixels in order.
    """
    import cv2
    from scipy.ndimage import find_objects

    found = []
    for label, box in enumerate(find_objects(labels), start=1):
        piece = np.ascontiguousarray(labels[box] == label, dtype=np.uint8)
        contours = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[-2]
        longest = max(contours, key=len)
        corner = np.array([box[0].start, box[1].start], dtype=np.int64)
        found.append(longest.reshape(-1, 2)[:, ::-1].astype(np.int64) + corner)
    return tuple(found)
