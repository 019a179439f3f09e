"""Masks out of flows, as Cellpose makes them on a processor, but without holding other threads up.

Cellpose follows the flows with a compiled loop that keeps Python's lock; here the same sums are
done without the lock, pixel by pixel, and end where a pixel has come to rest. The result is that of
Cellpose to the bit. That goes for GPUs, too: on one, 200 steps are thousands of small kernels, each
launched with the lock held, which is longer than what a thread needs for all of it without.
Source: Stringer et al., Nature Methods 18, 100-106 (2021); ``cellpose.dynamics.compute_masks``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from cellpose import dynamics, utils
from numba import njit
from numpy.typing import NDArray

from idrstream.segment.network.flow_errors import flow_errors

_FLOW_SCALE = np.float32(5.0)  # Cellpose's networks learn flows five times too long


def masks_from_flows(
    flows: NDArray[np.float32],
    *,
    steps: int,
    cellprob_threshold: float = 0.0,
    flow_threshold: float = 0.4,
    min_size: int = 15,
    max_size_fraction: float = 0.4,
) -> NDArray[Any]:
    """Return the label image of a frame's flows.

    Parameters
    ----------
    flows : NDArray of float32
        Shape ``(3, Y, X)``: flow along y, along x, cell probability.
    steps : int
        How often pixels are moved along the flows.
    cellprob_threshold, flow_threshold, min_size, max_size_fraction
        As in Cellpose's ``eval``.

    Returns
    -------
    NDArray
        Shape ``(Y, X)``, unsigned integers; 0 is background.
    """
    inside = flows[2] > cellprob_threshold
    pixels = np.nonzero(inside)
    if len(pixels[0]) == 0:
        return np.zeros(inside.shape, np.uint16)
    field = np.ascontiguousarray(flows[:2] * inside / _FLOW_SCALE)
    starts = np.stack(pixels).astype(np.float32)
    rests = torch.from_numpy(follow(field, starts, steps)).int()
    masks = dynamics.get_masks_torch(
        rests, pixels, inside.shape, max_size_fraction=max_size_fraction
    )
    if masks.max() > 0 and flow_threshold > 0:
        bad = flow_errors(masks, flows[:2]) > flow_threshold
        masks[np.append(False, bad)[masks]] = 0
    filled: NDArray[Any] = utils.fill_holes_and_remove_small_masks(masks, min_size=min_size)
    return filled


def follow(
    field: NDArray[np.float32], starts: NDArray[np.float32], steps: int
) -> NDArray[np.float32]:
    """Return where pixels end that move along a field of flows, interpolated linearly.

    Parameters
    ----------
    field : NDArray of float32
        Shape ``(2, Y, X)``: step along y and along x at each pixel.
    starts : NDArray of float32
        Shape ``(2, n)``: y and x of each pixel.
    steps : int
        How often each is moved.

    Returns
    -------
    NDArray of float32
        Shape ``(2, n)``, inside the field.
    """
    ends: NDArray[np.float32] = starts.copy()
    _follow(field, ends, steps)
    return ends


@njit("(float32[:,:,::1], float32[:,::1], int64)", nogil=True)
def _follow(field: Any, points: Any, steps: int) -> None:
    height, width = field.shape[1], field.shape[2]
    for i in range(points.shape[1]):
        y, x = points[0, i], points[1, i]
        for _ in range(steps):
            top, left = int(y), int(x)
            down, right = np.float32(y - top), np.float32(x - left)  # single, as Cellpose has it
            top, left = min(height - 1, max(0, top)), min(width - 1, max(0, left))
            below, beside = min(height - 1, top + 1), min(width - 1, left + 1)
            dy = np.float32(
                field[0, top, left] * (1 - down) * (1 - right)
                + field[0, top, beside] * (1 - down) * right
                + field[0, below, left] * down * (1 - right)
                + field[0, below, beside] * down * right
            )
            dx = np.float32(
                field[1, top, left] * (1 - down) * (1 - right)
                + field[1, top, beside] * (1 - down) * right
                + field[1, below, left] * down * (1 - right)
                + field[1, below, beside] * down * right
            )
            new_y = min(np.float32(height - 1), max(np.float32(0), y + dy))
            new_x = min(np.float32(width - 1), max(np.float32(0), x + dx))
            if new_y == y and new_x == x:
                break
            y, x = new_y, new_x
        points[0, i], points[1, i] = y, x
